//! Moves what is in the write-ahead log to the main file, mostly beside the writer.
//!
//! SQLite does it within a commit if it is let: thousands of pages written and synced while everybody waits for that
//! commit. Here a thread with a connection of its own moves what the log holds, while the writer goes on and adds to
//! it. The writer then moves what was added meanwhile, which is little, so that its next commit finds everything moved
//! and begins the log anew.
//!
//! What fails here loses nothing: a page counts as moved only after the sync of the main file, the log keeps it until
//! then, and the next pass writes it again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
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

pub(super) struct Log {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// `None` once it is stopped.
    start: Option<Sender<()>>,
    done: Receiver<()>,
    is_moving: bool,
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
        let work = move || {
            while starts.recv().is_ok() {
                move_pages(&connection);
                // Here nobody waits for it.
                if let Err(error) = mark.sync_data() {
                    tracing::warn!("the journal's mark can't be synced: {error}");
                }
                if tell.send(()).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("journal-log".to_owned()).spawn(work).map_err(|error| {
            Fault::Other(format!("the thread for the journal's log can't be started: {error}"))
        })?;
        Ok(Self { pages, start: Some(start), done, is_moving: false, thread: Some(thread) })
    }

    /// Frames in the log after the last commit; `None` where there was none since the start.
    pub(super) fn frames(&self) -> Option<u32> {
        u32::try_from(self.pages.load(Relaxed)).ok().filter(|frames| *frames > 0)
    }

    /// After a commit: starts a pass if the log is long, and ends one that is done. Then it answers how many frames of the
    /// log are in the main file, synced.
    pub(super) fn look(&mut self, writer: &Connection) -> Option<u32> {
        if self.is_moving {
            match self.done.try_recv() {
                Err(TryRecvError::Empty) => {}
                Ok(()) | Err(TryRecvError::Disconnected) => {
                    self.is_moving = false;
                    return moved(writer);
                }
            }
        } else if self.pages.load(Relaxed) >= ENOUGH {
            let is_started = self.start.as_ref().is_some_and(|start| start.send(()).is_ok());
            if is_started {
                self.is_moving = true;
            } else {
                // The thread has panicked: what it would do is done here.
                return moved(writer);
            }
        }
        None
    }
}

impl Log {
    /// Moves all that no reader needs, now. Says whether that was all there is.
    pub(super) fn move_all(&mut self, writer: &Connection) -> bool {
        move_pages(writer).is_some_and(|(frames, moved)| frames == moved)
    }

    /// Waits for a pass that is under way; there is none after it.
    pub(super) fn stop(&mut self) {
        self.start = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for the journal's log has panicked");
        }
    }
}

impl Drop for Log {
    /// The thread's connection is closed before the writer's.
    fn drop(&mut self) {
        self.stop();
    }
}

fn moved(connection: &Connection) -> Option<u32> {
    move_pages(connection).map(|(_, moved)| moved)
}

/// Answers how many frames the log has, and how many of them are in the main file now, synced.
pub(in crate::engines::embedded) fn move_pages(connection: &Connection) -> Option<(u32, u32)> {
    match connection.query_row(MOVE, [], |row| Ok((row.get(1)?, row.get(2)?))) {
        Ok(moved) => Some(moved),
        Err(error) => {
            tracing::warn!("the journal's log could not be moved to its file, and is kept: {error}");
            None
        }
    }
}
