//! Brings to the disk what a start reads from the log.
//!
//! After a sync that failed, Linux takes the pages for written, though the disk does not have them: they can be read as
//! long as they are in memory, and no later sync writes them. What a start finds may be such pages, of a process that has
//! ended for that very failure. So all of the log is written again, to where it stands, and synced, before the start
//! builds on it. It needs no room, and a crash in the middle changes nothing: the bytes are the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::writer::wal_path;

/// How much is read and written at once.
const PART: usize = 1 << 20;

/// Writes the log of a journal that nobody has open once more.
pub(in crate::engines::embedded) fn renew(directory: &Path) -> Result<(), Fault> {
    let path = wal_path(directory);
    write_again(&path).map_err(|error| {
        Fault::Io(format!("the journal's log {} can't be written again: {error}", path.display()))
    })
}

fn write_again(path: &Path) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut part = vec![0; PART];
    let mut place = 0;
    loop {
        let read = file.read_at(&mut part, place)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&part[..read], place)?;
        place += read as u64;
    }
    if place > 0 { file.sync_all() } else { Ok(()) }
}
