//! Moves what is in the write-ahead log to the main file, mostly beside the writer.
//!
//! SQLite does it within a commit if it is let: thousands of pages written and synced while everybody waits for that
//! commit. Here a thread with a connection of its own moves what the log holds, while the writer goes on and adds to
//! it. The writer then moves what was added meanwhile, which is little, so that its next commit finds everything moved
//! and begins the log anew.
//!
//! SQLite syncs the main file at the end of a pass that has moved all of the log, and of no other one; only then is the log
//! begun anew. A pass that moved a part has written pages that it does not write again. So a sync that fails leaves pages
//! that the system takes for written and the disk does not have, which a later sync would not bring there: nothing is
//! written any more then, and the next start moves all of the log again. All else that fails here loses nothing: the log
//! keeps what was not moved.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OpenFlags};

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::wal::Mark;

/// The log is moved when it has this many pages of 4 KiB. With 4000 each pass syncs so much that the writer's own syncs
/// wait for it: at half of the gateway's most, the slowest hundredth of senders waited for 5.9 and 9.6 ms, with 1000 for
/// 3.7 and 3.9 ms. Passes beside the writer cost it no throughput.
const ENOUGH: i32 = 1000;

/// Moves what no reader needs any more and no writer is adding. It waits for nobody.
const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// What the thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    Moves,
    /// It has ended a pass, and the writer has not moved the rest yet.
    HasMoved,
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engines::embedded) struct Moved {
    /// Frames in the log.
    pub(in crate::engines::embedded) frames: u32,
    /// How many of them were moved to the main file.
    moved: u32,
}

impl Moved {
    /// How many frames are in the main file, synced, where that is known.
    pub(in crate::engines::embedded) fn synced(self) -> Option<u32> {
        self.is_all().then_some(self.frames)
    }

    fn is_all(self) -> bool {
        self.frames == self.moved
    }
}

pub(super) struct Log {
    failures: Failures,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// `None` once it is stopped.
    start: Option<Sender<()>>,
    done: Receiver<Result<(), Fault>>,
    state: State,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    pub(super) fn watch(path: &Path, writer: &mut Connection, mark: &Mark) -> Result<Self, Fault> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(pages, Relaxed);
            Ok(())
        }))?;
        let connection =
            Connection::open_with_flags(path.join("journal.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA mmap_size = 0;")?;
        let mark = mark
            .file()
            .map_err(|error| Fault::Other(format!("the journal's mark can't be opened: {error}")))?;
        let (start, starts) = channel();
        let (tell, done) = channel();
        let failures = Failures::default();
        let own = failures.clone();
        let work = move || {
            while starts.recv().is_ok() {
                let moved = match move_pages(&connection) {
                    Err(fault @ Fault::Io(_)) => Err(fault),
                    other => {
                        own.kept(other);
                        Ok(())
                    }
                };
                // Here nobody waits for it.
                if let Err(error) = mark.sync_data() {
                    tracing::warn!(
                        target: "hookweir::journal",
                        "the journal's mark can't be synced: {error}"
                    );
                }
                if tell.send(moved).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("journal-log".to_owned()).spawn(work).map_err(|error| {
            Fault::Other(format!("the thread for the journal's log can't be started: {error}"))
        })?;
        Ok(Self { failures, pages, start: Some(start), done, state: State::Waits, thread: Some(thread) })
    }

    /// Frames in the log after the last commit; `None` where there was none since the start.
    pub(super) fn frames(&self) -> Option<u32> {
        u32::try_from(self.pages.load(Relaxed)).ok().filter(|frames| *frames > 0)
    }

    /// After a commit, before its answers: whether a pass that has ended meanwhile has failed to sync.
    pub(super) fn hear(&mut self) -> Result<(), Fault> {
        if self.state != State::Moves {
            return Ok(());
        }
        match self.done.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Ok(Err(fault)) => {
                self.state = State::Waits;
                Err(fault)
            }
            // Where the thread has panicked, what it would do is done by the writer.
            Ok(Ok(())) | Err(TryRecvError::Disconnected) => {
                self.state = State::HasMoved;
                Ok(())
            }
        }
    }

    /// After a commit: starts a pass if the log is long, and ends one that is done. Then it answers how many frames of the
    /// log are in the main file, synced.
    pub(super) fn look(&mut self, writer: &Connection) -> Result<Option<u32>, Fault> {
        self.hear()?;
        match self.state {
            State::Moves => Ok(None),
            State::HasMoved => {
                self.state = State::Waits;
                self.moved(writer)
            }
            State::Waits if self.pages.load(Relaxed) >= ENOUGH => {
                let is_started = self.start.as_ref().is_some_and(|start| start.send(()).is_ok());
                if is_started {
                    self.state = State::Moves;
                    return Ok(None);
                }
                // The thread has panicked: what it would do is done here.
                self.moved(writer)
            }
            State::Waits => Ok(None),
        }
    }
}

impl Log {
    fn moved(&self, writer: &Connection) -> Result<Option<u32>, Fault> {
        match move_pages(writer) {
            Err(fault @ Fault::Io(_)) => Err(fault),
            other => Ok(self.failures.kept(other).and_then(Moved::synced)),
        }
    }

    /// Moves all that no reader needs, now. Says whether that was all there is.
    pub(super) fn move_all(&mut self, writer: &Connection) -> Result<bool, Fault> {
        match move_pages(writer) {
            Err(fault @ Fault::Io(_)) => Err(fault),
            other => Ok(self.failures.kept(other).is_some_and(Moved::is_all)),
        }
    }

    /// Waits for a pass that is under way; there is none after it.
    pub(super) fn stop(&mut self) {
        self.start = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "hookweir::journal", "the thread for the journal's log has panicked");
        }
    }
}

impl Drop for Log {
    /// The thread's connection is closed before the writer's.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Of the passes over one log, but for failed syncs. One that fails is told, and those after it are not until one has
/// succeeded: a full disk fails each.
#[derive(Debug, Default, Clone)]
struct Failures(Arc<AtomicBool>);

impl Failures {
    /// Says what a pass has failed by that is no failed sync: without room, the log keeps what it has.
    fn kept(&self, moved: Result<Moved, Fault>) -> Option<Moved> {
        let is_told = self.is_told(moved.is_err());
        let failed = |fault: &Fault| {
            if is_told {
                let error = fault.clone().of_write();
                tracing::warn!(target: "hookweir::journal", "the journal's log could not be moved to its file, and is kept: {error}");
            }
        };
        moved.inspect_err(failed).ok()
    }

    /// Whether a pass that has ended so is told.
    fn is_told(&self, has_failed: bool) -> bool {
        let failed_before = self.0.swap(has_failed, Relaxed);
        has_failed && !failed_before
    }
}

/// Moves what no reader needs.
pub(in crate::engines::embedded) fn move_pages(connection: &Connection) -> Result<Moved, Fault> {
    checkpoint(connection, MOVE)
}

/// Counts the frames of the log, and moves none.
pub(in crate::engines::embedded) fn count_frames(connection: &Connection) -> Result<u32, Fault> {
    checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)").map(|moved| moved.frames)
}

fn checkpoint(connection: &Connection, pragma: &str) -> Result<Moved, Fault> {
    Ok(connection.query_row(pragma, [], |row| Ok(Moved { frames: row.get(1)?, moved: row.get(2)? }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_fails_is_told_once_until_one_succeeds() {
        let failures = Failures::default();
        let beside = failures.clone();
        for (has_failed, is_told) in
            [(false, false), (true, true), (true, false), (true, false), (false, false), (true, true)]
        {
            assert_eq!(failures.is_told(has_failed), is_told);
        }
        assert!(!beside.is_told(true), "the thread beside the writer tells nothing again");
    }
}
