//! Reading: a few read-only connections, each on a blocking thread while it is used.
//!
//! A read sees one snapshot from its start to its end. Reads are kept short, since SQLite can't cut its log while an
//! old snapshot is in use.

mod blocks;
mod clock;
mod delivery;
mod due;
mod event;
mod gate;
mod health;
mod message;
mod newest;
mod patience;
mod plugin;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

pub(super) use self::clock::kept_clock;
pub(super) use self::delivery::{
    DeliveryQuery, attempts, counts, deliveries_of, delivery, list as deliveries, made, place,
};
pub(super) use self::delivery::{recoverable, waiting};
#[cfg(test)]
pub(super) use self::due::AT_ONCE;
pub(super) use self::due::{LaneOf, due, head};
pub(super) use self::event::{EventQuery, blob, by_id as event, list as events, stored as stored_event};
pub(super) use self::health::{backlogs, endpoint_states, pending};
pub(super) use self::message::{by_numbers as messages, look, queue_stats, queues};
pub(super) use self::plugin::states as plugin_states;

use self::gate::Gate;
pub(super) use self::gate::Taken;
use super::Shared;
use super::door::closed;
use super::fault::Fault;
use crate::Error;

/// Only another process that has the file open can make a reader wait.
const BUSY: Duration = Duration::from_secs(5);

/// Each statement of the reading side is prepared once in each connection.
const STATEMENTS: usize = 64;

/// Steps of SQLite's machine between two moments at which a list gives way: some hundredths of a millisecond.
const STEPS: i32 = 250;

/// How long those who browse wait while the file is being replaced.
const WHILE_REPLACED: Duration = Duration::from_secs(2);

/// Places for those who browse.
const BROWSERS: usize = 2;

pub(super) struct Readers {
    permits: Arc<Semaphore>,
    /// Those who browse have places of their own: no delivery waits for one.
    browsers: Arc<Semaphore>,
    gate: Gate,
    directory: PathBuf,
    file: Source,
    /// How often the writer has asked to be woken by readers that end.
    asked: AtomicU64,
}

/// Whether somebody writes to the file meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Written,
    /// Nobody does, and all is in the main file: SQLite then needs no file of its own beside it.
    AtRest,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn open(directory: &Path, count: usize, file: Source) -> Result<Self, Fault> {
        let gate = Gate::new(connect(directory, file)?);
        let places = |count| Arc::new(Semaphore::new(count));
        let directory = directory.to_owned();
        Ok(Self {
            permits: places(count.max(1)),
            browsers: places(BROWSERS),
            gate,
            directory,
            file,
            asked: AtomicU64::new(0),
        })
    }

    /// Reads that run are finished; none starts after this.
    pub(super) fn close(&self) {
        self.permits.close();
        self.browsers.close();
        self.gate.forget();
    }

    /// Has those who read now wake the writer when they end. Those who begin later see the newest state, and hold up nothing.
    pub(super) fn await_end(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// To be told to [`Shared::reader_ended`] by who begins to read.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Keeps all readers from the file and waits until none has it open.
    pub(super) fn pause(&self) {
        self.gate.close();
    }

    pub(super) fn resume(&self) {
        self.gate.open();
    }

    /// A connection, which must be given up soon. Waits while the file is being replaced, for so long at most.
    pub(super) fn take(&self, patience: Option<Duration>) -> Result<Taken<'_>, Fault> {
        // Connections are made when they are needed, and made anew where a read that panicked has lost one.
        let mut taken = self.gate.take(patience).ok_or(Fault::Locked)?;
        if taken.connection.is_none() {
            taken.connection = Some(connect(&self.directory, self.file)?);
        }
        Ok(taken)
    }
}

impl Shared {
    /// A reader's snapshot has ended, which may have held up the log.
    pub(super) fn reader_ended(&self, asked: u64) {
        if self.readers.asked() != asked {
            self.inbox.wake();
        }
    }
}

/// Runs `work` on a snapshot of the journal.
pub(super) async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Error> {
    on_thread(shared, &shared.readers.permits, None, work).await
}

/// The same for what nobody but a person or a script waits for, and that may go through much.
pub(super) async fn browse<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Error> {
    on_thread(shared, &shared.readers.browsers, Some(give_way), work).await
}

async fn on_thread<T: Send + 'static>(
    shared: &Arc<Shared>,
    places: &Arc<Semaphore>,
    on_the_way: Option<fn() -> bool>,
    work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Error> {
    let place = Arc::clone(places).acquire_owned().await.map_err(|_| closed())?;
    let pool = Arc::clone(shared);
    // The place is held until the work is done, also where nobody waits for it any more.
    let work = move || {
        // It may have waited for its thread while the journal was closed.
        let result = match pool.readers.permits.is_closed() {
            true => Err(closed()),
            false => on_connection(&pool, on_the_way, work).map_err(Fault::of_read),
        };
        drop(place);
        result
    };
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Failed(format!("a read of the journal was not finished: {error}"))),
    }
}

/// Lets another thread have the core, where one waits for it: the system would let it wait for milliseconds.
fn give_way() -> bool {
    thread::yield_now();
    false
}

/// `on_the_way` is called every few steps of a statement, and ends it by true.
fn on_connection<T>(
    shared: &Shared,
    on_the_way: Option<fn() -> bool>,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let patience = on_the_way.map(|_| WHILE_REPLACED);
    let mut taken = shared.readers.take(patience)?;
    let connection = taken.connection()?;
    connection.progress_handler(STEPS, on_the_way)?;
    let asked = shared.readers.asked();
    let result = snapshot(connection, work);
    shared.reader_ended(asked);
    if !shared.readers.permits.is_closed() {
        taken.give_back();
    }
    if let Err(Fault::Corrupt(why)) = &result {
        shared.wants_rebuilding(why);
    }
    result
}

/// Reads a part for those who work in the background.
pub(super) fn read_now<T>(
    shared: &Shared,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    on_connection(shared, None, work)
}

fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let result = work(&transaction);
    transaction.finish()?;
    result
}

pub(super) fn connect(directory: &Path, file: Source) -> Result<Connection, Fault> {
    let path = directory.join("journal.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match file {
        Source::Written => Connection::open_with_flags(path, flags)?,
        Source::AtRest => {
            let path =
                path.to_str().ok_or_else(|| Fault::Other("the journal's path is no text".to_owned()))?;
            let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{path}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA mmap_size = 0;")?;
    Ok(connection)
}
