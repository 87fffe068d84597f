//! A lane: one endpoint's deliveries on their way out. Lanes share nothing but the machine, so that an endpoint that
//! answers slowly, or never, holds up itself alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hookweir_journal::{DueDelivery, Seq};
use hookweir_model::{EndpointKey, EndpointState, Epoch, Event, Shaped};

use super::pace::Pace;
use super::queue::{Entry, Queue};
use crate::metrics::EndpointCounters;

#[derive(Debug)]
pub(super) struct Lane {
    pub key: EndpointKey,
    /// The epoch under which this node owns the endpoint's shard.
    pub epoch: Epoch,
    pub counters: EndpointCounters,
    queue: Mutex<Queue<Ready>>,
    pace: Mutex<Pace>,
    fare: Mutex<Fare>,
}

/// How the endpoint fares: as it is known here, and as it stands in the journal.
#[derive(Debug)]
pub(super) struct Fare {
    pub state: EndpointState,
    pub kept: EndpointState,
}

/// A delivery that can be tried now.
#[derive(Debug)]
pub(super) struct Ready {
    pub seq: Seq,
    pub event: Arc<Event>,
    pub attempts: u32,
    pub earlier_rounds: u32,
    pub shaped: Option<Shaped>,
    pub since: Instant,
    /// Given back when the delivery leaves memory.
    _room: Room,
}

impl Entry for Ready {
    fn seq(&self) -> Seq {
        self.seq
    }

    fn never_tried(&self) -> bool {
        self.attempts == 0
    }
}

impl Ready {
    pub(super) fn fresh(seq: Seq, event: &Arc<Event>, room: Room) -> Self {
        Self {
            seq,
            event: Arc::clone(event),
            attempts: 0,
            earlier_rounds: 0,
            shaped: None,
            since: Instant::now(),
            _room: room,
        }
    }

    pub(super) fn read(due: DueDelivery, memory: &Memory) -> Self {
        let size = due.event.data.len() + due.shaped.as_ref().map_or(0, |shaped| shaped.body.len());
        Self {
            seq: due.seq,
            event: Arc::new(due.event),
            attempts: due.attempts,
            earlier_rounds: due.earlier_rounds,
            shaped: due.shaped,
            since: Instant::now(),
            _room: memory.take(size),
        }
    }
}

impl Lane {
    pub(super) fn new(key: EndpointKey, epoch: Epoch, state: EndpointState) -> Self {
        let fare = Mutex::new(Fare { state: state.clone(), kept: state });
        let counters = EndpointCounters::default();
        Self { key, epoch, counters, queue: Mutex::default(), pace: Mutex::default(), fare }
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

/// The memory that waiting deliveries may take, over all lanes. What has no room waits on disk.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    taken: Arc<AtomicUsize>,
    /// Beyond it, fresh deliveries are not kept in memory but read from disk when their turn comes.
    limit: usize,
}

/// A part of [`Memory`], given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    /// What a waiting delivery costs beside its data, about.
    const OVERHEAD: usize = 512;

    pub(super) fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    pub(super) fn try_take(&self, size: usize) -> Option<Room> {
        (self.taken.load(Ordering::Relaxed) < self.limit).then(|| self.take(size))
    }

    /// Takes the room whether or not there is any: for what was read since its turn has come.
    pub(super) fn take(&self, size: usize) -> Room {
        let bytes = size + Self::OVERHEAD;
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Room { memory: self.clone(), bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
