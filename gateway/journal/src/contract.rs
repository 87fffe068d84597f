//! The journal's contract: what must survive, and what every engine promises about it.
//!
//! The journal is the only thing that accept and dispatch share. Nothing in these signatures is a connection, a
//! transaction or a file, so that one engine can be a file on this machine and another a database that many nodes
//! share. The suite in `tests/conformance` holds every engine to the words below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, EndpointId, EndpointKey, EndpointState, Epoch, Event, EventId,
    EventType, Outcome, PluginCall, PluginKey, PluginState, Shaped, Shard, Status, TenantId, Timestamp,
    TypePattern,
};
use thiserror::Error;

use crate::{Damages, KeptClock, NewMessage, Old, Oldest, Queues};

/// Where an event stands in the journal: later events have higher numbers. It is a key between the journal and its
/// callers, never shown to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// How many idempotency keys an event may have beside the one that it was first sent with.
pub const FURTHER_KEYS: u32 = 16;

/// An event to keep, with the endpoints that it matched.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event: Arc<Event>,
    /// The digest of the bytes that the sender sent; tells a repetition from another event under the same id or key.
    pub fingerprint: Digest,
    pub idempotency_key: Option<String>,
    /// One delivery each. None at all is fine: the event is kept for history.
    pub endpoints: Vec<EndpointId>,
}

/// What became of one [`NewEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is kept, durably, with its deliveries.
    Stored { seq: Seq },
    /// It is there already, under this id, with the same fingerprint. Nothing was changed, but that an idempotency key that
    /// was new is kept and answers this id from then on, up to [`FURTHER_KEYS`].
    Duplicate { id: EventId, deliveries: usize },
    /// Its id or its idempotency key is taken by an event with another fingerprint: nothing was changed.
    Conflict { id: EventId },
}

/// The right to deliver for a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub shard: Shard,
    pub epoch: Epoch,
}

/// An endpoint with pending deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHead {
    pub endpoint: EndpointKey,
    /// When the first of them is due; `None`: at once, since one was never tried or was sent again by an operator.
    pub due: Option<Timestamp>,
}

/// A pending delivery whose time has come, with all that an attempt needs.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    pub seq: Seq,
    pub event: Event,
    /// Attempts made so far, over all rounds.
    pub attempts: u32,
    /// Of these, the attempts made before an operator last sent the delivery again: its schedule starts after them.
    pub earlier_rounds: u32,
    /// What the first failed attempt sent; every retry sends the same.
    pub shaped: Option<Shaped>,
}

impl DueDelivery {
    /// What a delivery takes in memory beside its data and its shaped body, about.
    pub const OVERHEAD: usize = 512;

    /// What it counts for towards [`Amount::bytes`].
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.event.data.len(), self.shaped.as_ref().map_or(0, |shaped| shaped.body.len()))
    }

    /// The same by the lengths of the data and of the shaped body.
    pub(crate) const fn bytes_of(data: usize, shaped: usize) -> usize {
        data.saturating_add(shaped).saturating_add(Self::OVERHEAD)
    }
}

/// The most that one read may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub deliveries: usize,
    /// The sum of [`DueDelivery::bytes`].
    pub bytes: usize,
}

impl Amount {
    /// So many deliveries, whatever their size.
    pub const fn of(deliveries: usize) -> Self {
        Self { deliveries, bytes: usize::MAX }
    }
}

/// What one read of a lane brought.
#[derive(Debug, Clone, Default)]
pub struct Due {
    pub deliveries: Vec<DueDelivery>,
    /// Where the bytes of the amount did not suffice: those of the delivery that comes next, alone.
    pub next_bytes: Option<usize>,
}

/// The result of handling a delivery once.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub endpoint: EndpointKey,
    pub seq: Seq,
    /// The epoch under which the delivery was read.
    pub epoch: Epoch,
    /// The attempt that was made. `None` where a plugin dropped the event or the endpoint is gone.
    pub attempt: Option<Attempt>,
    pub next: Next,
    pub made: Made,
}

/// What was made of an event for one endpoint, beside the outcome of sending it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// What was sent, or was to be. Of a delivery the first is kept: for its retries, and for those who ask.
    pub shaped: Option<Shaped>,
    /// The plugins that ran where none of it was sent, since one of them dropped the event; those of an attempt are its
    /// own.
    pub calls: Vec<PluginCall>,
}

/// The state that a settlement leaves a delivery in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A final status, with the reason where there is more to say.
    Final { status: Status, reason: Option<String> },
    /// Delivered, by being put into the endpoint's own queue: both in one step, so that a message is neither lost nor
    /// doubled between the two.
    Queued(Box<NewMessage>),
    /// Another attempt is due then.
    RetryAt { due: Timestamp, reason: Option<String> },
}

/// What became of one [`Settlement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Applied,
    /// This attempt was settled before, or the delivery is final or gone: nothing was changed.
    Repeated,
    /// Another owner has the shard now: nothing was changed.
    Stale,
}

/// Which deliveries to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// One delivery now, whatever its status. It keeps its shaped bytes, if it has them.
    Retry(DeliveryKey),
    /// All `exhausted` and `failed` deliveries of an endpoint whose events were received at `since` or later, and those
    /// that were cancelled as [`REMOVED`]. Those that have shaped bytes keep them.
    Recover { endpoint: EndpointKey, since: Timestamp },
    /// All pending deliveries of an endpoint that wait for the time of their next attempt. Their schedule goes on where it
    /// stands.
    Waiting { endpoint: EndpointKey },
    /// One event anew to these endpoints, whether or not it went to them before: plugins run again.
    Replay { tenant: TenantId, event: EventId, endpoints: Vec<EndpointId> },
}

/// Why a delivery is cancelled whose endpoint has left the configuration. It can be recovered once the endpoint is back.
pub const REMOVED: &str = "the endpoint was removed from the configuration";

/// A place in a list that stays right while new rows arrive: the list goes on with rows older than it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub seq: Seq,
    /// Among deliveries of one event, the endpoint last shown. Lists of events have none; of deliveries it may be missing
    /// where the list goes on with older events.
    pub endpoint: Option<EndpointId>,
}

/// A page of a list, newest first.
///
/// An engine that has looked long and found few may end a page early, even with none: the list is at its end when
/// `next` is `None`, and not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// An event as it is kept. Where it is damaged, it says what can still be read of it, and its number where that is not
/// even its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub event: Event,
    /// What is damaged, as a sentence; `None` where the event is what was written.
    pub damage: Option<&'static str>,
}

impl From<Event> for StoredEvent {
    fn from(event: Event) -> Self {
        Self { event, damage: None }
    }
}

/// Which events to list. Bounds are on the time of receipt: `since <= received < until`.
#[derive(Debug, Clone)]
pub struct EventFilter {
    pub tenant: TenantId,
    /// A part of the id.
    pub id_part: Option<String>,
    pub event_type: Option<TypePattern>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// All events of a tenant.
    pub const fn of(tenant: TenantId) -> Self {
        Self { tenant, id_part: None, event_type: None, since: None, until: None }
    }

    /// Whether an event of the tenant is wanted.
    pub fn wants(&self, id: &EventId, event_type: &EventType, received: Timestamp) -> bool {
        self.id_part.as_ref().is_none_or(|part| id.as_str().contains(part.as_str()))
            && self.event_type.as_ref().is_none_or(|pattern| pattern.matches(event_type))
            && self.since.is_none_or(|since| received >= since)
            && self.until.is_none_or(|until| received < until)
    }
}

/// Which deliveries to list.
#[derive(Debug, Clone)]
pub struct DeliveryFilter {
    /// Of which events.
    pub events: EventFilter,
    pub endpoint: Option<EndpointId>,
    pub status: Option<Status>,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// The status of the HTTP answer to the last attempt.
    pub code: Option<u16>,
}

impl DeliveryFilter {
    /// All deliveries of a tenant.
    pub const fn of(tenant: TenantId) -> Self {
        Self { events: EventFilter::of(tenant), endpoint: None, status: None, outcome: None, code: None }
    }

    /// Whether the last attempt has to be looked at.
    pub(crate) const fn asks_for_attempt(&self) -> bool {
        self.outcome.is_some() || self.code.is_some()
    }

    /// Whether a delivery is wanted whose last attempt ended so; `None`: none was made.
    pub(crate) fn wants_last(&self, last: Option<(Outcome, Option<u16>)>) -> bool {
        self.outcome.is_none_or(|wanted| last.is_some_and(|(outcome, _)| outcome == wanted))
            && self.code.is_none_or(|wanted| last.is_some_and(|(_, code)| code == Some(wanted)))
    }
}

/// How many deliveries of an endpoint have which status, in the order of [`Status::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts(pub [u64; Status::ALL.len()]);

impl Counts {
    pub fn of(&self, status: Status) -> u64 {
        self.0[usize::from(status.code())]
    }
}

/// How the journal fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether appends are taken; where not, why.
    pub writable: Result<(), String>,
    /// Whether an acknowledged event survives a power cut.
    pub power_safe: bool,
    /// What the journal takes on disk.
    pub bytes: u64,
    /// What is left for it, where that is known.
    pub free_bytes: Option<u64>,
    pub epoch: Epoch,
    pub pending: u64,
    /// The oldest event with a pending delivery.
    pub oldest_pending: Option<Oldest>,
}

/// What waits for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBacklog {
    pub endpoint: EndpointKey,
    /// Its pending deliveries: at least one.
    pub pending: u64,
    /// The event of the oldest of them.
    pub oldest: Option<Oldest>,
}

/// What one call of [`Journal::expire`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    pub events: u64,
    /// Whether it stopped at its budget: there is more to remove.
    pub more: bool,
}

#[derive(Debug, Clone, Error)]
pub enum Error {
    /// There is no room. Nothing of the call was kept; it can be repeated when there is room again. The sentence says what
    /// is full, with figures.
    #[error("the journal has no room left: {0}")]
    Full(String),
    /// The journal is busy beyond its bounds. Nothing of the call was kept; it can be repeated later.
    #[error("the journal has more waiting than it takes")]
    Busy,
    /// What was asked for is not there.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Stored bytes are not the bytes that were written.
    #[error("the journal is damaged: {0}")]
    Corrupt(String),
    /// A write may or may not have reached the disk. The engine takes no more writes; the process should end and
    /// start again, which reads what is really there.
    #[error("the journal can't say whether a write is on disk: {0}")]
    Unknown(String),
    /// The journal can't be opened or read.
    #[error("{0}")]
    Failed(String),
}

/// What must survive. See the module for who may rely on what.
///
/// Times at which something is due or visible are the caller's own, which only goes forward ([`KeptClock::time`]); those at
/// which something happened are of the wall clock, for people.
///
/// *Durable* means: it is there after kill -9 and after a power cut. All calls may be made at the same time from many
/// tasks; engines gather writes that wait so that one sync serves them all.
#[async_trait]
pub trait Journal: Queues + Damages + std::fmt::Debug + 'static {
    /// Keeps events with their idempotency keys and one pending delivery for each endpoint: all or nothing for each
    /// event, **durable when it returns**. The answers stand in the order of the batch.
    ///
    /// An event whose (tenant, id) or (tenant, idempotency key) is taken is answered [`Appended::Duplicate`] or
    /// [`Appended::Conflict`]; that holds between the events of one batch too. So it is safe to repeat a call.
    /// Each new delivery is due at once, whatever the clock says.
    async fn append(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, Error>;

    /// Takes every shard that nobody holds, and answers all that this node then holds. A lease ends `ttl` after it
    /// was taken or renewed; one epoch of a shard has one owner. An engine that one process alone can open gives all
    /// shards at once, under an epoch that is higher than in any run before, and its leases do not end.
    async fn acquire_shards(&self, node: &str, ttl: Duration) -> Result<Vec<Lease>, Error>;

    /// Prolongs the leases of this node and answers those that it still holds.
    async fn renew(&self, node: &str, ttl: Duration) -> Result<Vec<Lease>, Error>;

    /// Gives up all leases of this node.
    async fn release(&self, node: &str) -> Result<(), Error>;

    /// The endpoints of a shard that have pending deliveries. Its cost grows with the number of such endpoints, not
    /// of deliveries.
    async fn lanes(&self, shard: Shard) -> Result<Vec<LaneHead>, Error>;

    /// Pending deliveries of an endpoint that can be tried: first the retries with `due <= now`, by (due, seq), then
    /// those due at once (never tried, or sent again by an operator), by seq. Those in `skip` are left out and do not
    /// count: the caller has them in its hands. A read: what is in flight exists in the caller's memory alone.
    ///
    /// No more than `most` is answered, and no larger data is read into memory: it ends before the first delivery that
    /// would exceed the bytes, even with none, and [`Due::next_bytes`] tells what that one takes.
    ///
    /// A delivery whose stored bytes are damaged is not answered and does not count. The engine ends it as `failed`
    /// with a reason that says so, and records the damage: it blocks nobody behind it, and it does not vanish.
    async fn due(
        &self,
        endpoint: &EndpointKey,
        now: Timestamp,
        skip: &[Seq],
        most: Amount,
    ) -> Result<Due, Error>;

    /// When the next delivery of this endpoint is due; see [`LaneHead::due`]. `None` if it has none pending.
    async fn next_due(&self, endpoint: &EndpointKey, skip: &[Seq]) -> Result<Option<LaneHead>, Error>;

    /// Records attempts and next states: atomic for each settlement, idempotent by (delivery, attempt number), and
    /// refused as [`Settled::Stale`] under an epoch that is not the shard's present one. The answers stand in the
    /// order of the batch. When it returns, the settlements are written but a power cut may still undo them: that
    /// means one more delivery, never a lost one. A full disk does not lose settlements: the call waits for room. Nor is it
    /// refused as [`Error::Busy`]: how much may wait is the caller's to bound.
    ///
    /// The present epoch of a shard is that of the lease given last, whether or not it has ended: while nobody else
    /// took the shard, nobody else has delivered. What was made stays as long as the delivery, or until its event is
    /// replayed to the endpoint; of shaped bytes, those kept first stay.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, Error>;

    /// One event with its exact bytes, or [`Error::Corrupt`] where they are no longer those that were written.
    async fn event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<Event>, Error>;

    /// One event as it is kept, damaged or not.
    async fn stored_event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<StoredEvent>, Error>;

    /// The events of a tenant, damaged ones among them.
    async fn events(
        &self,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<StoredEvent>, Error>;

    /// One delivery. While it is due at once, its `due` is the time of receipt.
    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, Error>;

    /// The deliveries of one event, by endpoint.
    async fn deliveries_of(&self, tenant: &TenantId, id: &EventId) -> Result<Vec<Delivery>, Error>;

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, Error>;

    /// The attempts of a delivery, by number.
    async fn attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, Error>;

    /// What is kept of what was made for a delivery. It has calls only while the delivery is `filtered`.
    async fn made(&self, key: &DeliveryKey) -> Result<Made, Error>;

    /// How many deliveries of each of these endpoints have which status, in their order.
    async fn counts_of(&self, endpoints: &[EndpointKey]) -> Result<Vec<Counts>, Error>;

    async fn counts(&self, endpoint: &EndpointKey) -> Result<Counts, Error> {
        Ok(self.counts_of(std::slice::from_ref(endpoint)).await?.pop().unwrap_or_default())
    }

    /// Bytes of data that a tenant's pending deliveries have, an event's counted for each of them. It is asked for each
    /// event of a tenant that has a quota, so it must cost next to nothing.
    async fn pending_bytes(&self, tenant: &TenantId) -> Result<u64, Error>;

    /// Makes deliveries pending and due at once, and answers how many. Attempts go on counting; the retry schedule
    /// starts anew, but for [`Selection::Waiting`]. [`Error::NotFound`] where a single delivery or event was named that is not there. Durable.
    async fn requeue(&self, selection: Selection) -> Result<u64, Error>;

    /// Ends a pending delivery as `cancelled`, for this reason; says whether it was pending. An attempt that is under way
    /// is not recorded. [`Error::NotFound`] where there is no such delivery. Durable.
    async fn cancel(&self, key: &DeliveryKey, reason: &str) -> Result<bool, Error>;

    /// How many deliveries a [`Selection::Recover`] would make pending now.
    async fn recoverable(&self, endpoint: &EndpointKey, since: Timestamp) -> Result<u64, Error>;

    /// How many deliveries a [`Selection::Waiting`] would make due now.
    async fn waiting(&self, endpoint: &EndpointKey) -> Result<u64, Error>;

    /// The kept states of all endpoints that have one.
    async fn endpoint_states(&self) -> Result<Vec<(EndpointKey, EndpointState)>, Error>;

    /// Keeps an endpoint's state. Durable.
    async fn put_endpoint_state(&self, endpoint: &EndpointKey, state: &EndpointState) -> Result<(), Error>;

    /// The kept states of all plugins that have one, by key.
    async fn plugin_states(&self) -> Result<Vec<(PluginKey, PluginState)>, Error>;

    /// Keeps a plugin's state. Durable. [`Error::NotFound`] where it names a blob that is not kept: then nothing was
    /// changed. Blobs that no plugin's state names afterwards are removed, in the same step, so that nobody finds a
    /// state without its blob.
    async fn put_plugin_state(&self, plugin: &PluginKey, state: &PluginState) -> Result<(), Error>;

    /// Keeps bytes under their digest. Durable. They stay at least until the next [`Journal::put_plugin_state`], and
    /// as long as a plugin's state names them.
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, Error>;

    async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, Error>;

    /// Removes events that are old and whose deliveries are all final, the oldest first, with all that hangs on them;
    /// at most `budget` events in one call. An event with a pending delivery stays. Its times of receipt say nothing
    /// of an event's age, since the wall clock may have jumped since: [`Old`] does.
    async fn expire(&self, old: Old, budget: usize) -> Result<Expired, Error>;

    /// Keeps the clock, and notes which events and messages are there at its running time. Durable. Notes more than a
    /// day old are thinned to one an hour, and those that no event or message needs are dropped.
    async fn keep_clock(&self, clock: &KeptClock) -> Result<(), Error>;

    /// Rises with whatever is written, so that a caller can tell whether anything was.
    fn writes(&self) -> u64;

    /// The clock as it was kept last.
    async fn kept_clock(&self) -> Result<Option<KeptClock>, Error>;

    /// Whether events are taken, and why not.
    fn writable(&self) -> Result<(), String>;

    async fn health(&self) -> Result<Health, Error>;

    /// What waits for each endpoint that has pending deliveries, by endpoint. Its cost grows with the number of
    /// endpoints, not with the number of deliveries.
    async fn backlogs(&self) -> Result<Vec<LaneBacklog>, Error>;

    /// Finishes the writes that wait and closes. Calls after it fail.
    async fn close(&self);
}
