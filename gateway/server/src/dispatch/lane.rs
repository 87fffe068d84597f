//! A lane: one endpoint's deliveries on their way out. Lanes share nothing but the machine, so that an endpoint that
//! answers slowly, or never, holds up itself alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hookweir_journal::{DueDelivery, Seq};
use hookweir_model::{EndpointKey, EndpointState, Epoch, Event, EventId, Shaped};

use super::budget::{Account, Room};
use super::kept::{Events, Kept};
use super::pace::Pace;
use super::queue::{Entry, Queue};
use crate::live::Endpoint;
use crate::metrics::EndpointCounters;

#[derive(Debug)]
pub(super) struct Lane {
    pub key: EndpointKey,
    /// The epoch under which this node owns the endpoint's shard.
    pub epoch: Epoch,
    pub counters: EndpointCounters,
    /// What its tenant has of the memory.
    account: Arc<Account>,
    /// What its transformers have made of events of late; [`UNKNOWN`] before they have made anything.
    output: AtomicUsize,
    queue: Mutex<Queue<Ready>>,
    pace: Mutex<Pace>,
    fare: Mutex<Fare>,
    /// Deliveries that were cancelled while they may have been under way, and when.
    cancelled: Mutex<VecDeque<(EventId, Instant)>>,
}

/// How many cancellations are remembered for attempts that wait: the oldest is forgotten first.
const MOST_CANCELLED: usize = 1024;

/// How the endpoint fares: as it is known here, and as it stands in the journal.
#[derive(Debug)]
pub(super) struct Fare {
    pub state: EndpointState,
    pub kept: EndpointState,
}

/// Nothing is known of what a lane's transformers make.
const UNKNOWN: usize = usize::MAX;

/// What a delivery takes in memory beside its event and its shaped body, about.
const OVERHEAD: usize = 256;

/// A delivery that can be tried now.
#[derive(Debug)]
pub(super) struct Ready {
    pub seq: Seq,
    pub attempts: u32,
    pub earlier_rounds: u32,
    pub shaped: Option<Shaped>,
    pub since: Instant,
    pub held: Held,
}

/// What a delivery holds of the memory, from the time that it is there to the time that its result is in the journal.
#[derive(Debug)]
pub(super) struct Held {
    pub kept: Arc<Kept>,
    pub room: Room,
}

impl Entry for Ready {
    fn seq(&self) -> Seq {
        self.seq
    }

    fn never_tried(&self) -> bool {
        self.attempts == 0
    }

    fn bytes(&self) -> usize {
        self.held.room.bytes() + self.event().data.len()
    }
}

impl Ready {
    /// A delivery of an event that has just come in, if there is room.
    pub(super) fn fresh(seq: Seq, kept: &Arc<Kept>, account: &Arc<Account>) -> Option<Self> {
        let held = Held { kept: Arc::clone(kept), room: account.try_take(OVERHEAD)? };
        Some(Self { seq, attempts: 0, earlier_rounds: 0, shaped: None, since: Instant::now(), held })
    }

    /// A delivery that was read from disk, with its part of the room that was taken for the read.
    pub(super) fn read(due: DueDelivery, events: &Events, room: &mut Room) -> Self {
        let DueDelivery { seq, event, attempts, earlier_rounds, shaped } = due;
        let body = shaped.as_ref().map_or(0, |shaped| shaped.body.len());
        let kept = events.read(seq, event, |bytes| room.split(bytes));
        let held = Held { kept, room: room.split(OVERHEAD + body) };
        Self { seq, attempts, earlier_rounds, shaped, since: Instant::now(), held }
    }

    pub(super) fn event(&self) -> &Arc<Event> {
        &self.held.kept.event
    }
}

impl Lane {
    pub(super) fn new(key: EndpointKey, epoch: Epoch, state: EndpointState, account: Arc<Account>) -> Self {
        Self {
            key,
            epoch,
            counters: EndpointCounters::default(),
            account,
            output: AtomicUsize::new(UNKNOWN),
            queue: Mutex::default(),
            pace: Mutex::default(),
            fare: Mutex::new(Fare { state: state.clone(), kept: state }),
            cancelled: Mutex::default(),
        }
    }

    pub(super) const fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What its transformers are expected to make of an event: as much as they may, until they have made something.
    pub(super) fn expected_output(&self, most: usize) -> usize {
        self.output.load(Ordering::Relaxed).min(most)
    }

    /// Learns what its transformers have made: the most of late counts.
    pub(super) fn made_output(&self, bytes: usize) {
        let before = Some(self.output.load(Ordering::Relaxed)).filter(|before| *before != UNKNOWN);
        self.output.store(lately(before, bytes), Ordering::Relaxed);
    }

    /// Whether deliveries of its endpoint wait: it is switched off, or waits for a plugin.
    pub(super) fn is_off(&self, endpoint: &Endpoint) -> bool {
        !endpoint.settings.enabled || self.fare().state.disabled.is_some() || endpoint.chain.waits()
    }

    /// Takes note of a delivery that is pending no more: an attempt at it that waits is not made.
    pub(super) fn cancel(&self, event: &EventId) {
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        if cancelled.len() == MOST_CANCELLED {
            cancelled.pop_front();
        }
        cancelled.push_back((event.clone(), Instant::now()));
    }

    /// Whether a delivery that was taken up then was cancelled since. One that is sent again after that is taken up later.
    pub(super) fn is_cancelled(&self, event: &EventId, since: Instant) -> bool {
        let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        cancelled.iter().any(|(other, at)| *at >= since && other == event)
    }

    /// Never held over an await; the queue's own invariants hold after every call, so a panic elsewhere spoils nothing.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<Ready>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It may be taken while the queue is held, never the other way round.
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fare(&self) -> MutexGuard<'_, Fare> {
        self.fare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most of late: what was most before fades by an eighth each time.
fn lately(before: Option<usize>, now: usize) -> usize {
    before.map_or(now, |before| now.max(before - before / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_late_rises_at_once_and_fades() {
        for (before, now, wanted) in
            [(None, 7, 7), (Some(10), 800, 800), (Some(800), 10, 700), (Some(7), 0, 7), (Some(0), 0, 0)]
        {
            assert_eq!(lately(before, now), wanted, "{before:?}, then {now}");
        }
    }
}
