//! The file of an endpoint's signing secrets: one a line, the one in force first. Those that it has taken the place of sign
//! beside it up to the time that stands behind them, so that receivers can change over.
//!
//! ```text
//! whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD
//! whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw until 2026-01-31T12:00:00.000Z
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::Instant;

use hookweir_delivery::sign::{End, Key, KeyFault};
use hookweir_model::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::NamedTempFile;
use thiserror::Error;

/// How many secrets a file may have. Each of them adds a signature to every request.
pub(crate) const MOST: usize = 10;

/// One secret of the file.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub secret: SecretString,
    pub until: Option<Timestamp>,
}

impl Line {
    /// The key of Standard Webhooks that it is. What is left of its time counts from now on.
    pub(crate) fn key(&self) -> Result<Key, KeyFault> {
        let end = self.until.map(|until| End::new(until, Timestamp::now(), Instant::now()));
        Key::parse(self.secret.expose_secret()).map(|key| key.until(end))
    }
}

/// The file can't be read as secrets. The texts never hold any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Misread {
    #[error("line {0} is neither a secret nor `SECRET until TIME`")]
    Line(usize),
    #[error("the first secret, which is the one in force, has an end")]
    FirstEnds,
    #[error("it has more than {MOST} secrets")]
    TooMany,
}

/// Reads the lines; empty ones are passed over.
pub(crate) fn lines(text: &str) -> Result<Vec<Line>, Misread> {
    let written = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let lines: Vec<Line> = written
        .map(|(index, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (secret, until) = match words[..] {
                [secret] => (secret, None),
                [secret, "until", time] => {
                    (secret, Some(Timestamp::parse(time).ok_or(Misread::Line(index + 1))?))
                }
                _ => return Err(Misread::Line(index + 1)),
            };
            Ok(Line { secret: secret.into(), until })
        })
        .collect::<Result<_, _>>()?;
    match lines.first() {
        Some(Line { until: Some(_), .. }) => Err(Misread::FirstEnds),
        _ if lines.len() > MOST => Err(Misread::TooMany),
        _ => Ok(lines),
    }
}

/// The secrets after another has come in force: those before it sign until `end` at the latest, and those that have ended by
/// now are left out.
pub(crate) fn rotated(before: Vec<Line>, secret: SecretString, now: Timestamp, end: Timestamp) -> Vec<Line> {
    let ended = |line: Line| Line { until: Some(line.until.map_or(end, |until| until.min(end))), ..line };
    let left = before.into_iter().map(ended).filter(|line| line.until.is_some_and(|until| now < until));
    std::iter::once(Line { secret, until: None }).chain(left).take(MOST).collect()
}

/// The text of the file.
fn text(lines: &[Line]) -> String {
    let line = |Line { secret, until }: &Line| {
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        format!("{}{until}\n", secret.expose_secret())
    };
    lines.iter().map(line).collect()
}

/// Replaces a file's secrets, so that whoever reads it sees the old ones or the new ones, whole. Owner and mode stay.
pub(crate) fn replace(path: &Path, lines: &[Line]) -> io::Result<()> {
    // What a link leads to is replaced, and not the link.
    let path = fs::canonicalize(path)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let before = fs::metadata(&path)?;
    // For its owner alone, and gone again where it does not get to its place.
    let mut draft = NamedTempFile::new_in(folder)?;
    let file = draft.as_file_mut();
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
        fchown(&*file, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))?;
    file.write_all(text(lines).as_bytes())?;
    file.sync_all()?;
    draft.persist(&path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn read(text: &str) -> Vec<(String, Option<Timestamp>)> {
        let lines = lines(text).unwrap();
        lines.into_iter().map(|line| (line.secret.expose_secret().to_owned(), line.until)).collect()
    }

    #[test]
    fn a_line_is_a_secret_and_may_have_an_end() {
        let one = |until| ("one".to_owned(), until);
        for (text, wanted) in [
            ("", vec![]),
            ("one", vec![one(None)]),
            ("\n one \r\n\n", vec![one(None)]),
            (
                "one\ntwo until 1970-01-01T00:00:09Z\nthree\n",
                vec![one(None), ("two".to_owned(), Some(at(9))), ("three".to_owned(), None)],
            ),
        ] {
            assert_eq!(read(text), wanted, "{text:?}");
        }
        for (text, wanted) in [
            ("one\ntwo words", Misread::Line(2)),
            ("one until", Misread::Line(1)),
            ("one\n\ntwo until tomorrow", Misread::Line(3)),
            ("one until 1970-01-01T00:00:09Z", Misread::FirstEnds),
            (&"one\n".repeat(11), Misread::TooMany),
        ] {
            assert_eq!(lines(text).unwrap_err(), wanted, "{text:?}");
        }
    }

    #[test]
    fn another_secret_comes_first_and_the_others_end() {
        let before = "now\nsoon until 1970-01-01T00:00:20Z\nlate until 1970-01-01T00:05:00Z\n\
                      gone until 1970-01-01T00:00:10Z\n";
        for (end, wanted) in [
            (
                100,
                "next\nnow until 1970-01-01T00:01:40.000Z\nsoon until 1970-01-01T00:00:20.000Z\n\
                 late until 1970-01-01T00:01:40.000Z\n",
            ),
            (10, "next\n"),
        ] {
            let after = rotated(lines(before).unwrap(), "next".into(), at(10), at(end));
            assert_eq!(text(&after), wanted);
        }
        let full = rotated(lines(&"one\n".repeat(MOST)).unwrap(), "next".into(), at(10), at(20));
        assert_eq!(full.len(), MOST);
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("secret"), folder.path().join("link"));
        fs::write(&path, "one\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, &lines("two\none until 1970-01-01T00:00:09Z").unwrap()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\none until 1970-01-01T00:00:09.000Z\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
