//! Events, settlements and names for the cases, and the calls that they make all the time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::{
    Amount, Appended, DeliveryFilter, DueDelivery, Journal, Made, NewEvent, Next, Seq, Settled, Settlement,
};
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, EndpointId, EndpointKey, Epoch, Event, EventId, EventType,
    Outcome, Shaped, Shard, Status, TenantId, Timestamp,
};

pub(crate) const NOON: i64 = 1_700_000_000_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn endpoint(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

pub(crate) fn id(text: &str) -> EventId {
    EventId::new(text).unwrap()
}

/// An endpoint of tenant `acme`.
pub(crate) fn lane(name: &str) -> EndpointKey {
    EndpointKey::new(tenant("acme"), endpoint(name))
}

/// A delivery of tenant `acme`.
pub(crate) fn key(event: &str, to: &str) -> DeliveryKey {
    DeliveryKey { tenant: tenant("acme"), endpoint: endpoint(to), event: id(event) }
}

/// A plain event of tenant `acme`, received at noon.
pub(crate) fn event(event: &str) -> Event {
    Event {
        tenant: tenant("acme"),
        id: id(event),
        event_type: EventType::new("order.created").unwrap(),
        source: "/shop".to_owned(),
        subject: None,
        time: "2023-11-14T22:13:20Z".to_owned(),
        received: at(NOON),
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data: Bytes::from(format!("{{\"id\":\"{event}\"}}")),
    }
}

pub(crate) fn new(event: Event, to: &[&str]) -> NewEvent {
    NewEvent {
        fingerprint: Digest::of(&event.data),
        event: Arc::new(event),
        idempotency_key: None,
        endpoints: to.iter().map(|name| endpoint(name)).collect(),
    }
}

/// Appends one plain event that must be stored.
pub(crate) async fn put(journal: &Arc<dyn Journal>, name: &str, to: &[&str]) -> Seq {
    put_event(journal, event(name), to).await
}

pub(crate) async fn put_event(journal: &Arc<dyn Journal>, event: Event, to: &[&str]) -> Seq {
    let appended = journal.append(vec![new(event, to)]).await.unwrap();
    match appended.as_slice() {
        [Appended::Stored { seq }] => *seq,
        other => panic!("not stored: {other:?}"),
    }
}

/// Takes all shards; the epoch under which an endpoint may be settled.
pub(crate) async fn own(journal: &Arc<dyn Journal>, endpoint: &EndpointKey) -> Epoch {
    let leases = journal.acquire_shards("node-1", Duration::from_secs(3600)).await.unwrap();
    let shard = Shard::of(endpoint);
    leases.iter().find(|lease| lease.shard == shard).unwrap().epoch
}

pub(crate) fn attempt(number: u32, outcome: Outcome) -> Attempt {
    Attempt {
        number,
        started: at(NOON + i64::from(number)),
        duration_ms: 7,
        outcome,
        reason: None,
        answer: None,
        plugins: Vec::new(),
        exchange: None,
    }
}

pub(crate) fn ended(status: Status) -> Next {
    Next::Final { status, reason: None }
}

pub(crate) fn retry_at(millis: i64) -> Next {
    Next::RetryAt { due: at(millis), reason: None }
}

pub(crate) fn shaped(body: &str) -> Shaped {
    Shaped {
        content_type: "text/plain".to_owned(),
        headers: vec![("x-a".to_owned(), "1".to_owned()), ("x-a".to_owned(), "2".to_owned())],
        body: Bytes::from(body.to_owned()),
    }
}

/// Settles one delivery with an attempt.
pub(crate) async fn settle(
    journal: &Arc<dyn Journal>,
    to: &EndpointKey,
    seq: Seq,
    number: u32,
    next: Next,
) -> Settled {
    settle_with(journal, to, seq, number, next, None).await
}

/// Settles one delivery with an attempt that sent this.
pub(crate) async fn settle_with(
    journal: &Arc<dyn Journal>,
    to: &EndpointKey,
    seq: Seq,
    number: u32,
    next: Next,
    shaped: Option<Shaped>,
) -> Settled {
    let outcome = match next {
        Next::Final { status: Status::Delivered, .. } => Outcome::Delivered,
        _ => Outcome::Retry,
    };
    let epoch = own(journal, to).await;
    let attempt = Some(attempt(number, outcome));
    let made = Made { shaped, calls: Vec::new() };
    let settlement = Settlement { made, endpoint: to.clone(), seq, epoch, attempt, next };
    let settled = journal.settle(vec![settlement]).await.unwrap();
    assert_eq!(settled.len(), 1);
    settled[0]
}

pub(crate) async fn due(journal: &Arc<dyn Journal>, to: &EndpointKey, now: i64) -> Vec<DueDelivery> {
    journal.due(to, at(now), &[], Amount::of(100)).await.unwrap().deliveries
}

pub(crate) fn seqs(due: &[DueDelivery]) -> Vec<Seq> {
    due.iter().map(|delivery| delivery.seq).collect()
}

pub(crate) async fn delivery(journal: &Arc<dyn Journal>, key: &DeliveryKey) -> Delivery {
    journal.delivery(key).await.unwrap().unwrap()
}

/// All deliveries of tenant `acme`.
pub(crate) fn everything() -> DeliveryFilter {
    DeliveryFilter::of(tenant("acme"))
}

/// Reads a list of deliveries to its end, in pages.
pub(crate) async fn all(journal: &Arc<dyn Journal>, filter: &DeliveryFilter, page: usize) -> Vec<Delivery> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = journal.deliveries(filter, cursor.as_ref(), page).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}
