//! Faults of the gateway's own, on a dispatcher with all of its parts: whatever panics, each place is free again and each delivery
//! is known.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hookweir_delivery::Target;
use hookweir_journal::engines::{embedded, memory};
use hookweir_journal::{Appended, NewEvent, Selection};
use hookweir_model::{DeliveryKey, Digest, EventId, EventType, Status};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::config::{self, Config, StdEnv};
use crate::numbers::Numbers;
use crate::plugins::Loader;
use crate::telemetry::Telemetry;

/// A receiver that takes everything, a request a connection.
async fn receiver() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    port
}

fn stats() -> embedded::Stats {
    let sync_seconds = embedded::Histogram { sum: 0.0, count: 0, buckets: Vec::new() };
    embedded::Stats { commits: 0, calls: 0, damaged: 0, removed_early: 0, sync_seconds }
}

struct Rig {
    _folder: TempDir,
    journal: Arc<dyn Journal>,
    dispatcher: Dispatcher,
    broken: CancellationToken,
}

impl Rig {
    /// A dispatcher for one endpoint, which tries one delivery at a time.
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = receiver().await;
        let text = format!(
            "allow_inline_secrets = true\n[egress]\nallow_cidrs = ['127.0.0.0/8']\nallow_ports = []\n[tenants.acme]\n\
             keys = ['a-key-of-acme-alone']\nendpoints.hook = {{ url = 'http://127.0.0.1:{port}/', concurrency = 1, \
             retry = {{ waits = ['10ms'], jitter = 0.0 }} }}\n"
        );
        let file = folder.path().join("hookweir.toml");
        std::fs::write(&file, text).unwrap();
        let mut config = config::load(&file, &StdEnv).unwrap();
        change(&mut config);
        let journal: Arc<dyn Journal> = Arc::new(memory::Memory::new());
        let host = Arc::new(crate::app::host(folder.path()).unwrap());
        let states = HashMap::new();
        let loader = Loader { host: &host, journal: &*journal, states: &states };
        let live = Live::build(config, loader, None).await.unwrap();
        let live = Arc::new(ArcSwap::from_pointee(live));
        let broken = CancellationToken::new();
        let leases = journal.acquire_shards("test", Duration::from_secs(3600)).await.unwrap();
        let clock = Arc::new(Clock::start(None));
        let parts = Parts {
            journal: Arc::clone(&journal),
            live: Arc::clone(&live),
            host: Arc::clone(&host),
            plugins: Arc::new(Plugins::new(Arc::clone(&journal), host, live, states)),
            metrics: Arc::new(Metrics::new(stats)),
            traces: Telemetry::start(None).unwrap().traces(),
            queues: Queues::new(
                Arc::clone(&journal),
                Arc::new(Numbers::open(folder.path())),
                Arc::clone(&clock),
                CancellationToken::new(),
                broken.clone(),
            ),
            feed: Arc::default(),
            clock,
            broken: broken.clone(),
            memory: 64 << 20,
        };
        let dispatcher = Dispatcher::start(parts, &leases).await.unwrap();
        Self { _folder: folder, journal, dispatcher, broken }
    }

    fn key() -> EndpointKey {
        EndpointKey::new(TenantId::new("acme").unwrap(), EndpointId::new("hook").unwrap())
    }

    /// Keeps an event for the endpoint and hands it over as accept does.
    async fn send(&self, id: &str) {
        let seq = self.keep(id).await;
        let key = Self::key();
        self.dispatcher.offer(&Arc::new(event(id)), seq, std::slice::from_ref(&key.endpoint));
    }

    async fn keep(&self, id: &str) -> Seq {
        let event = event(id);
        let new = NewEvent {
            fingerprint: Digest::of(&event.data),
            event: Arc::new(event),
            idempotency_key: None,
            endpoints: vec![Self::key().endpoint],
        };
        match self.journal.append(vec![new]).await.unwrap().as_slice() {
            [Appended::Stored { seq }] => *seq,
            other => panic!("{other:?}"),
        }
    }

    async fn until(&self, status: Status, wanted: u64) {
        for _ in 0..2000 {
            if self.journal.counts(&Self::key()).await.unwrap().of(status) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.journal.counts(&Self::key()).await);
    }
}

fn event(id: &str) -> Event {
    Event {
        tenant: TenantId::new("acme").unwrap(),
        id: EventId::new(id).unwrap(),
        event_type: EventType::new("a.b").unwrap(),
        source: "/s".to_owned(),
        subject: None,
        time: "2026-01-31T12:00:00Z".to_owned(),
        received: Timestamp::now(),
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data: Bytes::from_static(b"1"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_panics_is_a_failed_one_and_gives_its_place_back() {
    // The check of the configuration allows no such timeout: the client's sum of now and it has no value.
    let rig = Rig::start(|config| {
        let endpoint = config.tenants.values_mut().flat_map(|tenant| tenant.endpoints.values_mut()).next();
        let config::Destination::Outside(target) = &mut endpoint.unwrap().target else { panic!("a queue") };
        let Target::Http(target) = &mut **target else { panic!("{}", target.kind()) };
        target.timeout = Duration::MAX;
    })
    .await;
    for id in ["1", "2", "3"] {
        rig.send(id).await;
    }
    rig.until(Status::Exhausted, 3).await;
    let Rig { journal, dispatcher, .. } = &rig;
    let EndpointKey { tenant, endpoint } = Rig::key();
    let attempts =
        journal.attempts(&DeliveryKey { tenant, endpoint, event: EventId::new("2").unwrap() }).await.unwrap();
    let reasons: Vec<_> =
        attempts.iter().map(|attempt| attempt.reason.as_deref().unwrap_or_default()).collect();
    assert_eq!(attempts.len(), 2, "by the schedule: {reasons:?}");
    assert!(reasons[0].contains("the gateway itself failed"), "{reasons:?}");
    assert_eq!(dispatcher.memory().0, 0, "all memory was given back");
    assert!(!rig.broken.is_cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_gives_back_its_place_and_its_delivery() {
    let rig = Rig::start(|_| {}).await;
    let shared = Arc::clone(&rig.dispatcher.shared);
    let lane = shared.lane(&Rig::key()).unwrap();
    let seq = rig.keep("1").await;
    let kept = shared.events.fresh(seq, &Arc::new(event("1")), 1, lane.account().try_take(100).unwrap());
    let ready = Ready::fresh(seq, &kept, lane.account()).unwrap();
    drop(kept);
    lane.queue().offer(ready);
    let ready = lane.queue().take(1).unwrap();
    let ended = tokio::spawn({
        let (shared, lane) = (Arc::clone(&shared), Arc::clone(&lane));
        async move {
            let _taken = work::Taken::new(&shared, &lane, ready.seq);
            panic!("beside an attempt");
        }
    });
    assert!(ended.await.unwrap_err().is_panic());
    rig.send("2").await;
    rig.until(Status::Delivered, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_panics_is_made_again() {
    let rig = Rig::start(|_| {}).await;
    let shared = Arc::clone(&rig.dispatcher.shared);
    let lane = shared.lane(&Rig::key()).unwrap();
    rig.keep("1").await;
    lane.queue().miss();
    assert!(lane.queue().begin_read().is_some());
    let ended = tokio::spawn({
        let (shared, lane) = (Arc::clone(&shared), Arc::clone(&lane));
        async move {
            let _reading = read::Reading::new(&shared, &lane);
            panic!("in the middle of a read");
        }
    });
    assert!(ended.await.unwrap_err().is_panic());
    rig.until(Status::Delivered, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_handing_over_panics_is_read_from_disk() {
    let rig = Rig::start(|_| {}).await;
    let shared = Arc::clone(&rig.dispatcher.shared);
    rig.keep("1").await;
    let ended = tokio::spawn(async move {
        let event = event("1");
        let _offering = Offering { shared: &shared, tenant: &event.tenant, left: &[Rig::key().endpoint] };
        panic!("while it is handed over");
    });
    assert!(ended.await.unwrap_err().is_panic());
    rig.until(Status::Delivered, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_brought_forward_is_sent_although_its_time_has_not_come() {
    let rig = Rig::start(|_| {}).await;
    let seq = rig.keep("1").await;
    let key = Rig::key();
    let epoch = rig.dispatcher.shared.lane(&key).unwrap().epoch;
    let settlement = hookweir_journal::Settlement {
        endpoint: key.clone(),
        seq,
        epoch,
        attempt: None,
        next: hookweir_journal::Next::RetryAt { due: Timestamp::from_millis(i64::MAX), reason: None },
        made: hookweir_journal::Made::default(),
    };
    rig.journal.settle(vec![settlement]).await.unwrap();
    rig.journal.requeue(Selection::Waiting { endpoint: key.clone() }).await.unwrap();
    rig.dispatcher.send_now(&key);
    rig.until(Status::Delivered, 1).await;
}
