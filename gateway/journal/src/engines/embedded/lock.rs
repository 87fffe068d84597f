//! One process at a time: the file `lock` in the journal's directory.
//!
//! SQLite would let two gateways write in turn, but both would deliver everything. The operating system gives the
//! lock back when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::fault::Fault;

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

pub(super) fn take(directory: &Path) -> Result<Lock, Fault> {
    let path = directory.join("lock");
    let failed = |error: &std::io::Error| {
        Fault::Other(format!("the journal's lock {} can't be taken: {error}", path.display()))
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(Fault::Other(format!(
            "the journal in {} is in use by another process: stop that one, or give this one another journal path",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}
