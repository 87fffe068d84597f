//! What can go wrong in SQLite, sorted by what follows from it. Nothing here looks at an error's text.

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_READ, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_SHORT_READ};

use crate::Error;

/// A failed read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room: nothing was written, and the same write can succeed later.
    Full,
    /// Another process holds SQLite's write lock: nothing was written, and the same write can succeed later.
    Locked,
    /// The operating system failed a write or a sync. After that nobody can say what is on disk.
    Io(String),
    /// SQLite can't read a page, or make sense of it. All that lies there, or is found by way of it, is out of reach until the file is
    /// rebuilt.
    Corrupt(String),
    /// A stored value is not what this engine wrote. It costs what it belongs to.
    Damaged(String),
    /// A fault of the statement or its values. Nothing was written.
    Other(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error();
        match code.map(|error| error.code) {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            // The shared-memory index grows before a transaction writes anything, and this code is how a full disk
            // shows there.
            Some(ErrorCode::SystemIoFailure)
                if code.is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE) =>
            {
                Self::Full
            }
            // A sector that can't be read, or lies beyond the end of a file that was cut. It has changed nothing.
            Some(ErrorCode::SystemIoFailure)
                if code.is_some_and(|error| {
                    [SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ].contains(&error.extended_code)
                }) =>
            {
                Self::Corrupt(error.to_string())
            }
            Some(ErrorCode::SystemIoFailure) => Self::Io(error.to_string()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            // A column holds what was never written there.
            None if is_of_a_value(&error) => Self::Damaged(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Fault {
    /// What someone who waits for a write is told.
    pub(super) fn of_write(self) -> Error {
        match self {
            Self::Full => Error::Full("the disk of `journal.path` is full".to_owned()),
            Self::Locked => Error::Busy,
            Self::Io(text) => Error::Unknown(text),
            Self::Corrupt(text) | Self::Damaged(text) => Error::Corrupt(text),
            Self::Other(text) => Error::Failed(text),
        }
    }

    /// What a reader is told: a read leaves nothing unknown behind.
    pub(super) fn of_read(self) -> Error {
        match self {
            Self::Io(text) => Error::Failed(text),
            other => other.of_write(),
        }
    }

    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{what} is not what was written"))
    }
}

fn is_of_a_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn codes_are_sorted_by_what_follows() {
        let fault = |code| Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert_eq!(fault(ffi::SQLITE_FULL), Fault::Full);
        assert_eq!(fault(ffi::SQLITE_IOERR_SHMSIZE), Fault::Full);
        assert_eq!(fault(ffi::SQLITE_BUSY), Fault::Locked);
        assert_eq!(fault(ffi::SQLITE_BUSY_SNAPSHOT), Fault::Locked);
        for code in
            [ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_TRUNCATE]
        {
            assert!(matches!(fault(code), Fault::Io(_)), "{code}");
            assert!(matches!(fault(code).of_write(), Error::Unknown(_)), "{code}");
            assert!(matches!(fault(code).of_read(), Error::Failed(_)), "{code}");
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
        ] {
            assert!(matches!(fault(code), Fault::Corrupt(_)), "{code}");
        }
        for error in [
            rusqlite::Error::InvalidColumnType(0, "status".to_owned(), rusqlite::types::Type::Text),
            rusqlite::Error::IntegralValueOutOfRange(0, 300),
        ] {
            assert!(matches!(Fault::from(error), Fault::Damaged(_)));
        }
        for code in [ffi::SQLITE_CONSTRAINT, ffi::SQLITE_TOOBIG, ffi::SQLITE_NOMEM, ffi::SQLITE_READONLY] {
            assert!(matches!(fault(code), Fault::Other(_)), "{code}");
        }
    }
}
