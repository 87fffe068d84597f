//! Where secrets come from: environment variables and files outside the configuration.
//!
//! The checks see the outside through [`Env`] alone, so that they can be tested without touching the process.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use thiserror::Error;

use super::source;

/// A secret is a key or a token: nothing that is longer is meant as one.
const SECRET_CAP: u64 = 64 << 10;

/// The environment of the gateway's process, as far as secrets need it.
pub(crate) trait Env {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, Unreadable>;

    /// The text of a file that holds a secret.
    fn secret_file(&self, path: &Path) -> Result<String, Unreadable>;
}

/// A secret can't be read. The text never holds any of its content.
#[derive(Debug, Error)]
pub(crate) enum Unreadable {
    #[error("the environment variable is not set")]
    Unset,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it begins with a byte order mark (EF BB BF), which is no part of a secret")]
    Marked,
    #[error("it is larger than {SECRET_CAP} bytes")]
    TooLarge,
    #[error("its mode {0:03o} opens it to every user of the machine")]
    Open(u32),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The real environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StdEnv;

impl Env for StdEnv {
    fn variable(&self, name: &str) -> Result<String, Unreadable> {
        // The standard library panics on names that no variable can have.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Unreadable::Unset);
        }
        match std::env::var_os(name) {
            None => Err(Unreadable::Unset),
            Some(value) => value.into_string().map_err(|_| Unreadable::NotText),
        }
    }

    fn secret_file(&self, path: &Path) -> Result<String, Unreadable> {
        let file = source::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Unreadable::Io(std::io::ErrorKind::IsADirectory.into()));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o006 != 0 {
            return Err(Unreadable::Open(mode));
        }
        let mut bytes = Vec::new();
        file.take(SECRET_CAP + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SECRET_CAP {
            return Err(Unreadable::TooLarge);
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Unreadable::Marked);
        }
        String::from_utf8(bytes).map_err(|_| Unreadable::NotText)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn with_mode(mode: u32, content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_secret_file_must_be_closed_to_others() {
        for mode in [0o600, 0o400, 0o640] {
            let file = with_mode(mode, b"sesame\n");
            assert_eq!(StdEnv.secret_file(file.path()).unwrap(), "sesame\n", "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602] {
            let file = with_mode(mode, b"sesame\n");
            assert!(matches!(StdEnv.secret_file(file.path()), Err(Unreadable::Open(found)) if found == mode));
        }
    }

    #[test]
    fn a_secret_file_is_short_text() {
        let file = with_mode(0o600, b"\xff");
        assert!(matches!(StdEnv.secret_file(file.path()), Err(Unreadable::NotText)));
        let file = with_mode(0o600, b"\xef\xbb\xbfsesame");
        assert!(matches!(StdEnv.secret_file(file.path()), Err(Unreadable::Marked)));
        let file = with_mode(0o600, &vec![b'a'; (64 << 10) + 1]);
        assert!(matches!(StdEnv.secret_file(file.path()), Err(Unreadable::TooLarge)));
        assert!(matches!(StdEnv.secret_file(&std::env::temp_dir()), Err(Unreadable::Io(_))));
    }

    #[test]
    fn names_that_no_variable_can_have_are_unset() {
        for name in ["", "A=B", "A\0B", "HOOKWEIR_SURELY_NOT_SET"] {
            assert!(matches!(StdEnv.variable(name), Err(Unreadable::Unset)), "{name:?}");
        }
    }
}
