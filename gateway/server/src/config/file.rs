//! Reads the files of a configuration: the main one, and those that its `include` names.
//!
//! Nothing here knows what the keys mean, but for `include` itself.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::checked::Include;
use super::problem::{Fault, Place, Report};
use super::source::{FileId, Source, secrets_by_prefix};
use super::unreadable;
use super::written::{Table, Value, names_secret};

/// Reads the text of a file as TOML. On a mistake in the syntax nothing of the file is used, since what the parser
/// makes of the rest is a guess.
pub(super) fn parse<'a>(file: FileId, source: &'a Source, report: &mut Report) -> Option<DeTable<'a>> {
    for span in secrets_by_prefix(source.text()) {
        report.hide(&Place { file, span });
    }
    let (table, mut errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return Some(table.into_inner());
    }
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut last = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let echo = last.is_some_and(|last| is_echo(source.text(), last, span.start));
        last = Some(span.start);
        if echo {
            continue;
        }
        let place = Place { file, span: span.clone() };
        for span in secrets_near(source.text(), span.start) {
            report.hide(&Place { file, span });
        }
        let what = format!("this is not TOML: {}", error.message());
        match first_given(source.text(), &span) {
            Some(first) => {
                let help =
                    "a table or key stands once: put what belongs together in one place, or rename one";
                let first = Place { file, span: first };
                report.add_pair("", &place, Fault::new(what, help), &first, "it was given here first");
            }
            None => {
                let help =
                    "a line holds `key = value`, texts stand in double quotes, and what is opened is closed";
                report.add("", &place, Fault::new(what, help));
            }
        }
    }
    None
}

/// Whether a mistake is most likely what an earlier one has led to: no line that holds anything lies between them.
fn is_echo(text: &str, earlier: usize, later: usize) -> bool {
    let between = text.get(earlier..later).unwrap_or("");
    // The rest of the first line and the start of the last are no lines of their own.
    let lines =
        between.split_once('\n').and_then(|(_, rest)| rest.rsplit_once('\n')).map_or("", |(lines, _)| lines);
    lines.trim().is_empty()
}

/// Where a key that the parser stumbled over was given before, if that is what it stumbled over. The lines before
/// are read anew, since of a table that is given twice the parser keeps the second.
fn first_given(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let name = text.get(span.clone()).filter(|name| !name.is_empty())?;
    if !text.get(span.end..)?.trim_start().starts_with(['=', '.', ']']) {
        return None;
    }
    let line_start = text.get(..span.start)?.rfind('\n')? + 1;
    let (before, _) = DeTable::parse_recoverable(text.get(..line_start)?);
    let mut last: Option<Range<usize>> = None;
    let mut tables = vec![before.get_ref()];
    while let Some(table) = tables.pop() {
        for (key, value) in table {
            let later = last.as_ref().is_none_or(|last| last.start < key.span().start);
            if later && text.get(key.span()) == Some(name) {
                last = Some(key.span());
            }
            tables.extend(value.get_ref().as_table());
        }
    }
    last
}

/// What has to be masked around a mistake in the syntax, where no walk can tell what is a secret: the letters and
/// digits of every value, up to the line of the mistake, whose key may name a secret.
fn secrets_near(text: &str, offset: usize) -> Vec<Range<usize>> {
    let end =
        text.get(offset..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| offset + length);
    let head = text.get(..end).unwrap_or(text);
    let line = head.rsplit('\n').next().unwrap_or(head);
    // A header holds nothing but names.
    if line.trim_start().starts_with('[') && !line.contains(['"', '\'']) {
        return Vec::new();
    }
    // The statement that the mistake is in may have begun on an earlier line.
    let mut start = head.len();
    let statement = loop {
        start = head.get(..start).and_then(|before| before.rfind('\n')).unwrap_or(0);
        let statement = head.get(start..).unwrap_or(head);
        if start == 0 || statement.contains('=') {
            break statement;
        }
    };
    let Some((key, _)) = statement.split_once('=') else { return Vec::new() };
    if !names_secret(statement) {
        return Vec::new();
    }
    let value_start = start + key.len() + 1;
    text.get(value_start..end)
        .unwrap_or("")
        .char_indices()
        .filter(|(_, letter)| letter.is_alphanumeric())
        .map(|(index, letter)| value_start + index..value_start + index + letter.len_utf8())
        .collect()
}

/// What `include` stands for.
#[derive(Debug, Default)]
pub(super) struct Included {
    /// Each file once, in the order of the patterns and then of their paths.
    pub sources: Vec<Source>,
    pub patterns: Vec<Include>,
}

/// Reads the files that `include` names.
pub(super) fn included(main: &Source, document: &DeTable<'_>, report: &mut Report) -> Included {
    let mut included = Included::default();
    let Some(include) = Table::whole(FileId(0), document).get("include") else { return included };
    let patterns =
        include.list("write a list of paths, such as [\"tenants/*.toml\"]", report).unwrap_or_default();
    let mut seen: HashSet<PathBuf> = std::fs::canonicalize(main.path()).into_iter().collect();
    for pattern in patterns {
        let Some(text) = pattern.text("write a path, such as \"tenants/*.toml\"", report) else { continue };
        let paths = match is_pattern(text) {
            true => {
                let Some(paths) = matches(main.folder(), text, &pattern, report) else { continue };
                included.patterns.push(look_at_pattern(main.folder(), text, paths.len(), &pattern, report));
                paths
            }
            // A path without a pattern's signs stands for itself, whether it is there or not.
            false => vec![main.folder().join(text)],
        };
        for path in paths {
            match Source::read(path.clone()) {
                Ok(source) => {
                    // A pattern may well match the main file, or what another pattern has matched.
                    if seen.insert(std::fs::canonicalize(&path).unwrap_or(path)) {
                        included.sources.push(source);
                    }
                }
                Err(error) => {
                    let help = "a relative path starts from the folder of the main file";
                    let fault = unreadable::fault(&path, &error, help);
                    report.add_missing(pattern.name(), pattern.place(), fault, path);
                }
            }
        }
    }
    included
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths that a pattern stands for; `None` where it is none, which is reported.
fn matches(folder: &Path, text: &str, pattern: &Value<'_>, report: &mut Report) -> Option<Vec<PathBuf>> {
    let full = if Path::new(text).is_absolute() || folder.as_os_str().is_empty() {
        text.to_owned()
    } else {
        format!("{}/{text}", glob::Pattern::escape(&folder.display().to_string()))
    };
    match glob::glob(&full) {
        Ok(paths) => Some(paths.filter_map(Result::ok).filter(|path| path.is_file()).collect()),
        Err(error) => {
            let what = format!("{text:?} is not a pattern: {}", error.msg);
            pattern.refuse(
                Fault::new(what, "`*` and `?` match within a name, as in \"tenants/*.toml\""),
                report,
            );
            None
        }
    }
}

/// What a pattern stands for now. A folder that is missing is a problem: it may be on a disk that is not mounted, and its
/// tenants must not vanish for that.
fn look_at_pattern(
    main: &Path,
    text: &str,
    matched: usize,
    pattern: &Value<'_>,
    report: &mut Report,
) -> Include {
    let folder = main.join(fixed_folder(text));
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let is_empty = std::fs::read_dir(&folder).map(|mut entries| entries.next().is_none());
    match &is_empty {
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                _ => unreadable::reason(&folder, error),
            };
            let what = format!("{} can't be read: {reason}", folder.display());
            let help = unreadable::help(error, "mount or make the folder, or remove the pattern");
            pattern.refuse(Fault::new(what, help), report);
        }
        Ok(_) if matched == 0 => {
            let help = "put the tenants' files there, or remove the pattern";
            let fault = Fault::new(format!("{text:?} matches no file"), help);
            report.warn(pattern.name(), Some(pattern.place()), fault);
        }
        Ok(_) => {}
    }
    Include { pattern: text.to_owned(), matched, is_empty: is_empty.unwrap_or(false) }
}

/// The folder that a pattern begins with: all before the first part that has a pattern's sign.
fn fixed_folder(text: &str) -> PathBuf {
    Path::new(text).parent().map_or_else(PathBuf::new, |parent| {
        parent.components().take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as it would be shown for a mistake at the first `^`.
    fn masked(text: &str) -> String {
        let offset = text.find('^').unwrap();
        let text = text.replace('^', "");
        let mut source = Source::new("x.toml".into(), text.clone());
        source.mask(secrets_near(&text, offset).iter().chain(&secrets_by_prefix(&text)));
        source.text().to_owned()
    }

    #[test]
    fn a_pattern_begins_with_a_folder() {
        for (pattern, folder) in [
            ("tenants.d/*.toml", "tenants.d"),
            ("*.toml", ""),
            ("/etc/hookweir/tenants/[a-c]*.toml", "/etc/hookweir/tenants"),
            ("a/*/b/c.toml", "a"),
            ("a/b?/c*.toml", "a"),
            ("**/x.toml", ""),
        ] {
            assert_eq!(fixed_folder(pattern), Path::new(folder), "{pattern}");
        }
    }

    #[test]
    fn what_is_given_twice_is_found() {
        for (text, again, first) in [
            ("a = 1\na = 2\n", 6, Some(0)),
            ("[a.b]\n[c]\n[a.b]\n", 13, Some(3)),
            ("[a]\nurl = 1\n[b]\nurl = 1\nurl = 2\n", 24, Some(16)),
            ("[a]\nurl = 1\n[b]\nurl = 1\nuri = 2\n", 24, None),
            ("a = 1\nb = a\n", 10, None),
        ] {
            let length = text[again..].find([' ', '.', ']', '\n']).unwrap();
            let found = first_given(text, &(again..again + length));
            assert_eq!(found.map(|span| span.start), first, "{text}");
        }
    }

    #[test]
    fn a_mistake_in_the_syntax_shows_no_secret() {
        for (text, shown) in [
            ("secret = ^hush\n", "secret = ****\n"),
            ("secret = \"hush^\nnext = 1", "secret = \"****\nnext = 1"),
            ("keys = [\n  \"hush\"\n  \"psst\"^\n]", "keys = [\n  \"****\"\n  \"****\"\n]"),
            ("a = { token = \"hush\"^\n", "a = { ***** = \"****\"\n"),
            ("max_body = ^1MiB\n", "max_body = 1MiB\n"),
            ("url = \"x^ # whsec_abc+/=\n", "url = \"x # whsec_******\n"),
            ("[tenants^\nx = 1", "[tenants\nx = 1"),
            ("keys = []\n[tenants.acme^]", "keys = []\n[tenants.acme]"),
            ("keys = [\n[\"hush\"^", "keys = [\n[\"****\""),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }
}
