//! The embedded engine: SQLite in a directory of its own, for a gateway on one machine.
//!
//! One thread writes (`writer`), a few connections read (`read`). Every commit is synced before anyone is answered,
//! and one sync serves all calls that have gathered meanwhile. A second process is kept out by a file lock (`lock`),
//! so this one owns all shards, under an epoch that counts openings.
//!
//! Files: `journal.db`, its companions `-wal` and `-shm`, `journal.mark` (what was answered last), `journal.roots` (where
//! the tables begin, for a rebuilding), `journal.db.damaged` (what was rebuilt last), and `lock`. SQLite's own command line
//! can read the journal while the gateway runs (open it read-only).

mod backlog;
mod check;
mod damage;
mod directory;
mod door;
mod examine;
mod fault;
mod lock;
mod message;
mod open;
mod options;
mod present;
mod quarantine;
mod queue;
mod read;
mod record;
mod recover;
mod repair;
mod resolve;
mod schema;
mod stats;
mod sweep;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, EndpointKey, EndpointState, Epoch, Event, EventId, PluginKey,
    PluginState, Shard, Status, TenantId, Timestamp,
};
use tokio::sync::oneshot;

pub use self::examine::Examined;
pub use self::options::{Disk, LEAST_RESERVE, OnDamage, Options, default_reserve};
pub use self::stats::{Histogram, Stats};

use self::backlog::Backlog;
use self::check::Check;
use self::directory::{Directory, Entry};
use self::door::Door;
use self::quarantine::Quarantine;
use self::read::{DeliveryQuery, EventQuery, Readers, browse, read};

use self::stats::Counters;
use self::writer::{
    EventName, Expire, Finding, Inbox, Job, Name, Op, PluginRecord, Requeue, SettleRecord, seq_to_sql,
};
use crate::{
    Amount, Appended, Counts, Cursor, DeliveryFilter, Due, Error, EventFilter, Expired, Health, Journal,
    KeptClock, LaneBacklog, LaneHead, Lease, Made, NewEvent, Next, Old, Page, Selection, Seq, Settled,
    Settlement, StoredEvent,
};

/// A journal in a directory on this machine.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    owner: tokio::sync::Mutex<Owner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps writers out of a journal that is only looked at; where it is written, the writer has the lock.
    _looks: Option<lock::Lock>,
}

/// What callers, readers and the writer see together.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    options: Options,
    directory: RwLock<Directory>,
    epoch: AtomicU64,
    door: Door,
    inbox: Inbox,
    readers: Readers,
    quarantine: Quarantine,
    backlog: Backlog,
    counters: Counters,
    check: Check,
    damage: damage::Known,
    repair: repair::State,
}

impl Shared {
    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    fn set_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Release);
    }

    fn learn(&self, entries: &[Entry]) {
        let mut directory = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        entries.iter().cloned().for_each(|entry| directory.add(entry));
    }

    fn names<T>(&self, ask: impl FnOnce(&Directory) -> T) -> T {
        ask(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the writer rebuild the file, since a page of it makes no sense.
    fn wants_rebuilding(&self, why: &str) {
        if self.repair.want(why) {
            // Where the journal is closing, the damage is met again after the next start.
            let _ = self.inbox.push(Op::Rebuild);
        }
    }

    fn wal_bytes(&self) -> u64 {
        fs::metadata(writer::wal_path(&self.path)).map_or(0, |file| file.len())
    }
}

/// Which node name has the shards. There is one process, but the contract allows it to give them up.
#[derive(Debug, Default)]
struct Owner {
    node: Option<String>,
    /// Whether this opening's epoch was given away already.
    epoch_was_given: bool,
}

impl Embedded {
    /// Whether the check that every start begins has gone through all of the journal, and what it found is with the writer.
    pub fn is_swept(&self) -> bool {
        !self.shared.repair.is_wanted() && self.shared.check.is_done()
    }

    /// The engine's counters, for metrics.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    async fn ask<I, T>(&self, input: I, op: impl FnOnce(Job<I, T>) -> Op) -> Result<T, Error> {
        self.shared.door.admit_upkeep()?;
        let (job, answer) = Job::new(input);
        self.shared.inbox.push(op(job))?;
        self.answer(answer).await
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        // A sender that is dropped unanswered belongs to a writer that is gone, and may have been written or not.
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the journal's writer has stopped".to_owned())))
    }

    /// What readers must pass over, sorted.
    fn passed_over(&self, lane: i64, skip: &[Seq]) -> Vec<i64> {
        let mut skip: Vec<i64> = skip.iter().map(|seq| seq_to_sql(*seq)).collect();
        skip.extend(self.shared.quarantine.of(lane));
        skip.sort_unstable();
        skip
    }

    /// Ends a delivery that can't be made. The call does not wait: while the disk is full, ending it may take long.
    fn end_damaged(&self, lane: i64, seq: i64, what: &'static str) {
        if !self.shared.quarantine.hold(lane, seq) {
            return;
        }
        let (job, _) = Job::new(vec![Finding::Delivery { lane, seq, what }]);
        if self.shared.inbox.push(Op::Mend(job)).is_err() {
            // The journal is closing. The damage is found again at the next start.
            self.shared.quarantine.release(lane, seq);
        }
    }

    fn leases(&self) -> Vec<Lease> {
        let epoch = self.shared.epoch();
        Shard::all().map(|shard| Lease { shard, epoch }).collect()
    }
}

fn to_timestamp(due: i64) -> Option<Timestamp> {
    (due != 0).then(|| Timestamp::from_millis(due))
}

#[async_trait]
impl Journal for Embedded {
    async fn append(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, Error> {
        self.shared.door.admit()?;
        let records = self.records(batch).await?;
        self.ask(records, Op::Append).await
    }

    async fn acquire_shards(&self, node: &str, _ttl: Duration) -> Result<Vec<Lease>, Error> {
        let mut owner = self.owner.lock().await;
        match &owner.node {
            Some(other) if other != node => return Ok(Vec::new()),
            Some(_) => return Ok(self.leases()),
            None => {}
        }
        if owner.epoch_was_given {
            self.ask((), Op::Epoch).await?;
        } else {
            self.shared.door.admit_upkeep()?;
        }
        *owner = Owner { node: Some(node.to_owned()), epoch_was_given: true };
        Ok(self.leases())
    }

    async fn renew(&self, node: &str, _ttl: Duration) -> Result<Vec<Lease>, Error> {
        self.shared.door.admit_upkeep()?;
        let owner = self.owner.lock().await;
        let is_owner = owner.node.as_deref() == Some(node);
        Ok(if is_owner { self.leases() } else { Vec::new() })
    }

    async fn release(&self, node: &str) -> Result<(), Error> {
        self.shared.door.admit_upkeep()?;
        let mut owner = self.owner.lock().await;
        if owner.node.as_deref() == Some(node) {
            owner.node = None;
        }
        Ok(())
    }

    async fn lanes(&self, shard: Shard) -> Result<Vec<LaneHead>, Error> {
        let lanes = self.shared.names(|names| names.lanes_in(shard));
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        read(&self.shared, move |connection| {
            let mut heads = Vec::new();
            for (endpoint, lane) in lanes {
                if let Some(due) = read::head(connection, lane, &[])? {
                    heads.push(LaneHead { endpoint, due: to_timestamp(due) });
                }
            }
            heads.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
            Ok(heads)
        })
        .await
    }

    async fn due(
        &self,
        endpoint: &EndpointKey,
        now: Timestamp,
        skip: &[Seq],
        most: Amount,
    ) -> Result<Due, Error> {
        let Some(lane) = self.shared.names(|names| names.lane_of(endpoint)) else {
            return Ok(Due::default());
        };
        let skip = self.passed_over(lane, skip);
        let owner = self.shared.names(|names| names.tenant(&endpoint.tenant)).unwrap_or_default();
        let lane_of = read::LaneOf { tenant: endpoint.tenant.clone(), owner, lane };
        let found =
            read(&self.shared, move |connection| read::due(connection, &lane_of, now, &skip, most)).await?;
        if let Some(why) = found.index {
            self.shared.wants_rebuilding(why);
        }
        for (seq, reason) in found.damaged {
            self.end_damaged(lane, seq, reason);
        }
        Ok(found.due)
    }

    async fn next_due(&self, endpoint: &EndpointKey, skip: &[Seq]) -> Result<Option<LaneHead>, Error> {
        let Some(lane) = self.shared.names(|names| names.lane_of(endpoint)) else { return Ok(None) };
        let skip = self.passed_over(lane, skip);
        let due = read(&self.shared, move |connection| read::head(connection, lane, &skip)).await?;
        Ok(due.map(|due| LaneHead { endpoint: endpoint.clone(), due: to_timestamp(due) }))
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, Error> {
        let lanes: Vec<Option<i64>> = self
            .shared
            .names(|names| batch.iter().map(|settlement| names.lane_of(&settlement.endpoint)).collect());
        let records =
            lanes.into_iter().zip(batch).map(|(lane, settlement)| SettleRecord::new(lane, settlement));
        self.ask(records.collect::<Result<_, _>>()?, Op::Settle).await
    }

    async fn event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<Event>, Error> {
        let Some(number) = self.shared.names(|names| names.tenant(tenant)) else { return Ok(None) };
        let (tenant, id) = (tenant.clone(), id.clone());
        browse(&self.shared, move |connection| read::event(connection, number, &tenant, &id)).await
    }

    async fn stored_event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<StoredEvent>, Error> {
        let Some(number) = self.shared.names(|names| names.tenant(tenant)) else { return Ok(None) };
        let (tenant, id) = (tenant.clone(), id.clone());
        browse(&self.shared, move |connection| read::stored_event(connection, number, &tenant, &id)).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<StoredEvent>, Error> {
        let Some(tenant) = self.shared.names(|names| names.tenant(&filter.tenant)) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let query = EventQuery {
            tenant,
            filter: filter.clone(),
            below: after.map(|cursor| seq_to_sql(cursor.seq)),
            limit: limit.max(1),
        };
        browse(&self.shared, move |connection| read::events(connection, &query)).await
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, Error> {
        let Some((tenant, lane)) = self.place(key) else { return Ok(None) };
        let key = key.clone();
        browse(&self.shared, move |connection| read::delivery(connection, tenant, lane, &key)).await
    }

    async fn deliveries_of(&self, tenant: &TenantId, id: &EventId) -> Result<Vec<Delivery>, Error> {
        let place = self.shared.names(|names| Some((names.tenant(tenant)?, names.lanes_of(tenant))));
        let Some((number, lanes)) = place else { return Ok(Vec::new()) };
        let (tenant, id) = (tenant.clone(), id.clone());
        browse(&self.shared, move |connection| read::deliveries_of(connection, number, &tenant, &lanes, &id))
            .await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, Error> {
        let place = self.shared.names(|names| {
            let lanes = match &filter.endpoint {
                None => names.lanes_of(&filter.events.tenant),
                Some(endpoint) => vec![(endpoint.clone(), names.lane(&filter.events.tenant, endpoint)?)],
            };
            Some((names.tenant(&filter.events.tenant)?, lanes))
        });
        let Some((number, lanes)) = place else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let query = DeliveryQuery {
            filter: filter.clone(),
            number,
            lanes,
            after: after.map(|cursor| (seq_to_sql(cursor.seq), cursor.endpoint.clone())),
            limit: limit.max(1),
        };
        browse(&self.shared, move |connection| read::deliveries(connection, &query)).await
    }

    async fn attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, Error> {
        let Some((tenant, lane)) = self.place(key) else { return Ok(Vec::new()) };
        let event = key.event.clone();
        browse(&self.shared, move |connection| read::attempts(connection, tenant, lane, &event)).await
    }

    async fn made(&self, key: &DeliveryKey) -> Result<Made, Error> {
        let Some((tenant, lane)) = self.place(key) else { return Ok(Made::default()) };
        let event = key.event.clone();
        browse(&self.shared, move |connection| read::made(connection, tenant, lane, &event)).await
    }

    async fn counts_of(&self, endpoints: &[EndpointKey]) -> Result<Vec<Counts>, Error> {
        let lanes: Vec<Option<i64>> =
            self.shared.names(|names| endpoints.iter().map(|endpoint| names.lane_of(endpoint)).collect());
        browse(&self.shared, move |connection| {
            let counts = |lane| read::counts(connection, lane);
            lanes.into_iter().map(|lane| lane.map_or_else(|| Ok(Counts::default()), counts)).collect()
        })
        .await
    }

    async fn pending_bytes(&self, tenant: &TenantId) -> Result<u64, Error> {
        Ok(self.shared.backlog.of(tenant))
    }

    async fn requeue(&self, selection: Selection) -> Result<u64, Error> {
        let input = match selection {
            Selection::Retry(key) => {
                let (tenant, lane) = self.place(&key).ok_or(Error::NotFound("delivery"))?;
                Requeue::Retry { event: EventName { tenant, id: key.event }, lane }
            }
            Selection::Recover { endpoint, since } => {
                match self.shared.names(|names| names.lane_of(&endpoint)) {
                    Some(lane) => Requeue::recover(lane, since),
                    None => return Ok(0),
                }
            }
            Selection::Waiting { endpoint } => match self.shared.names(|names| names.lane_of(&endpoint)) {
                Some(lane) => Requeue::waiting(lane),
                None => return Ok(0),
            },
            Selection::Replay { tenant, event, endpoints } => {
                let number =
                    self.shared.names(|names| names.tenant(&tenant)).ok_or(Error::NotFound("event"))?;
                let mut lanes = Vec::with_capacity(endpoints.len());
                for endpoint in endpoints {
                    let lane = self.lane(&EndpointKey::new(tenant.clone(), endpoint)).await?;
                    if !lanes.contains(&lane) {
                        lanes.push(lane);
                    }
                }
                Requeue::Replay { event: EventName { tenant: number, id: event }, lanes }
            }
        };
        self.ask(input, Op::Requeue).await
    }

    async fn cancel(&self, key: &DeliveryKey, reason: &str) -> Result<bool, Error> {
        let (tenant, lane) = self.place(key).ok_or(Error::NotFound("delivery"))?;
        let event = key.event.clone();
        let seq = read(&self.shared, move |connection| read::place(connection, tenant, lane, &event)).await?;
        let settlement = Settlement {
            endpoint: EndpointKey::new(key.tenant.clone(), key.endpoint.clone()),
            seq: seq.ok_or(Error::NotFound("delivery"))?,
            epoch: self.shared.epoch(),
            attempt: None,
            next: Next::Final { status: Status::Cancelled, reason: Some(reason.to_owned()) },
            made: Made::default(),
        };
        // A delivery that is not pending any more is not changed by it.
        let settled = self.ask(vec![SettleRecord::new(Some(lane), settlement)?], Op::Settle).await?;
        Ok(settled == [Settled::Applied])
    }

    async fn recoverable(&self, endpoint: &EndpointKey, since: Timestamp) -> Result<u64, Error> {
        let Some(lane) = self.shared.names(|names| names.lane_of(endpoint)) else { return Ok(0) };
        browse(&self.shared, move |connection| read::recoverable(connection, lane, since)).await
    }

    async fn waiting(&self, endpoint: &EndpointKey) -> Result<u64, Error> {
        let Some(lane) = self.shared.names(|names| names.lane_of(endpoint)) else { return Ok(0) };
        browse(&self.shared, move |connection| read::waiting(connection, lane)).await
    }

    async fn endpoint_states(&self) -> Result<Vec<(EndpointKey, EndpointState)>, Error> {
        let states = read(&self.shared, read::endpoint_states).await?;
        let mut states: Vec<_> = self.shared.names(|names| {
            states.into_iter().filter_map(|(lane, state)| Some((names.key(lane)?.clone(), state))).collect()
        });
        states.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(states)
    }

    async fn put_endpoint_state(&self, endpoint: &EndpointKey, state: &EndpointState) -> Result<(), Error> {
        let text = serde_json::to_string(state).map_err(|error| Error::Failed(error.to_string()))?;
        let lane = self.lane(endpoint).await?;
        self.ask((lane, text), Op::State).await
    }

    async fn plugin_states(&self) -> Result<Vec<(PluginKey, PluginState)>, Error> {
        let states = read(&self.shared, read::plugin_states).await?;
        let key = |names: &Directory, tenant, plugin| {
            Some(PluginKey::new(names.tenant_name(tenant)?.clone(), plugin))
        };
        let mut states: Vec<_> = self.shared.names(|names| {
            let keyed = |(tenant, plugin, state)| Some((key(names, tenant, plugin)?, state));
            states.into_iter().filter_map(keyed).collect()
        });
        states.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(states)
    }

    async fn put_plugin_state(&self, plugin: &PluginKey, state: &PluginState) -> Result<(), Error> {
        let number = |names: &Directory| names.tenant(&plugin.tenant);
        if self.shared.names(number).is_none() {
            self.ask(vec![Name::Tenant(plugin.tenant.clone())], Op::Register).await?;
        }
        let tenant = self.shared.names(number);
        let tenant = tenant.ok_or_else(|| Error::Failed("a name was kept but is not known".to_owned()))?;
        self.ask(PluginRecord::new(tenant, &plugin.plugin, state)?, Op::Plugin).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, Error> {
        self.shared.door.admit()?;
        let digest = Digest::of(&bytes);
        self.ask((digest, bytes), Op::Blob).await?;
        Ok(digest)
    }

    async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        read(&self.shared, move |connection| read::blob(connection, digest)).await
    }

    async fn expire(&self, old: Old, budget: usize) -> Result<Expired, Error> {
        self.ask(Expire::new(old, budget), Op::Expire).await
    }

    async fn keep_clock(&self, clock: &KeptClock) -> Result<(), Error> {
        self.ask(clock.clone(), Op::Clock).await
    }

    fn writes(&self) -> u64 {
        self.shared.counters.read().commits
    }

    async fn kept_clock(&self) -> Result<Option<KeptClock>, Error> {
        read(&self.shared, read::kept_clock).await
    }

    fn writable(&self) -> Result<(), String> {
        self.shared.door.writable()
    }

    async fn health(&self) -> Result<Health, Error> {
        let lanes: Vec<i64> = self.shared.names(|names| names.all().collect());
        let (pending, oldest_pending) =
            read(&self.shared, move |connection| read::pending(connection, &lanes)).await?;
        let size = |name| fs::metadata(self.shared.path.join(name)).map_or(0, |file| file.len());
        Ok(Health {
            writable: self.writable(),
            power_safe: true,
            bytes: size("journal.db") + self.shared.wal_bytes(),
            free_bytes: Disk::under(&self.shared.path).map(|disk| disk.free),
            epoch: self.shared.epoch(),
            pending,
            oldest_pending,
        })
    }

    async fn backlogs(&self) -> Result<Vec<LaneBacklog>, Error> {
        let lanes: Vec<i64> = self.shared.names(|names| names.all().collect());
        let waiting = browse(&self.shared, move |connection| read::backlogs(connection, &lanes)).await?;
        let mut backlogs: Vec<_> = self.shared.names(|names| {
            let backlog = |(lane, pending, oldest)| {
                Some(LaneBacklog { endpoint: names.key(lane)?.clone(), pending, oldest })
            };
            waiting.into_iter().filter_map(backlog).collect()
        });
        backlogs.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        Ok(backlogs)
    }

    async fn close(&self) {
        self.stop();
        let threads = self.take_threads();
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(join)).await;
        if let Err(error) = joined {
            tracing::error!(target: "hookweir::journal", "the journal was not closed in order: {error}");
        }
    }
}

impl Embedded {
    fn place(&self, key: &DeliveryKey) -> Option<(i64, i64)> {
        self.shared.names(|names| Some((names.tenant(&key.tenant)?, names.lane(&key.tenant, &key.endpoint)?)))
    }

    /// Lets nothing more in; what waits is still written.
    fn stop(&self) {
        self.shared.inbox.close();
        self.shared.readers.close();
        self.shared.check.close();
    }

    fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A journal that is dropped instead of closed is closed all the same: what was handed to the writer is written, and
/// the lock is free when this returns.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
        self.take_threads().into_iter().for_each(join);
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(target: "hookweir::journal", "a thread of the journal panicked");
    }
}
