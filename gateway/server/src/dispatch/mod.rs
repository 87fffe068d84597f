//! The way out: a lane for each endpoint, from the journal's pending deliveries to settled ones.
//!
//! Fresh events are handed over in memory by `accept`; whatever has no room, and every retry, is read back from the
//! journal when its turn comes. What is in flight exists in this process alone: after a crash the journal still says
//! pending, and that is all there is to recover.
//!
//! It never answers a sender and never decides what an outcome means: `settle` does.

mod absent;
mod attempt;
mod budget;
mod kept;
mod lane;
mod news;
mod pace;
mod queue;
mod read;
mod settler;
mod timer;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use hookweir_host::Host;
use hookweir_journal::{Journal, Lease, Seq};
use hookweir_model::{
    Disabled, EndpointId, EndpointKey, EndpointState, Epoch, Event, EventId, InvalidEventType, PacePolicy,
    Shard, TenantId, Timestamp,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::budget::{Account, Budget};
use self::kept::Events;
use self::lane::{Lane, Ready};
pub(crate) use self::pace::BreakerState;
use self::pace::Limit;
use self::settler::Item;
use crate::background;
use crate::clock::Clock;
use crate::feed::Feed;
use crate::live::Live;
use crate::metrics::{EndpointCounters, Metrics};
use crate::plugins::Plugins;
use crate::pull::Queues;
use crate::telemetry::Traces;

/// How many lanes' journal reads run at once; more would only wait for each other.
const READS: usize = 4;

/// Deliveries of an endpoint that is gone for long flow, to be cancelled.
const OF_A_GONE_ENDPOINT: PacePolicy = PacePolicy { concurrency: 16, per_second: None, breaker: None };

/// The least time that results get to be written down at a stop, however long the attempts took.
const LEAST_FLUSH: Duration = Duration::from_millis(500);

/// Whether a lane may try anything.
enum Flow {
    /// So many may be in flight.
    On(PacePolicy, usize),
    /// Its breaker is open until then.
    Wait(Instant),
    Off,
}

#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
}

/// What the lanes work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub journal: Arc<dyn Journal>,
    pub live: Arc<ArcSwap<Live>>,
    pub host: Arc<Host>,
    pub plugins: Arc<Plugins>,
    pub metrics: Arc<Metrics>,
    pub traces: Traces,
    pub queues: Arc<Queues>,
    pub feed: Arc<Feed>,
    pub clock: Arc<Clock>,
    /// Cancelled when the journal can't be relied on any more.
    pub broken: CancellationToken,
    /// What deliveries may take of the memory while they wait or are under way, in bytes.
    pub memory: usize,
}

#[derive(Debug)]
struct Shared {
    journal: Arc<dyn Journal>,
    live: Arc<ArcSwap<Live>>,
    host: Arc<Host>,
    plugins: Arc<Plugins>,
    metrics: Arc<Metrics>,
    traces: Traces,
    queues: Arc<Queues>,
    feed: Arc<Feed>,
    clock: Arc<Clock>,
    lanes: RwLock<HashMap<EndpointKey, Arc<Lane>>>,
    epochs: HashMap<Shard, Epoch>,
    budget: Arc<Budget>,
    accounts: Mutex<HashMap<TenantId, Arc<Account>>>,
    events: Events,
    results: mpsc::Sender<Item>,
    /// Serialises the writes of endpoint states, so that the last state wins in the journal too.
    state_writes: tokio::sync::Mutex<()>,
    reads: tokio::sync::Semaphore,
    /// Everything spawned here; `drain` waits for it.
    tasks: TaskTracker,
    /// No new attempts.
    stopping: CancellationToken,
    /// Attempts in flight are given up too; their deliveries stay pending.
    aborting: CancellationToken,
    /// The journal can't be relied on any more: the process must end.
    broken: CancellationToken,
}

impl Dispatcher {
    /// Starts the lanes of all endpoints that are configured or have pending deliveries.
    pub(crate) async fn start(parts: Parts, leases: &[Lease]) -> Result<Self> {
        let Parts { journal, live, host, plugins, metrics, traces, queues, feed, clock, broken, memory } =
            parts;
        let (results, settle) = settler::channel();
        let shared = Arc::new(Shared {
            journal,
            live,
            host,
            plugins,
            metrics,
            traces,
            queues,
            feed,
            clock,
            lanes: RwLock::default(),
            epochs: leases.iter().map(|lease| (lease.shard, lease.epoch)).collect(),
            budget: Budget::new(memory),
            accounts: Mutex::default(),
            events: Events::default(),
            results,
            state_writes: tokio::sync::Mutex::default(),
            reads: tokio::sync::Semaphore::new(READS),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            aborting: CancellationToken::new(),
            broken,
        });
        let dispatcher = Self { shared: Arc::clone(&shared) };
        let states =
            shared.journal.endpoint_states().await.context("failed to read the endpoints' states")?;
        for (key, state) in states {
            shared.add_lane(&key, state);
        }
        tokio::spawn(settler::run(Arc::clone(&shared), settle));
        background::spawn("watching for endpoints that are gone", &shared.stopping, {
            let shared = Arc::clone(&shared);
            move || absent::watch(Arc::clone(&shared))
        });
        background::spawn("granting memory", &shared.stopping, {
            let shared = Arc::clone(&shared);
            move || read::grant(Arc::clone(&shared))
        });
        dispatcher.reloaded();
        for lease in leases {
            let heads = shared.journal.lanes(lease.shard).await.context("failed to read what is pending")?;
            for head in heads {
                let Some(lane) = shared.lane(&head.endpoint) else { continue };
                match head.due {
                    None => {
                        lane.queue().miss();
                        shared.pump(&lane);
                    }
                    Some(due) => shared.expect(&lane, due),
                }
            }
        }
        shared.tasks.spawn({
            let shared = Arc::clone(&shared);
            async move { shared.count_absence(Duration::ZERO).await }
        });
        Ok(dispatcher)
    }

    /// Hands over an event that was just kept in the journal.
    pub(crate) fn offer(&self, event: &Arc<Event>, seq: Seq, endpoints: &[EndpointId]) {
        self.shared.offer(event, seq, endpoints);
    }

    /// Sends an event about the gateway to the tenant that it concerns, beside what the caller does.
    pub(crate) fn announce(&self, event: Result<Event, InvalidEventType>) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move { shared.announce(event).await });
    }

    /// A plugin of this tenant has another component, or was paused or resumed: its lanes go on or wait.
    pub(crate) fn plugins_changed(&self, tenant: &TenantId) {
        self.shared.pump_all(tenant);
    }

    /// Deliveries of this endpoint were made due by the journal: they are read and tried.
    pub(crate) fn wake(&self, key: &EndpointKey) {
        if let Some(lane) = self.shared.lane(key) {
            lane.queue().look_again();
            self.shared.pump(&lane);
        }
    }

    /// The same for all that waits, which somebody wants to be sent now: as to an endpoint that is back, one by one at first.
    pub(crate) fn send_now(&self, key: &EndpointKey) {
        if let Some(lane) = self.shared.lane(key) {
            if let Some(policy) = self.shared.policy(&lane) {
                lane.pace().start_anew(&policy);
            }
            self.wake(key);
        }
    }

    /// A delivery of this endpoint is not pending any more: what is held of the others is read anew, without it. A request
    /// that is under way goes on; one that waits is not made.
    pub(crate) fn forget(&self, key: &EndpointKey, event: &EventId) {
        if let Some(lane) = self.shared.lane(key) {
            lane.cancel(event);
            // Dropped outside the lock: the entries give their memory back.
            drop(lane.queue().park());
            self.shared.pump(&lane);
        }
    }

    /// A new configuration is in force. Deliveries of endpoints that are gone wait from now on.
    pub(crate) fn reloaded(&self) {
        let live = self.shared.live.load();
        for tenant in live.tenants() {
            for endpoint in tenant.endpoints.values() {
                self.shared.lane(&endpoint.key);
            }
        }
        for lane in self.shared.all_lanes() {
            if live.endpoint(&lane.key).is_none() {
                lane.queue().look_again();
            }
            self.shared.pump(&lane);
        }
    }

    /// A new configuration is in force: from now on the time counts for which endpoints that are gone are gone.
    pub(crate) async fn note_absence(&self) {
        self.shared.count_absence(Duration::ZERO).await;
    }

    /// The machine has slept, and timers with it: those that count are reset.
    pub(crate) fn woken(&self) {
        for lane in self.shared.all_lanes() {
            let due = lane.queue().armed();
            if let Some(due) = due {
                self.shared.wait_for(&lane, due);
            }
        }
    }

    /// Since when an endpoint only fails, by the wall clock as it is now.
    pub(crate) fn failing_since(&self, state: &EndpointState) -> Option<Timestamp> {
        state.failing.map(|failing| self.shared.clock.wall(failing.since))
    }

    /// What is known of an endpoint beyond its configuration.
    pub(crate) fn state(&self, key: &EndpointKey) -> EndpointState {
        self.shared.lane(key).map(|lane| lane.fare().state.clone()).unwrap_or_default()
    }

    /// What its breaker is at.
    pub(crate) fn breaker(&self, key: &EndpointKey) -> BreakerState {
        self.shared.lane(key).map_or(BreakerState::Closed, |lane| lane.pace().state(Instant::now()))
    }

    /// What deliveries hold of the memory at this moment, and what they may, in bytes.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.shared.budget.held(), self.shared.budget.limit())
    }

    /// What its attempts and deliveries came to, counted since the gateway was started.
    pub(crate) fn counters(&self, key: &EndpointKey) -> EndpointCounters {
        self.shared.lane(key).map(|lane| lane.counters.clone()).unwrap_or_default()
    }

    /// Switches an endpoint on or off; its deliveries wait meanwhile. Durable when it returns.
    pub(crate) async fn set_enabled(
        &self,
        key: &EndpointKey,
        enabled: bool,
    ) -> Result<(), hookweir_journal::Error> {
        let Some(lane) = self.shared.lane(key) else { return Ok(()) };
        {
            let mut fare = lane.fare();
            // Switching on starts the counting of failures anew, else a long failing endpoint would go off at once.
            fare.state = if enabled {
                EndpointState::default()
            } else {
                let disabled =
                    Disabled { reason: "switched off by an operator".to_owned(), at: Timestamp::now() };
                EndpointState { disabled: Some(disabled), ..fare.state.clone() }
            };
        }
        // What follows is done also where it could not be kept: it is so until the gateway ends.
        let kept = self.shared.keep_state(&lane).await;
        if enabled {
            if let Some(policy) = self.shared.policy(&lane) {
                lane.pace().start_anew(&policy);
            }
            self.wake(key);
        } else {
            self.shared.pump(&lane);
        }
        kept
    }

    /// Starts no further attempt, lets those in flight end until `grace` is over, and settles what they came to.
    /// What is given up stays pending in the journal, and so does what the journal has no room to be told.
    pub(crate) async fn drain(&self, grace: Duration) {
        let (shared, end) = (&self.shared, Instant::now() + grace);
        shared.stopping.cancel();
        shared.tasks.close();
        if tokio::time::timeout(grace, shared.tasks.wait()).await.is_err() {
            info!(
                target: "hookweir::delivery",
                in_flight = shared.tasks.len(),
                "attempts were given up; their deliveries stay pending"
            );
            shared.aborting.cancel();
            shared.tasks.wait().await;
        }
        let flush = async {
            let (done, settled) = tokio::sync::oneshot::channel();
            if shared.results.send(Item::Flush(done)).await.is_ok() {
                // An error means that the settler ended with the journal: then there is nothing left to settle.
                let _ = settled.await;
            }
        };
        // On a full disk results wait for room, which nobody knows the time of. The journal tries them once more when it is
        // closed.
        let left = end.saturating_duration_since(Instant::now()).max(LEAST_FLUSH);
        if tokio::time::timeout(left, flush).await.is_err() {
            warn!(
                target: "hookweir::delivery",
                "results of attempts can't be written down: their deliveries stay pending, and are made again"
            );
        }
    }
}

impl Shared {
    /// The lane of an endpoint, made where there is none yet. `None` for shards that this node does not own.
    fn lane(&self, key: &EndpointKey) -> Option<Arc<Lane>> {
        let found = self.lanes.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        found.or_else(|| self.add_lane(key, EndpointState::default()))
    }

    fn add_lane(&self, key: &EndpointKey, state: EndpointState) -> Option<Arc<Lane>> {
        let epoch = *self.epochs.get(&Shard::of(key))?;
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Lane::new(key.clone(), epoch, state, self.account(&key.tenant)));
        Some(Arc::clone(lanes.entry(key.clone()).or_insert_with(new)))
    }

    fn account(&self, tenant: &TenantId) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(tenant.clone()).or_insert_with(|| Account::new(&self.budget)))
    }

    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The pace that the configuration gives this lane: none while it is switched off or waits for a plugin.
    fn policy(&self, lane: &Lane) -> Option<PacePolicy> {
        if self.stopping.is_cancelled() {
            return None;
        }
        let live = self.live.load();
        match live.endpoint(&lane.key) {
            Some(endpoint) => (!lane.is_off(endpoint)).then_some(endpoint.settings.pace),
            None => self.gives_up(lane, &live).then_some(OF_A_GONE_ENDPOINT),
        }
    }

    fn is_on(&self, lane: &Lane) -> bool {
        matches!(self.flow(lane), Flow::On(..))
    }

    /// Whether the lane may try anything now.
    fn flow(&self, lane: &Lane) -> Flow {
        let Some(policy) = self.policy(lane) else { return Flow::Off };
        match lane.pace().limit(&policy, Instant::now()) {
            Limit::InFlight(limit) => Flow::On(policy, limit),
            Limit::Wait(until) => Flow::Wait(until),
        }
    }

    /// Takes the next delivery to try, if there is one and the lane's pace lets it begin.
    fn take(self: &Arc<Self>, lane: &Arc<Lane>, policy: &PacePolicy, limit: usize) -> Option<Ready> {
        let mut queue = lane.queue();
        if !queue.may_take(limit) {
            return None;
        }
        if !self.budget.may_begin() {
            let is_new = queue.gate();
            drop(queue);
            if is_new {
                self.budget.await_begin(lane);
            }
            return None;
        }
        let begun = lane.pace().begin(policy, Instant::now());
        if let Err(at) = begun {
            drop(queue);
            self.look_at(lane, at);
            return None;
        }
        queue.take(limit)
    }

    fn offer(self: &Arc<Self>, event: &Arc<Event>, seq: Seq, endpoints: &[EndpointId]) {
        let mut offering = Offering { shared: self, tenant: &event.tenant, left: endpoints };
        self.feed.accepted(event, endpoints);
        let mut kept = None;
        for (place, endpoint) in endpoints.iter().enumerate() {
            offering.left = endpoints.get(place..).unwrap_or_default();
            let key = EndpointKey::new(event.tenant.clone(), endpoint.clone());
            let Some(lane) = self.lane(&key) else { continue };
            // One copy for all of its lanes, which are of one tenant.
            let kept = kept.get_or_insert_with(|| {
                let room = lane.account().try_take(kept::bytes(event))?;
                Some(self.events.fresh(seq, event, endpoints.len(), room))
            });
            match kept.as_ref().and_then(|kept| Ready::fresh(seq, kept, lane.account())) {
                Some(ready) => lane.queue().offer(ready),
                None => lane.queue().miss(),
            }
            self.pump(&lane);
        }
        offering.left = &[];
    }

    fn pump_all(self: &Arc<Self>, tenant: &TenantId) {
        for lane in self.all_lanes().iter().filter(|lane| lane.key.tenant == *tenant) {
            self.pump(lane);
        }
    }

    /// Starts what can be started now: attempts up to the lane's concurrency, and a read if it is behind.
    fn pump(self: &Arc<Self>, lane: &Arc<Lane>) {
        let flow = self.flow(lane);
        let Flow::On(policy, limit) = flow else {
            // Dropped outside the lock: the entries give their memory back.
            drop(lane.queue().park());
            if let Flow::Wait(until) = flow {
                self.look_at(lane, until);
            }
            return;
        };
        while let Some(ready) = self.take(lane, &policy, limit) {
            self.tasks.spawn(Box::pin(work::work(Arc::clone(self), Arc::clone(lane), ready)));
        }
        let bytes = lane.queue().ask(self.budget.portion());
        if let Some(bytes) = bytes
            && let Some(room) = self.budget.ask(lane, bytes)
        {
            self.begin_read(lane, room, bytes);
        }
    }

    /// Sees to it that the lane goes on then.
    fn look_at(self: &Arc<Self>, lane: &Arc<Lane>, at: Instant) {
        if lane.pace().timer.arm(at) {
            let wait = at.saturating_duration_since(Instant::now());
            self.pump_after(lane, wait, move |lane| lane.pace().timer.fire(at));
        }
    }

    /// Sees to it that the lane tries what is due then. For an endpoint that is gone that is at once, if it is to be
    /// cancelled, and not before it is back else.
    fn expect(self: &Arc<Self>, lane: &Arc<Lane>, due: Timestamp) {
        if self.live.load().endpoint(&lane.key).is_some() {
            self.arm(lane, due);
        } else {
            lane.queue().retry_due();
            self.pump(lane);
        }
    }

    /// Sees to it that the lane reads the journal then.
    fn arm(self: &Arc<Self>, lane: &Arc<Lane>, due: Timestamp) {
        if lane.queue().arm(due) {
            self.wait_for(lane, due);
        }
    }

    /// Sets a timer. Of two for the same time, the first to fire counts.
    fn wait_for(self: &Arc<Self>, lane: &Arc<Lane>, due: Timestamp) {
        self.pump_after(lane, due.since(self.clock.now()), move |lane| lane.queue().fire(due));
    }

    /// Pumps a lane after a time, if `counts` then still says so.
    fn pump_after(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        wait: Duration,
        counts: impl FnOnce(&Lane) -> bool + Send + 'static,
    ) {
        let (shared, lane) = (Arc::clone(self), Arc::clone(lane));
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shared.stopping.cancelled() => return,
            }
            if counts(&lane) {
                shared.pump(&lane);
            }
        });
    }
}

/// An event that is being handed to its lanes. Dropped before its end, as by a panic, the others look for it on disk: it is there,
/// and no lane would know of it.
struct Offering<'a> {
    shared: &'a Arc<Shared>,
    tenant: &'a TenantId,
    left: &'a [EndpointId],
}

impl Drop for Offering<'_> {
    fn drop(&mut self) {
        for endpoint in self.left {
            let key = EndpointKey::new(self.tenant.clone(), endpoint.clone());
            if let Some(lane) = self.shared.lane(&key) {
                self.shared.look_later(&lane);
            }
        }
    }
}

#[cfg(test)]
mod tests;
