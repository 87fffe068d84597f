//! A file of the configuration, as text.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::json_text;

/// Far above any file that a person writes; it keeps a wrong path, as of a log, from filling the memory.
const FILE_CAP: u64 = 16 << 20;

/// The number of a file among all that were read: 0 is the main file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub usize);

/// One file and what is in it.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        Self { path, text }
    }

    pub(super) fn read(path: PathBuf) -> io::Result<Self> {
        let bytes =
            read_at_most(&path, FILE_CAP)?.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let what = json_text::encoding(error.as_bytes(), "it");
            io::Error::other(what.unwrap_or_else(|| "it is not UTF-8".to_owned()))
        })?;
        Ok(Self::new(path, text))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The path as it was given, so that it can be found from where the program was started.
    pub(super) fn shown_path(&self) -> String {
        shown(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that relative paths in this file start from.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Line and column of an offset, both from 1; the column counts characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before.get(line_start..).unwrap_or("").chars().count() + 1)
    }

    /// The part of a stretch that lies on its first line: a caret under more would show whole tables.
    pub(super) fn first_line(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.min(self.text.len());
        let stretch = self.text.get(start..span.end.min(self.text.len())).unwrap_or("");
        let length = stretch.find(['\r', '\n']).unwrap_or(stretch.len());
        start..start + length
    }

    /// Replaces every character of the stretches by stars. All offsets stay as they are.
    pub(super) fn mask<'a>(&mut self, spans: impl Iterator<Item = &'a Range<usize>>) {
        mask(&mut self.text, spans);
    }
}

fn mask<'a>(text: &mut String, spans: impl Iterator<Item = &'a Range<usize>>) {
    for span in spans {
        let Some(secret) = text.get(span.clone()) else { continue };
        let star = |letter: char| match letter {
            '\r' | '\n' => letter.to_string(),
            _ => "*".repeat(letter.len_utf8()),
        };
        let stars: String = secret.chars().map(star).collect();
        text.replace_range(span.clone(), &stars);
    }
}

/// The secrets that tell themselves by how they start, wherever they stand.
pub(super) fn secrets_by_prefix(text: &str) -> Vec<Range<usize>> {
    let of_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-".contains(letter);
    ["whsec_", "whsk_"]
        .into_iter()
        .flat_map(|prefix| text.match_indices(prefix))
        .map(|(start, prefix)| {
            let rest = start + prefix.len();
            let tail = text.get(rest..).unwrap_or("");
            rest..rest + tail.find(|letter| !of_base64(letter)).unwrap_or(tail.len())
        })
        .collect()
}

/// A text with the secrets masked that tell themselves by how they start.
pub(super) fn without_secrets(mut text: String) -> String {
    let secrets = secrets_by_prefix(&text);
    mask(&mut text, secrets.iter());
    text
}

/// Opens a file to read it. A pipe is refused: it may have no other end, and a reload or start would wait for one for ever.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Without this flag the call itself waits for the other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.file_type().is_fifo() {
        true => Err(io::Error::other("it is a pipe: name a file")),
        false => Ok(file),
    }
}

/// Reads a file of at most `cap` bytes; `None` if it is longer.
pub(super) fn read_at_most(path: &Path, cap: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    open(path)?.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= cap);
    Ok(fits.then_some(bytes))
}

/// A path as it is shown: a name may hold characters that would steer a terminal.
pub(super) fn shown(path: &Path) -> String {
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    path.display().to_string().chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("x.toml".into(), text.to_owned())
    }

    #[test]
    fn positions_count_characters_from_one() {
        let text = source("a = 1\nü = 2\n");
        for (offset, position) in
            [(0, (1, 1)), (4, (1, 5)), (6, (2, 1)), (8, (2, 2)), (13, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(text.position(offset), position, "{offset}");
        }
    }

    #[test]
    fn masking_keeps_every_offset() {
        let mut text = source("key = \"sésame\"\nnext = [\"a\",\n\"b\"]\n");
        let length = text.text().len();
        text.mask([7..14, 24..32, 90..99].iter());
        assert_eq!(text.text(), "key = \"*******\"\nnext = [****\n***]\n");
        assert_eq!(text.text().len(), length);
    }

    #[test]
    fn what_is_shown_holds_no_secret_and_steers_no_terminal() {
        let told = without_secrets("\"whsec_MfKQ+/=\" and whsk_A, not whpk_B".to_owned());
        assert_eq!(told, "\"whsec_*******\" and whsk_*, not whpk_B");
        assert_eq!(shown(Path::new("a\u{1b}[2J/ü.toml")), "a\\u{1b}[2J/ü.toml");
    }

    #[test]
    fn a_caret_stays_on_one_line() {
        let text = source("a = [\r\n1]");
        for (span, expected) in [(4..9, 4..5), (0..1, 0..1), (9..9, 9..9), (50..60, 9..9)] {
            assert_eq!(text.first_line(&span), expected, "{span:?}");
        }
    }
}
