//! The mark: outside of the log, what was answered last.
//!
//! After the sync of a commit and before its answers, the writer notes here where the log ends and which number it gave
//! last. So the mark is never ahead of what is on disk, and after a kill it is exact. It is not synced with each commit:
//! after a power cut it may be some seconds old, and then says less, and nothing wrong.
//!
//! The file has two slots in sectors of their own, which are written in turn, so that one is whole whatever happens.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::scan::{FRAME, HEADER, Header, PAGE, Salts, Sum, word};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::writer::wal_path;

const MAGIC: &[u8; 8] = b"hookmrk1";
/// What a slot takes of its sector.
const SLOT: usize = 88;
/// Sectors of 512 bytes, with some between the two slots: a disk that writes 4 KiB at once does not tear both.
const PLACES: [u64; 2] = [0, 4096];

/// The end of the log when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct End {
    /// Frames in the log, up to the commit's last; 0: nothing in the log is needed.
    pub(super) frames: u32,
    /// How many of them at the front are in the main file, synced.
    pub(super) moved: u32,
    pub(super) sequence: u32,
    pub(super) salts: Salts,
    /// Of the last frame: the page, the size of the journal, the checksums before and after it.
    pub(super) page: u32,
    pub(super) size: u32,
    pub(super) before: Sum,
    pub(super) sum: Sum,
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slot {
    /// The newer slot has the higher one.
    pub(super) count: u64,
    /// Which journal it is about.
    pub(super) journal: u64,
    /// The number of the event that was answered last.
    pub(super) last: u64,
    /// When, in milliseconds.
    pub(super) at: u64,
    pub(super) end: End,
}

impl Slot {
    pub(super) fn write(&self) -> [u8; SLOT] {
        let End { frames, moved, sequence, salts, page, size, before, sum } = self.end;
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.extend_from_slice(MAGIC);
        for number in [self.count, self.journal, self.last, self.at] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let words =
            [frames, moved, sequence, salts[0], salts[1], page, size, before[0], before[1], sum[0], sum[1]];
        for word in words {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let mut slot = [0; SLOT];
        slot.copy_from_slice(&bytes);
        slot
    }

    pub(super) fn read(bytes: &[u8; SLOT]) -> Option<Self> {
        let is_whole = crc32fast::hash(&bytes[..SLOT - 4]) == word(bytes, SLOT - 4);
        if !is_whole || !bytes.starts_with(MAGIC) {
            return None;
        }
        let long = |at| u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4));
        let short = |index: usize| word(bytes, 40 + index * 4);
        Some(Self {
            count: long(8),
            journal: long(16),
            last: long(24),
            at: long(32),
            end: End {
                frames: short(0),
                moved: short(1),
                sequence: short(2),
                salts: [short(3), short(4)],
                page: short(5),
                size: short(6),
                before: [short(7), short(8)],
                sum: [short(9), short(10)],
            },
        })
    }
}

/// What the mark's file was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none, as before the first start of a version that keeps one.
    None,
    /// There is one, and neither slot can be read.
    Damaged,
    Slot(Slot),
}

pub(super) fn mark_path(directory: &Path) -> PathBuf {
    directory.join("journal.mark")
}

pub(super) fn read(directory: &Path) -> io::Result<Found> {
    let file = match File::open(mark_path(directory)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(error) => return Err(error),
    };
    let mut newest: Option<Slot> = None;
    for place in PLACES {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, place) {
            Ok(()) => newest = newest.max_by_count(Slot::read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest.map_or(Found::Damaged, Found::Slot))
}

trait Newest {
    fn max_by_count(self, other: Self) -> Self;
}

impl Newest for Option<Slot> {
    fn max_by_count(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if b.count > a.count { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Makes a mark that says nothing yet. It has its name once it is whole on disk, so that a power cut leaves none or a whole
/// one; and it has all of its room then, so that it is written on a full disk too.
fn make(directory: &Path, slot: &Slot) -> io::Result<()> {
    let making = directory.join("journal.mark.making");
    let file = File::create(&making)?;
    for place in PLACES {
        file.write_all_at(&slot.write(), place)?;
        file.write_all_at(&[0; SLOT], place + 512)?;
    }
    file.sync_all()?;
    fs::rename(&making, mark_path(directory))
}

/// The writer's hand on the mark.
#[derive(Debug)]
pub(in crate::engines::embedded) struct Mark {
    file: File,
    log: File,
    slot: Slot,
    /// Whether the last write failed: that is said once.
    has_failed: bool,
}

impl Mark {
    /// Opens the mark of a journal whose log exists, and makes it where there is none.
    pub(in crate::engines::embedded) fn open(directory: &Path, journal: i64) -> Result<Self, Fault> {
        let failed = |error: io::Error| {
            let path = mark_path(directory);
            Fault::Other(format!("the journal's mark {} can't be opened: {error}", path.display()))
        };
        let mut slot = Slot { journal: journal.cast_unsigned(), ..Slot::default() };
        match read(directory).map_err(failed)? {
            Found::Slot(found) => slot.count = found.count,
            Found::None | Found::Damaged => match make(directory, &slot) {
                Ok(()) => {}
                // Without it the start goes on: writing says so.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(
                        target: "hookweir::journal",
                        "there is no room for the journal's mark: {error}"
                    );
                }
                Err(error) => return Err(failed(error)),
            },
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(mark_path(directory)).map_err(failed)?;
        // SQLite syncs the directory too, when it makes the log, and passes over an error.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let log = File::open(wal_path(directory)).map_err(failed)?;
        Ok(Self { file, log, slot, has_failed: false })
    }

    /// A second hand on the file, for who syncs it.
    pub(in crate::engines::embedded) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Notes a commit, after its sync and before its answers: so many frames are in the log, and `last` is the number
    /// given last.
    pub(in crate::engines::embedded) fn committed(&mut self, frames: u32, last: i64, now: i64) {
        let end = self.end(frames);
        self.note(end, |slot, mut end| {
            let goes_on = end.salts == slot.end.salts && end.frames >= slot.end.moved;
            end.moved = if goes_on { slot.end.moved } else { 0 };
            Slot { last: last.unsigned_abs(), at: now.unsigned_abs(), end, ..slot }
        });
    }

    /// Notes that so many frames of the log are in the main file, synced.
    pub(in crate::engines::embedded) fn moved(&mut self, frames: u32) {
        self.note(Ok(self.slot.end), |slot, end| Slot {
            end: End { moved: frames.min(end.frames), ..end },
            ..slot
        });
    }

    /// Notes that the log is empty and the main file has everything.
    pub(in crate::engines::embedded) fn emptied(&mut self) {
        self.note(Ok(End::default()), |slot, end| Slot { end, ..slot });
    }

    pub(in crate::engines::embedded) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn note(&mut self, end: io::Result<End>, change: impl FnOnce(Slot, End) -> Slot) {
        let written = end.and_then(|end| {
            let mut slot = change(self.slot, end);
            if slot.end == self.slot.end && slot.last == self.slot.last {
                return Ok(());
            }
            slot.count += 1;
            let place = PLACES[usize::from(slot.count % 2 == 1)];
            self.file.write_all_at(&slot.write(), place)?;
            self.slot = slot;
            Ok(())
        });
        match written {
            Ok(()) => self.has_failed = false,
            // The mark stays behind, which is allowed: it then says less.
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::warn!(
                    target: "hookweir::journal",
                    "the journal's mark can't be written, so that damage may be found late: {error}"
                );
            }
            Err(_) => {}
        }
    }

    /// Reads what stands at the end of the log.
    fn end(&self, frames: u32) -> io::Result<End> {
        if frames == 0 {
            return Ok(End::default());
        }
        let mut header = [0; HEADER];
        self.log.read_exact_at(&mut header, 0)?;
        let header = Header::read(&header).ok_or_else(|| io::Error::other("the log has no header"))?;
        let place = |frame: u32| (HEADER + (frame as usize) * (FRAME + PAGE)) as u64;
        let mut head = [0; FRAME];
        let mut before = header.sum;
        if frames > 1 {
            self.log.read_exact_at(&mut head, place(frames - 2))?;
            before = [word(&head, 16), word(&head, 20)];
        }
        self.log.read_exact_at(&mut head, place(frames - 1))?;
        Ok(End {
            frames,
            moved: 0,
            sequence: header.sequence,
            salts: header.salts,
            page: word(&head, 0),
            size: word(&head, 4),
            before,
            sum: [word(&head, 16), word(&head, 20)],
        })
    }
}
