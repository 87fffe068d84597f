//! After a stop that was not in order, SQLite's own check of the file, in the background.
//!
//! SQLite recovers by itself; the check is for what a dying disk or a wrong copy may have left. It delays nothing:
//! deliveries start at once, and damage found closes the door to new events.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{ErrorCode, InterruptHandle};

use super::fault::Fault;
use super::{Shared, read};

/// The handle on a check that may be running.
#[derive(Default)]
pub(super) struct Check(Mutex<Option<InterruptHandle>>);

impl Check {
    pub(super) fn is_running(&self) -> bool {
        self.lock().is_some()
    }

    pub(super) fn give_up(&self) {
        if let Some(handle) = &*self.lock() {
            handle.interrupt();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<InterruptHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Check").field(&self.is_running()).finish()
    }
}

/// Starts the check on a thread of its own.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Fault> {
    let connection = read::connect(&shared.path, read::Source::Written)?;
    *shared.check.lock() = Some(connection.get_interrupt_handle());
    let shared = Arc::clone(shared);
    let check = move || {
        let found: Result<String, rusqlite::Error> =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        *shared.check.lock() = None;
        report(&shared, &shared.path, found);
    };
    let spawned = thread::Builder::new().name("journal-check".to_owned()).spawn(check);
    spawned.map_err(|error| Fault::Other(format!("the journal's check can't be started: {error}")))
}

fn report(shared: &Shared, path: &Path, found: Result<String, rusqlite::Error>) {
    let path = path.display();
    match found {
        Ok(text) if text == "ok" => {
            tracing::info!("the journal in {path} is whole after a stop that was not in order");
        }
        Ok(text) => shared.door.damaged(format!("the journal in {path} is damaged: {text}")),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::warn!("the check of the journal in {path} was given up, since its log grew meanwhile");
        }
        Err(error) => match Fault::from(error) {
            Fault::Corrupt(text) => shared.door.damaged(format!("the journal in {path} is damaged: {text}")),
            other => tracing::warn!("the journal in {path} could not be checked: {}", other.of_read()),
        },
    }
}
