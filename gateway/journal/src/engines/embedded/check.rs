//! The check in the background: after each start, whether or not the stop before it was in order, and then once a day.
//!
//! First SQLite's own check of the pages, then the sweep of what the rows say (`sweep`). It delays nothing: deliveries
//! start at once, its thread has a low priority, and it works in small parts with pauses between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{ErrorCode, InterruptHandle};

use super::Shared;
use super::fault::Fault;
use super::sweep;

const INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// By how much its thread gives way: where both want a core, a thread with a nice value of 19 gets a seventieth of what
/// one at 0 gets.
const NICE: i32 = 19;

/// The handle on the check.
#[derive(Default)]
pub(super) struct Check {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What SQLite's own check can be ended by.
    running: Option<InterruptHandle>,
    is_closed: bool,
    /// Once more, without waiting for the interval.
    again: bool,
    /// All of it was done, and nothing is to be done again.
    is_done: bool,
}

impl Check {
    /// Whether SQLite's own check is running, which reads one snapshot.
    pub(super) fn is_running(&self) -> bool {
        self.lock().running.is_some()
    }

    /// Ends SQLite's own check, if that is running.
    pub(super) fn give_up(&self) {
        if let Some(handle) = &self.lock().running {
            handle.interrupt();
        }
    }

    /// Ends the check for good.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.give_up();
        self.changed.notify_all();
    }

    /// Has all of it done once more.
    pub(super) fn again(&self) {
        let mut state = self.lock();
        (state.again, state.is_done) = (true, false);
        drop(state);
        self.changed.notify_all();
    }

    /// Whether it has gone through all of the journal, and waits for its next time.
    pub(super) fn is_done(&self) -> bool {
        self.lock().is_done
    }

    /// Waits for so long, or until there is something to do; says whether to go on.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.is_closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    fn wait_for_next(&self) -> bool {
        let mut state = self.lock();
        state.is_done = !state.again;
        let idle = |state: &mut State| !state.is_closed && !state.again;
        let waited = self.changed.wait_timeout_while(state, INTERVAL, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        (state.again, state.is_done) = (false, false);
        !state.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Check").field(&self.is_running()).finish()
    }
}

/// Starts the check on a thread of its own.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Fault> {
    let shared = Arc::clone(shared);
    let check = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(
                target: "hookweir::journal",
                %error,
                "the journal is checked at the priority of all else"
            );
        }
        loop {
            // Without the thread no damage would ever be found again.
            if catch_unwind(AssertUnwindSafe(|| look_through(&shared))).is_err() {
                tracing::error!(
                    target: "hookweir::journal",
                    "the check of the journal panicked; the next one is made at its time"
                );
                shared.check.lock().running = None;
            }
            if !shared.check.wait_for_next() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("journal-check".to_owned()).spawn(check);
    spawned.map_err(|error| Fault::Other(format!("the journal's check can't be started: {error}")))
}

fn look_through(shared: &Arc<Shared>) {
    check_pages(shared);
    if let Err(fault) = sweep::run(shared) {
        tracing::warn!(
            target: "hookweir::journal",
            "the journal's rows could not all be checked: {}",
            fault.of_read()
        );
    }
}

fn check_pages(shared: &Shared) {
    let asked = shared.readers.asked();
    let found = ask_sqlite(shared);
    shared.check.lock().running = None;
    shared.reader_ended(asked);
    match found {
        Ok(text) if text == "ok" => tracing::debug!(
            target: "hookweir::journal",
            "the pages of the journal are whole"
        ),
        Ok(text) => shared.wants_rebuilding(&text),
        Err(fault) => tracing::warn!(
            target: "hookweir::journal",
            "the pages of the journal could not be checked: {}",
            fault.of_read()
        ),
    }
}

/// What SQLite says of the pages; the first fault is enough.
fn ask_sqlite(shared: &Shared) -> Result<String, Fault> {
    let mut taken = shared.readers.take(None)?;
    let connection = taken.connection()?;
    {
        let mut state = shared.check.lock();
        if state.is_closed {
            return Ok("ok".to_owned());
        }
        state.running = Some(connection.get_interrupt_handle());
    }
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)) {
        Ok(text) => Ok(text),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::debug!(
                target: "hookweir::journal",
                "the check of the journal's pages was given up, to be done another time"
            );
            Ok("ok".to_owned())
        }
        Err(error) => match Fault::from(error) {
            Fault::Corrupt(text) => Ok(text),
            other => Err(other),
        },
    }
}
