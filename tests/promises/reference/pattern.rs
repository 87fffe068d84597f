//! What a page writes of an output, compared with the output.
//!
//! - `[..]` is any text within a line, a character at least, and `...` on a line of its own is any number of lines.
//! - `[RECEIPT]`, or any other name in capitals, is a text without blanks; where the name comes again, so must the text.
//! - The time [`TIME`] is any time of that form.
//!
//! All else is what it is. Blanks at a line's end count for nothing, and neither do empty lines at the output's end.

use std::collections::BTreeMap;

/// How the page writes every time.
const TIME: &str = "2026-01-31T12:00:00.000Z";

/// The texts that names stand for.
pub(super) type Names = BTreeMap<String, String>;

/// Compares lines, and answers what names stand for then; `None` where they differ.
pub(super) fn matched(written: &[&str], printed: &[&str], names: &Names) -> Option<Names> {
    let Some((first, written)) = written.split_first() else {
        return printed.iter().all(|line| line.trim().is_empty()).then(|| names.clone());
    };
    if *first == "..." {
        return (0..=printed.len()).find_map(|skipped| matched(written, &printed[skipped..], names));
    }
    let (line, printed) = printed.split_first()?;
    line_matched(first.trim_end(), line.trim_end(), names, &|names| matched(written, printed, names))
}

/// Compares two lines, and what comes after them by `then`.
fn line_matched(
    written: &str,
    printed: &str,
    names: &Names,
    then: &dyn Fn(&Names) -> Option<Names>,
) -> Option<Names> {
    if let Some(written) = written.strip_prefix("[..]") {
        let mut ends = printed.char_indices().map(|(start, c)| start + c.len_utf8());
        return ends.find_map(|end| line_matched(written, &printed[end..], names, then));
    }
    if let Some((name, written)) = name(written) {
        if let Some(text) = names.get(name) {
            return line_matched(written, printed.strip_prefix(text)?, names, then);
        }
        let end = printed.find(' ').unwrap_or(printed.len());
        let mut ends = printed[..end].char_indices().map(|(start, c)| start + c.len_utf8()).rev();
        return ends.find_map(|end| {
            let mut names = names.clone();
            names.insert(name.to_owned(), printed[..end].to_owned());
            line_matched(written, &printed[end..], &names, then)
        });
    }
    if let Some(written) = written.strip_prefix(TIME) {
        let time = printed.get(..TIME.len()).filter(|time| is_time(time))?;
        return line_matched(written, &printed[time.len()..], names, then);
    }
    match (written.chars().next(), printed.chars().next()) {
        (None, None) => then(names),
        (Some(a), Some(b)) if a == b => {
            line_matched(&written[a.len_utf8()..], &printed[b.len_utf8()..], names, then)
        }
        _ => None,
    }
}

/// A name in brackets at the beginning, and the rest.
fn name(written: &str) -> Option<(&str, &str)> {
    let (name, rest) = written.strip_prefix('[')?.split_once(']')?;
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    fits.then_some((name, rest))
}

fn is_time(text: &str) -> bool {
    text.bytes().zip(TIME.bytes()).all(|(a, b)| if b.is_ascii_digit() { a.is_ascii_digit() } else { a == b })
}

/// A command with what the names in it stand for.
pub(super) fn filled(typed: &str, names: &Names) -> String {
    names.iter().fold(typed.to_owned(), |typed, (name, text)| typed.replace(&format!("[{name}]"), text))
}

#[test]
fn what_is_written_is_compared_with_what_was_printed() {
    for (written, printed, wanted) in [
        ("", "", true),
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a", "a\n\n", true),
        ("a\n\nb", "a\nb", false),
        ("a\nb", "a", false),
        ("a  ", "a", true),
        ("  a", "a", false),
        ("in [..] ms", "in 12 ms", true),
        ("in [..] ms", "in 12 s", false),
        ("in [..] ms", "in  ms", false),
        ("[..]", "\u{e9}\u{6f22}", true),
        ("[..]", "a\nb", false),
        ("[..]a[..]b", "aaab", true),
        ("[..]a[..]b", "aab", false),
        ("...", "", true),
        ("...", "a\nb", true),
        ("a\n...\nc", "a\nb\nb\nc", true),
        ("a\n...\nc", "a\nc", true),
        ("a\n...\nc", "a\nb", false),
        ("a...", "ab", false),
        ("...\n#[..]\nb", "#1\na\n#2\nb", true),
        ("at 2026-01-31T12:00:00.000Z.", "at 2031-12-01T23:59:59.999Z.", true),
        ("at 2026-01-31T12:00:00.000Z.", "at 2031-12-01T23:59:59.99Z.", false),
        ("2026-01-31T12:00:00.000Z", "2026-01-31", false),
        ("at 2026-01-31T12:00:01.000Z", "at 2026-01-31T12:00:02.000Z", false),
        ("[A] b", "x b", true),
        ("[A] b", " b", false),
        ("[A] b", "x y b", false),
        ("[A]: [A]", "x: x", true),
        ("[A]: [A]", "x: y", false),
        ("[A]b\n[A]", "ab\na", true),
        ("[A] to [B]\n[B]", "x to y\ny", true),
        ("[A] to [B]\n[B]", "x to y\nx", false),
        ("[a]", "[a]", true),
        ("[a]", "x", false),
        ("[]", "x", false),
    ] {
        let [written_lines, printed_lines] = [written, printed].map(|text| text.lines().collect::<Vec<_>>());
        let found = matched(&written_lines, &printed_lines, &Names::new()).is_some();
        assert_eq!(found, wanted, "{written:?}, {printed:?}");
    }
}

#[test]
fn a_name_stands_for_the_same_text_from_then_on() {
    let names = matched(&["receipt  [RECEIPT]"], &["receipt  AAE-_x"], &Names::new()).expect("a match");
    assert_eq!(filled("ack [RECEIPT] [OTHER]", &names), "ack AAE-_x [OTHER]");
    assert!(matched(&["[RECEIPT]  done"], &["AAE-_x  done"], &names).is_some());
    assert!(matched(&["[RECEIPT]  done"], &["AAE-_y  done"], &names).is_none());
}
