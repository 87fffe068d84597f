//! The consumers that wait at one queue: the first of them is woken when a message is there, or becomes visible.

use std::sync::{Arc, Mutex, PoisonError};

use hookweir_model::Timestamp;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// Consumers that wait at one queue, so that one tenant's leave room for others'.
const PLACES: usize = 1000;

#[derive(Debug)]
pub(super) struct Line {
    clock: Arc<Clock>,
    /// Wakes in the order in which consumers came. Woken with nobody there, it lets the next one look twice.
    woken: Notify,
    places: Semaphore,
    timer: Mutex<Option<Timer>>,
}

#[derive(Debug)]
struct Timer {
    /// By the gateway's own time.
    at: Timestamp,
    task: JoinHandle<()>,
}

impl Line {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, woken: Notify::new(), places: Semaphore::new(PLACES), timer: Mutex::default() }
    }

    pub(super) fn woken(&self) -> Notified<'_> {
        self.woken.notified()
    }

    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.places.try_acquire()
    }

    pub(super) fn waiting(&self) -> usize {
        PLACES.saturating_sub(self.places.available_permits())
    }

    /// Sees to it that a consumer looks when a message is visible then.
    ///
    /// One timer is enough, for the earliest of these times: whoever is woken by it looks, and whoever has looked says
    /// when the next one is.
    pub(super) fn expect(self: &Arc<Self>, at: Timestamp) {
        if at <= self.clock.now() {
            self.woken.notify_one();
            return;
        }
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.as_ref().is_some_and(|timer| timer.at <= at && !timer.task.is_finished()) {
            return;
        }
        self.set(&mut timer, at);
    }

    /// Timers have stood still for a while: the one that is set is reset.
    pub(super) fn woken_late(self: &Arc<Self>) {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = timer.as_ref().filter(|timer| !timer.task.is_finished()).map(|timer| timer.at) {
            self.set(&mut timer, at);
        }
    }

    fn set(self: &Arc<Self>, timer: &mut Option<Timer>, at: Timestamp) {
        let line = Arc::clone(self);
        let wait = at.since(self.clock.now());
        let task = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            line.woken.notify_one();
        });
        if let Some(other) = timer.replace(Timer { at, task }) {
            other.task.abort();
        }
    }
}
