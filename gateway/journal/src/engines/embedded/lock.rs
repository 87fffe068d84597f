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

/// Keeps writers out while a directory is looked at; it changes nothing there, and others may look at the same time. A
/// directory without the file was never written to.
pub(super) fn share(directory: &Path, instead: &str) -> Result<Option<Lock>, Fault> {
    let path = directory.join("lock");
    let failed = |error: std::io::Error| {
        Fault::Other(format!("the journal's lock {} can't be read: {error}", path.display()))
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Err(Fault::Other(format!(
            "a gateway is at work on the journal in {}: {instead}",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
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
