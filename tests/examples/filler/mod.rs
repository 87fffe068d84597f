//! Puts events, and what became of them, into the journal of a gateway that is not running.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::{Appended, Journal as _, Made, NewEvent, Next, Seq, Settled, Settlement};
use hookweir_model::{
    Attempt, Digest, EndpointId, EndpointKey, Epoch, Event, EventId, EventType, TenantId, Timestamp,
};

/// How many events to keep in one call.
pub(crate) const BATCH: usize = 2_000;

#[derive(Debug)]
pub(crate) struct Filler {
    pub(crate) journal: Embedded,
    epoch: Epoch,
}

impl Filler {
    /// Opens the journal of a gateway by the gateway's folder.
    pub(crate) async fn open(gateway: &Path) -> Self {
        let journal =
            Embedded::open(&gateway.join("data"), Options::default()).expect("the gateway's journal");
        let epoch = journal.acquire_shards("filler", Duration::ZERO).await.expect("leases")[0].epoch;
        Self { journal, epoch }
    }

    pub(crate) async fn keep(&self, events: Vec<NewEvent>) -> Vec<Seq> {
        let kept = self.journal.append(events).await.expect("kept");
        let seq = |kept| match kept {
            Appended::Stored { seq } => seq,
            other => panic!("{other:?}"),
        };
        kept.into_iter().map(seq).collect()
    }

    pub(crate) fn settlement(
        &self,
        endpoint: &EndpointKey,
        seq: Seq,
        attempt: Option<Attempt>,
        next: Next,
        made: Made,
    ) -> Settlement {
        Settlement { endpoint: endpoint.clone(), seq, epoch: self.epoch, attempt, next, made }
    }

    pub(crate) async fn settle(&self, settlements: Vec<Settlement>) {
        let settled = self.journal.settle(settlements).await.expect("settled");
        assert!(settled.iter().all(|settled| *settled == Settled::Applied), "{settled:?}");
    }

    pub(crate) async fn close(self) {
        self.journal.close().await;
    }
}

/// An endpoint by the names of its tenant and its own.
pub(crate) fn lane(tenant: &str, endpoint: &str) -> EndpointKey {
    let tenant = TenantId::new(tenant).expect("a name");
    EndpointKey::new(tenant, EndpointId::new(endpoint).expect("a name"))
}

/// An event with an id of its own.
pub(crate) fn event(tenant: TenantId, event_type: &str, received: Timestamp, data: Bytes) -> Event {
    Event {
        tenant,
        id: EventId::generate(received),
        event_type: EventType::new(event_type).expect("a type"),
        source: "/filler".to_owned(),
        subject: None,
        time: received.to_string(),
        received,
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data,
    }
}

/// An event as the journal takes it, for these endpoints.
pub(crate) fn new(event: Event, endpoints: Vec<EndpointId>) -> NewEvent {
    NewEvent {
        fingerprint: Digest::from_bytes([7; 32]),
        idempotency_key: None,
        endpoints,
        event: std::sync::Arc::new(event),
    }
}
