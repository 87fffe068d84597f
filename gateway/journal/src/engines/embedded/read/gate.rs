//! Who has a connection to the file, so that the file can be replaced when nobody has.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::engines::embedded::fault::Fault;

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    in_use: usize,
    is_closed: bool,
}

/// A reader's place, with its connection once that is made.
pub(in crate::engines::embedded) struct Taken<'g> {
    gate: &'g Gate,
    pub(super) connection: Option<Connection>,
}

impl Gate {
    pub(super) fn new(connection: Connection) -> Self {
        let gate = Self::default();
        gate.lock().idle.push(connection);
        gate
    }

    /// A place; `None` where the gate stays closed for longer than `patience`.
    pub(super) fn take(&self, patience: Option<Duration>) -> Option<Taken<'_>> {
        let state = self.lock();
        let mut state = match patience {
            None => self
                .changed
                .wait_while(state, |state| state.is_closed)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(state, patience, |state| state.is_closed);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if state.is_closed {
            return None;
        }
        state.in_use += 1;
        Some(Taken { gate: self, connection: state.idle.pop() })
    }

    /// Lets nobody in, and waits until everybody is out.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.idle.clear();
        drop(
            self.changed.wait_while(state, |state| state.in_use > 0).unwrap_or_else(PoisonError::into_inner),
        );
    }

    pub(super) fn open(&self) {
        self.lock().is_closed = false;
        self.changed.notify_all();
    }

    /// Closes the connections that nobody uses.
    pub(super) fn forget(&self) {
        self.lock().idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    pub(in crate::engines::embedded) fn connection(&mut self) -> Result<&mut Connection, Fault> {
        self.connection.as_mut().ok_or_else(|| Fault::Other("a reader has no connection".to_owned()))
    }

    /// Leaves the connection for the next.
    pub(super) fn give_back(mut self) {
        let connection = self.connection.take();
        let mut state = self.gate.lock();
        if !state.is_closed {
            state.idle.extend(connection);
        }
    }
}

impl Drop for Taken<'_> {
    /// The place is free when the connection is closed, and not before.
    fn drop(&mut self) {
        drop(self.connection.take());
        self.gate.lock().in_use -= 1;
        self.gate.changed.notify_all();
    }
}
