//! The oracle: the contract in plain maps behind one lock, for tests and for comparing other engines with.
//!
//! It is written to be obviously right, not fast: lists walk everything. Nothing outlives the value. Several node
//! names may compete for the shards of one [`Memory`], with leases that end by the clock that it is given.

mod clock;
mod damage;
mod leases;
mod queue;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, EndpointKey, EndpointState, Event, EventId, PluginKey,
    PluginState, Shard, TenantId, Timestamp,
};

use self::leases::Leases;
use self::state::State;
use crate::{
    Amount, Appended, Counts, Cursor, DeliveryFilter, Due, Error, EventFilter, Expired, Health, Journal,
    KeptClock, LaneBacklog, LaneHead, Lease, Made, NewEvent, Old, Page, Selection, Seq, Settled, Settlement,
    StoredEvent,
};

/// Tells the time by which leases end.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A journal in memory.
pub struct Memory {
    clock: Clock,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    queues: queue::State,
    damage: damage::State,
    clock: clock::State,
    leases: Leases,
    closed: bool,
}

impl Memory {
    pub fn new() -> Self {
        Self::with_clock(Arc::new(Timestamp::now))
    }

    /// A journal whose leases end by this clock.
    pub fn with_clock(clock: Clock) -> Self {
        let inner = Inner {
            state: State::default(),
            queues: queue::State::default(),
            damage: damage::State::default(),
            clock: clock::State::default(),
            leases: Leases::new(),
            closed: false,
        };
        Self { clock, inner: Mutex::new(inner) }
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed { Err(Error::Failed("the journal is closed".to_owned())) } else { Ok(inner) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, Error> {
        let mut inner = self.open()?;
        Ok(batch.into_iter().map(|new| inner.state.append(new)).collect())
    }

    async fn acquire_shards(&self, node: &str, ttl: Duration) -> Result<Vec<Lease>, Error> {
        let now = (self.clock)();
        Ok(self.open()?.leases.acquire(node, now, ttl))
    }

    async fn renew(&self, node: &str, ttl: Duration) -> Result<Vec<Lease>, Error> {
        let now = (self.clock)();
        Ok(self.open()?.leases.renew(node, now, ttl))
    }

    async fn release(&self, node: &str) -> Result<(), Error> {
        self.open()?.leases.release(node);
        Ok(())
    }

    async fn lanes(&self, shard: Shard) -> Result<Vec<LaneHead>, Error> {
        Ok(self.open()?.state.lanes(shard))
    }

    async fn due(
        &self,
        endpoint: &EndpointKey,
        now: Timestamp,
        skip: &[Seq],
        most: Amount,
    ) -> Result<Due, Error> {
        Ok(self.open()?.state.due(endpoint, now, skip, most))
    }

    async fn next_due(&self, endpoint: &EndpointKey, skip: &[Seq]) -> Result<Option<LaneHead>, Error> {
        Ok(self.open()?.state.next_due(endpoint, skip))
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, Error> {
        let mut inner = self.open()?;
        let Inner { state, queues, leases, .. } = &mut *inner;
        let settle = |settlement: Settlement| {
            if leases.present(Shard::of(&settlement.endpoint)) == settlement.epoch {
                state.settle(settlement, queues)
            } else {
                Settled::Stale
            }
        };
        Ok(batch.into_iter().map(settle).collect())
    }

    async fn event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<Event>, Error> {
        Ok(self.open()?.state.event(tenant, id))
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<StoredEvent>, Error> {
        Ok(self.open()?.state.events(filter, after, limit))
    }

    async fn stored_event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<StoredEvent>, Error> {
        Ok(self.open()?.state.event(tenant, id).map(StoredEvent::from))
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, Error> {
        Ok(self.open()?.state.delivery(key))
    }

    async fn deliveries_of(&self, tenant: &TenantId, id: &EventId) -> Result<Vec<Delivery>, Error> {
        Ok(self.open()?.state.deliveries_of(tenant, id))
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, Error> {
        Ok(self.open()?.state.deliveries(filter, after, limit))
    }

    async fn attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, Error> {
        Ok(self.open()?.state.attempts(key))
    }

    async fn made(&self, key: &DeliveryKey) -> Result<Made, Error> {
        Ok(self.open()?.state.made(key))
    }

    async fn counts_of(&self, endpoints: &[EndpointKey]) -> Result<Vec<Counts>, Error> {
        let open = self.open()?;
        Ok(endpoints.iter().map(|endpoint| open.state.counts(endpoint)).collect())
    }

    async fn pending_bytes(&self, tenant: &TenantId) -> Result<u64, Error> {
        Ok(self.open()?.state.pending_bytes(tenant))
    }

    async fn requeue(&self, selection: Selection) -> Result<u64, Error> {
        self.open()?.state.requeue(selection)
    }

    async fn cancel(&self, key: &DeliveryKey, reason: &str) -> Result<bool, Error> {
        self.open()?.state.cancel(key, reason)
    }

    async fn recoverable(&self, endpoint: &EndpointKey, since: Timestamp) -> Result<u64, Error> {
        Ok(self.open()?.state.recoverable(endpoint, since))
    }

    async fn waiting(&self, endpoint: &EndpointKey) -> Result<u64, Error> {
        Ok(self.open()?.state.waiting(endpoint))
    }

    async fn endpoint_states(&self) -> Result<Vec<(EndpointKey, EndpointState)>, Error> {
        Ok(self.open()?.state.endpoint_states())
    }

    async fn put_endpoint_state(&self, endpoint: &EndpointKey, state: &EndpointState) -> Result<(), Error> {
        self.open()?.state.put_endpoint_state(endpoint, state);
        Ok(())
    }

    async fn plugin_states(&self) -> Result<Vec<(PluginKey, PluginState)>, Error> {
        Ok(self.open()?.state.plugin_states())
    }

    async fn put_plugin_state(&self, plugin: &PluginKey, state: &PluginState) -> Result<(), Error> {
        self.open()?.state.put_plugin_state(plugin, state)
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, Error> {
        Ok(self.open()?.state.put_blob(bytes))
    }

    async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.open()?.state.blob(digest))
    }

    async fn expire(&self, old: Old, budget: usize) -> Result<Expired, Error> {
        let mut inner = self.open()?;
        let (last, _) = inner.clock.last(old);
        Ok(inner.state.expire(last, budget))
    }

    async fn keep_clock(&self, clock: &KeptClock) -> Result<(), Error> {
        let mut inner = self.open()?;
        let (last, message) = (inner.state.last(), inner.queues.last());
        inner.clock.keep(clock, last, message);
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.open().map_or(0, |inner| inner.state.last().0 + inner.queues.last())
    }

    async fn kept_clock(&self) -> Result<Option<KeptClock>, Error> {
        Ok(self.open()?.clock.kept.clone())
    }

    fn writable(&self) -> Result<(), String> {
        Ok(())
    }

    async fn health(&self) -> Result<Health, Error> {
        let inner = self.open()?;
        let (pending, oldest) = inner.state.pending();
        let oldest_pending = oldest.map(|(seq, received)| inner.clock.oldest_event(seq, received));
        Ok(Health {
            writable: self.writable(),
            power_safe: false,
            bytes: 0,
            free_bytes: None,
            epoch: inner.leases.highest(),
            pending,
            oldest_pending,
        })
    }

    async fn backlogs(&self) -> Result<Vec<LaneBacklog>, Error> {
        let inner = self.open()?;
        Ok(inner.state.backlogs(|seq, received| inner.clock.oldest_event(seq, received)))
    }

    async fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}
