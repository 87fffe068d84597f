//! The consumers that wait at one queue: the first of them is woken when a message is there, or becomes visible.

use std::sync::{Arc, Mutex, PoisonError};

use hookweir_model::Timestamp;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::JoinHandle;

/// Consumers that wait at one queue, so that one tenant's leave room for others'.
const PLACES: usize = 1000;

#[derive(Debug)]
pub(super) struct Line {
    /// Wakes in the order in which consumers came. Woken with nobody there, it lets the next one look twice.
    woken: Notify,
    places: Semaphore,
    timer: Mutex<Option<Timer>>,
}

#[derive(Debug)]
struct Timer {
    at: Timestamp,
    task: JoinHandle<()>,
}

impl Default for Line {
    fn default() -> Self {
        Self { woken: Notify::new(), places: Semaphore::new(PLACES), timer: Mutex::default() }
    }
}

impl Line {
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
        let now = Timestamp::now();
        if at <= now {
            self.woken.notify_one();
            return;
        }
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.as_ref().is_some_and(|timer| timer.at <= at && !timer.task.is_finished()) {
            return;
        }
        let line = Arc::clone(self);
        let task = tokio::spawn(async move {
            tokio::time::sleep(at.since(now)).await;
            line.woken.notify_one();
        });
        if let Some(later) = timer.replace(Timer { at, task }) {
            later.task.abort();
        }
    }
}
