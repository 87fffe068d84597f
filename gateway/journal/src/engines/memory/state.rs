//! Events, deliveries and all that hangs on them, in maps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, EndpointId, EndpointKey, EndpointState, Event, EventId, Outcome,
    PluginKey, PluginState, Shard, Status, TenantId, Timestamp,
};

use super::queue;
use crate::{
    Amount, Appended, Counts, Cursor, DeliveryFilter, Due, DueDelivery, Error, EventFilter, Expired,
    FURTHER_KEYS, LaneBacklog, LaneHead, Made, NewEvent, Next, Oldest, Page, REMOVED, Selection, Seq,
    Settled, Settlement, StoredEvent,
};

#[derive(Default)]
pub(super) struct State {
    last: u64,
    events: BTreeMap<Seq, Kept>,
    by_id: HashMap<(TenantId, EventId), Seq>,
    by_key: HashMap<(TenantId, String), Seq>,
    states: BTreeMap<EndpointKey, EndpointState>,
    plugins: BTreeMap<PluginKey, PluginState>,
    blobs: HashMap<Digest, Bytes>,
}

struct Kept {
    event: Event,
    fingerprint: Digest,
    keys: Vec<String>,
    further_keys: u32,
    deliveries: BTreeMap<EndpointId, Row>,
}

struct Row {
    status: Status,
    /// Of a pending delivery; `None`: at once.
    due: Option<Timestamp>,
    attempts: u32,
    earlier_rounds: u32,
    reason: Option<String>,
    made: Made,
    log: Vec<Attempt>,
}

impl Row {
    fn fresh() -> Self {
        Self {
            status: Status::Pending,
            due: None,
            attempts: 0,
            earlier_rounds: 0,
            reason: None,
            made: Made::default(),
            log: Vec::new(),
        }
    }

    /// How the last attempt ended, with the status of the answer.
    fn last(&self) -> Option<(Outcome, Option<u16>)> {
        let last = self.log.last()?;
        Some((last.outcome, last.answer.as_ref().and_then(|answer| answer.status)))
    }

    fn is_pending(&self) -> bool {
        self.status == Status::Pending
    }

    fn send_again(&mut self) {
        self.status = Status::Pending;
        self.due = None;
        self.reason = None;
        self.earlier_rounds = self.attempts;
    }
}

impl Kept {
    fn delivery(&self, endpoint: &EndpointId, row: &Row) -> Delivery {
        Delivery {
            key: DeliveryKey {
                tenant: self.event.tenant.clone(),
                endpoint: endpoint.clone(),
                event: self.event.id.clone(),
            },
            event_type: self.event.event_type.clone(),
            received: self.event.received,
            status: row.status,
            attempts: row.attempts,
            due: row.is_pending().then(|| row.due.unwrap_or(self.event.received)),
            reason: row.reason.clone(),
        }
    }

    /// Whether an endpoint has missed it, and it was received at this time or later.
    fn lost(&self, endpoint: &EndpointKey, since: Timestamp) -> bool {
        let is_lost = |row: &Row| match row.status {
            Status::Cancelled => row.reason.as_deref() == Some(REMOVED),
            status => matches!(status, Status::Exhausted | Status::Failed),
        };
        self.event.tenant == endpoint.tenant
            && self.event.received >= since
            && self.deliveries.get(&endpoint.endpoint).is_some_and(is_lost)
    }

    fn matches(&self, filter: &EventFilter) -> bool {
        let event = &self.event;
        event.tenant == filter.tenant && filter.wants(&event.id, &event.event_type, event.received)
    }
}

/// Cuts a list that is one longer than the page, if there is more.
fn page<T>(mut items: Vec<(Cursor, T)>, limit: usize) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(|(cursor, _)| cursor.clone()) } else { None };
    Page { items: items.into_iter().map(|(_, item)| item).collect(), next }
}

impl State {
    pub(super) fn append(&mut self, new: NewEvent) -> Appended {
        let NewEvent { event, fingerprint, idempotency_key, endpoints } = new;
        let by_id = self.by_id.get(&(event.tenant.clone(), event.id.clone()));
        let by_key =
            idempotency_key.as_ref().and_then(|key| self.by_key.get(&(event.tenant.clone(), key.clone())));
        let taken: Vec<&Kept> =
            [by_key, by_id].into_iter().flatten().filter_map(|seq| self.events.get(seq)).collect();
        if let Some(other) = taken.iter().find(|kept| kept.fingerprint != fingerprint) {
            return Appended::Conflict { id: other.event.id.clone() };
        }
        if let Some(same) = taken.first() {
            let answer = Appended::Duplicate { id: same.event.id.clone(), deliveries: same.deliveries.len() };
            // The key is new: the event was found by its id.
            if let (None, Some(seq), Some(key)) = (by_key.copied(), by_id.copied(), idempotency_key)
                && let Some(kept) = self.events.get_mut(&seq)
                && kept.further_keys < FURTHER_KEYS
            {
                kept.further_keys += 1;
                kept.keys.push(key.clone());
                self.by_key.insert((event.tenant.clone(), key), seq);
            }
            return answer;
        }
        self.last += 1;
        let seq = Seq(self.last);
        self.by_id.insert((event.tenant.clone(), event.id.clone()), seq);
        if let Some(key) = &idempotency_key {
            self.by_key.insert((event.tenant.clone(), key.clone()), seq);
        }
        let deliveries = endpoints.into_iter().map(|endpoint| (endpoint, Row::fresh())).collect();
        let (event, keys) = (Arc::unwrap_or_clone(event), idempotency_key.into_iter().collect());
        self.events.insert(seq, Kept { event, fingerprint, keys, further_keys: 0, deliveries });
        Appended::Stored { seq }
    }

    fn kept(&self, tenant: &TenantId, id: &EventId) -> Option<&Kept> {
        self.events.get(self.by_id.get(&(tenant.clone(), id.clone()))?)
    }

    fn row_mut(&mut self, endpoint: &EndpointKey, seq: Seq) -> Option<&mut Row> {
        let kept = self.events.get_mut(&seq).filter(|kept| kept.event.tenant == endpoint.tenant)?;
        kept.deliveries.get_mut(&endpoint.endpoint)
    }

    fn lane<'a>(&'a self, endpoint: &'a EndpointKey) -> impl Iterator<Item = (Seq, &'a Kept, &'a Row)> {
        self.events.iter().filter_map(|(seq, kept)| {
            let row = kept.deliveries.get(&endpoint.endpoint)?;
            (kept.event.tenant == endpoint.tenant).then_some((*seq, kept, row))
        })
    }

    pub(super) fn lanes(&self, shard: Shard) -> Vec<LaneHead> {
        let mut keys = BTreeSet::new();
        for kept in self.events.values() {
            for endpoint in kept.deliveries.keys() {
                keys.insert(EndpointKey::new(kept.event.tenant.clone(), endpoint.clone()));
            }
        }
        keys.into_iter()
            .filter(|key| Shard::of(key) == shard)
            .filter_map(|key| self.next_due(&key, &[]))
            .collect()
    }

    pub(super) fn due(&self, endpoint: &EndpointKey, now: Timestamp, skip: &[Seq], most: Amount) -> Due {
        let mut found: Vec<(Seq, &Kept, &Row)> = self
            .lane(endpoint)
            .filter(|(seq, _, row)| row.is_pending() && !skip.contains(seq))
            .filter(|(_, _, row)| row.due.is_none_or(|due| due <= now))
            .collect();
        found.sort_by_key(|(seq, _, row)| (row.due.is_none(), row.due, *seq));
        let (mut due, mut room) = (Due::default(), most.bytes);
        for (seq, kept, row) in found.into_iter().take(most.deliveries) {
            let delivery = DueDelivery {
                seq,
                event: kept.event.clone(),
                attempts: row.attempts,
                earlier_rounds: row.earlier_rounds,
                shaped: row.made.shaped.clone(),
            };
            let Some(left) = room.checked_sub(delivery.bytes()) else {
                due.next_bytes = Some(delivery.bytes());
                break;
            };
            room = left;
            due.deliveries.push(delivery);
        }
        due
    }

    pub(super) fn next_due(&self, endpoint: &EndpointKey, skip: &[Seq]) -> Option<LaneHead> {
        // `None` sorts first, which is what "at once" means.
        self.lane(endpoint)
            .filter(|(seq, _, row)| row.is_pending() && !skip.contains(seq))
            .map(|(_, _, row)| row.due)
            .min()
            .map(|due| LaneHead { endpoint: endpoint.clone(), due })
    }

    pub(super) fn settle(&mut self, settlement: Settlement, queues: &mut queue::State) -> Settled {
        let Some(row) = self.row_mut(&settlement.endpoint, settlement.seq) else { return Settled::Repeated };
        let known = settlement.attempt.as_ref().is_some_and(|attempt| attempt.number <= row.attempts);
        if !row.is_pending() || known {
            return Settled::Repeated;
        }
        if let Some(attempt) = settlement.attempt {
            row.attempts = attempt.number;
            row.log.push(attempt);
        }
        let Made { shaped, calls } = settlement.made;
        row.made.shaped = row.made.shaped.take().or(shaped);
        row.made.calls = calls;
        match settlement.next {
            Next::Final { status, reason } => {
                row.status = status;
                row.due = None;
                row.reason = reason;
            }
            Next::Queued(message) => {
                row.status = Status::Delivered;
                row.due = None;
                row.reason = None;
                queues.put(&settlement.endpoint, *message);
            }
            Next::RetryAt { due, reason } => {
                row.due = Some(due);
                row.reason = reason;
            }
        }
        Settled::Applied
    }

    pub(super) fn event(&self, tenant: &TenantId, id: &EventId) -> Option<Event> {
        self.kept(tenant, id).map(|kept| kept.event.clone())
    }

    pub(super) fn events(
        &self,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Page<StoredEvent> {
        let items = self
            .events
            .iter()
            .rev()
            .filter(|(seq, _)| after.is_none_or(|cursor| **seq < cursor.seq))
            .filter(|(_, kept)| kept.matches(filter))
            .map(|(seq, kept)| (Cursor { seq: *seq, endpoint: None }, kept.event.clone().into()))
            .take(limit.saturating_add(1))
            .collect();
        page(items, limit)
    }

    pub(super) fn delivery(&self, key: &DeliveryKey) -> Option<Delivery> {
        let kept = self.kept(&key.tenant, &key.event)?;
        kept.deliveries.get(&key.endpoint).map(|row| kept.delivery(&key.endpoint, row))
    }

    pub(super) fn made(&self, key: &DeliveryKey) -> Made {
        let kept = self.kept(&key.tenant, &key.event);
        let Some(row) = kept.and_then(|kept| kept.deliveries.get(&key.endpoint)) else {
            return Made::default();
        };
        match row.status {
            Status::Filtered => row.made.clone(),
            _ => Made { calls: Vec::new(), ..row.made.clone() },
        }
    }

    pub(super) fn deliveries_of(&self, tenant: &TenantId, id: &EventId) -> Vec<Delivery> {
        let Some(kept) = self.kept(tenant, id) else { return Vec::new() };
        kept.deliveries.iter().map(|(endpoint, row)| kept.delivery(endpoint, row)).collect()
    }

    pub(super) fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Page<Delivery> {
        let is_after = |seq: Seq, endpoint: &EndpointId| {
            after.is_none_or(|cursor| {
                seq < cursor.seq
                    || (seq == cursor.seq && cursor.endpoint.as_ref().is_some_and(|last| endpoint > last))
            })
        };
        let mut items = Vec::new();
        for (seq, kept) in self.events.iter().rev() {
            if !kept.matches(&filter.events) {
                continue;
            }
            for (endpoint, row) in &kept.deliveries {
                if filter.endpoint.as_ref().is_none_or(|wanted| wanted == endpoint)
                    && filter.status.is_none_or(|wanted| wanted == row.status)
                    && filter.wants_last(row.last())
                    && is_after(*seq, endpoint)
                    && items.len() <= limit
                {
                    let cursor = Cursor { seq: *seq, endpoint: Some(endpoint.clone()) };
                    items.push((cursor, kept.delivery(endpoint, row)));
                }
            }
        }
        page(items, limit)
    }

    pub(super) fn attempts(&self, key: &DeliveryKey) -> Vec<Attempt> {
        let row = self.kept(&key.tenant, &key.event).and_then(|kept| kept.deliveries.get(&key.endpoint));
        row.map(|row| row.log.clone()).unwrap_or_default()
    }

    pub(super) fn recoverable(&self, endpoint: &EndpointKey, since: Timestamp) -> u64 {
        self.events.values().filter(|kept| kept.lost(endpoint, since)).count() as u64
    }

    pub(super) fn pending_bytes(&self, tenant: &TenantId) -> u64 {
        let waiting = |kept: &Kept| kept.deliveries.values().filter(|row| row.is_pending()).count();
        let of_tenant = self.events.values().filter(|kept| kept.event.tenant == *tenant);
        of_tenant.map(|kept| (waiting(kept) * kept.event.data.len()) as u64).sum()
    }

    pub(super) fn counts(&self, endpoint: &EndpointKey) -> Counts {
        let mut counts = Counts::default();
        for (_, _, row) in self.lane(endpoint) {
            counts.0[usize::from(row.status.code())] += 1;
        }
        counts
    }

    pub(super) fn waiting(&self, endpoint: &EndpointKey) -> u64 {
        self.lane(endpoint).filter(|(_, _, row)| row.is_pending() && row.due.is_some()).count() as u64
    }

    pub(super) fn requeue(&mut self, selection: Selection) -> Result<u64, Error> {
        match selection {
            Selection::Retry(key) => {
                let endpoint = EndpointKey::new(key.tenant.clone(), key.endpoint);
                let seq = self.by_id.get(&(key.tenant, key.event)).copied();
                let row = seq.and_then(|seq| self.row_mut(&endpoint, seq));
                row.ok_or(Error::NotFound("delivery"))?.send_again();
                Ok(1)
            }
            Selection::Recover { endpoint, since } => {
                let mut again = 0;
                for kept in self.events.values_mut().filter(|kept| kept.lost(&endpoint, since)) {
                    again += 1;
                    if let Some(row) = kept.deliveries.get_mut(&endpoint.endpoint) {
                        row.send_again();
                    }
                }
                Ok(again)
            }
            Selection::Waiting { endpoint } => {
                let mut again = 0;
                for kept in self.events.values_mut().filter(|kept| kept.event.tenant == endpoint.tenant) {
                    let row = kept.deliveries.get_mut(&endpoint.endpoint);
                    if let Some(row) = row.filter(|row| row.is_pending() && row.due.is_some()) {
                        row.due = None;
                        again += 1;
                    }
                }
                Ok(again)
            }
            Selection::Replay { tenant, event, endpoints } => {
                let seq = self.by_id.get(&(tenant, event)).copied();
                let kept = seq.and_then(|seq| self.events.get_mut(&seq)).ok_or(Error::NotFound("event"))?;
                let endpoints: BTreeSet<EndpointId> = endpoints.into_iter().collect();
                let again = endpoints.len() as u64;
                for endpoint in endpoints {
                    let row = kept.deliveries.entry(endpoint).or_insert_with(Row::fresh);
                    row.send_again();
                    row.made.shaped = None;
                }
                Ok(again)
            }
        }
    }

    pub(super) fn cancel(&mut self, key: &DeliveryKey, reason: &str) -> Result<bool, Error> {
        let seq = self.by_id.get(&(key.tenant.clone(), key.event.clone())).copied();
        let endpoint = EndpointKey::new(key.tenant.clone(), key.endpoint.clone());
        let row = seq.and_then(|seq| self.row_mut(&endpoint, seq)).ok_or(Error::NotFound("delivery"))?;
        let was_pending = row.status == Status::Pending;
        if was_pending {
            row.status = Status::Cancelled;
            row.due = None;
            row.reason = Some(reason.to_owned());
        }
        Ok(was_pending)
    }

    pub(super) fn endpoint_states(&self) -> Vec<(EndpointKey, EndpointState)> {
        self.states.iter().map(|(key, state)| (key.clone(), state.clone())).collect()
    }

    pub(super) fn put_endpoint_state(&mut self, endpoint: &EndpointKey, state: &EndpointState) {
        self.states.insert(endpoint.clone(), state.clone());
    }

    pub(super) fn plugin_states(&self) -> Vec<(PluginKey, PluginState)> {
        self.plugins.iter().map(|(key, state)| (key.clone(), state.clone())).collect()
    }

    pub(super) fn put_plugin_state(&mut self, plugin: &PluginKey, state: &PluginState) -> Result<(), Error> {
        if !state.digests().all(|digest| self.blobs.contains_key(&digest)) {
            return Err(Error::NotFound("blob"));
        }
        self.plugins.insert(plugin.clone(), state.clone());
        let Self { plugins, blobs, .. } = self;
        let named: HashSet<Digest> = plugins.values().flat_map(PluginState::digests).collect();
        blobs.retain(|digest, _| named.contains(digest));
        Ok(())
    }

    pub(super) fn put_blob(&mut self, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, bytes);
        digest
    }

    pub(super) fn blob(&self, digest: Digest) -> Option<Bytes> {
        self.blobs.get(&digest).cloned()
    }

    /// The number given last.
    pub(super) fn last(&self) -> Seq {
        Seq(self.last)
    }

    pub(super) fn expire(&mut self, last: Seq, budget: usize) -> Expired {
        let mut over: Vec<Seq> = self
            .events
            .range(..=last)
            .filter(|(_, kept)| !kept.deliveries.values().any(Row::is_pending))
            .map(|(seq, _)| *seq)
            .take(budget.saturating_add(1))
            .collect();
        let more = over.len() > budget;
        over.truncate(budget);
        for seq in &over {
            if let Some(kept) = self.events.remove(seq) {
                self.by_id.remove(&(kept.event.tenant.clone(), kept.event.id));
                for key in kept.keys {
                    self.by_key.remove(&(kept.event.tenant.clone(), key));
                }
            }
        }
        Expired { events: over.len() as u64, more }
    }

    /// How many deliveries are pending, and the oldest of their events with its time of receipt.
    pub(super) fn pending(&self) -> (u64, Option<(Seq, Timestamp)>) {
        let pending = |kept: &Kept| kept.deliveries.values().filter(|row| row.is_pending()).count();
        let oldest = self.events.iter().find(|(_, kept)| pending(kept) > 0);
        let oldest = oldest.map(|(seq, kept)| (*seq, kept.event.received));
        (self.events.values().map(|kept| pending(kept) as u64).sum(), oldest)
    }

    /// `age` tells the age of an event by its number and time of receipt.
    pub(super) fn backlogs(&self, age: impl Fn(Seq, Timestamp) -> Oldest) -> Vec<LaneBacklog> {
        let mut backlogs = BTreeMap::new();
        for (seq, kept) in &self.events {
            for (endpoint, _) in kept.deliveries.iter().filter(|(_, row)| row.is_pending()) {
                let (pending, _) = backlogs
                    .entry(EndpointKey::new(kept.event.tenant.clone(), endpoint.clone()))
                    .or_insert_with(|| (0, age(*seq, kept.event.received)));
                *pending += 1;
            }
        }
        let backlog = |(endpoint, (pending, oldest))| LaneBacklog { endpoint, pending, oldest: Some(oldest) };
        backlogs.into_iter().map(backlog).collect()
    }
}
