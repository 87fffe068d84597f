//! What waits takes no more memory than it may, in sum: over all endpoints, over slow ones, over a restart.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookweir_tests::{Config, Gateway, KEY, endpoint, eventually, eventually_by, tenant};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

const BUDGET: u64 = 64 << 20;
/// What the process takes beside its budget and what it took at its start: buffers of connections, reads under way, the journal's
/// pages, what the allocator keeps.
const BESIDE: u64 = 96 << 20;
const LARGE: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// A receiver that keeps no bodies: it counts how often each path got each event, and answers once it is told to.
#[derive(Debug, Clone)]
struct Counting {
    address: SocketAddr,
    gate: watch::Sender<bool>,
    /// Whether first attempts are answered 500, at once.
    fails_first: bool,
    seen: Arc<Mutex<HashMap<(String, String), usize>>>,
}

impl Counting {
    /// A receiver that holds what comes.
    async fn held(fails_first: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the receiver");
        let address = listener.local_addr().expect("the address of the receiver");
        let receiver = Self { address, gate: watch::Sender::new(false), fails_first, seen: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| own.answer(request));
                    // A connection that the gateway drops is no fault of the receiver.
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        receiver
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, mut body) = request.into_parts();
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        let mut response = Response::new(Full::new(Bytes::new()));
        let attempt = head.headers.get("hookweir-attempt").map(HeaderValue::as_bytes);
        if self.fails_first && attempt == Some(b"1") {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        let mut gate = self.gate.subscribe();
        // A gate whose handle is gone counts as open.
        let _ = gate.wait_for(|open| *open).await;
        let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry((head.uri.path().to_owned(), format!("{id} of {bytes} bytes"))).or_default() += 1;
        Ok(response)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// How many deliveries have come, and how many came again.
    fn arrived(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.len(), seen.values().map(|times| times - 1).sum())
    }
}

/// That neither the process nor what it says of itself is over its bound.
async fn within_budget(gateway: &Gateway, base: u64, when: &str) {
    let held = gateway.admin().metric("hookweir_dispatch_memory_bytes").await;
    let (peak, most) = (gateway.most_resident(), base + BUDGET + BESIDE);
    println!("{when}: {} MiB held, at most {} MiB resident", held >> 20, peak >> 20);
    assert_eq!(gateway.admin().metric("hookweir_dispatch_memory_max_bytes").await, BUDGET);
    // An attempt that has begun holds what it makes, whatever that is.
    assert!(held <= BUDGET + (4 << 20), "{when}: {held} bytes are held");
    assert!(peak <= most, "{when}: {} MiB were resident, and {} at the start", peak >> 20, base >> 20);
}

fn config(tenants: String) -> Config {
    let mut config = Config::new(tenants);
    config.dispatch = format!("memory = \"{}MiB\"", BUDGET >> 20);
    config
}

/// Sends `each` events of every type, from a few senders.
async fn send(gateway: &Gateway, types: Vec<String>, each: usize, data: &str) {
    let (data, types) = (Arc::new(data.to_owned()), Arc::new(types));
    let mut senders = JoinSet::new();
    for first in 0..4 {
        let (sender, data, types) = (gateway.sender(), Arc::clone(&data), Arc::clone(&types));
        senders.spawn(async move {
            for event_type in types.iter().skip(first).step_by(4) {
                for _ in 0..each {
                    sender.event(event_type, &data).await;
                }
            }
        });
    }
    senders.join_all().await;
}

/// Endpoints in groups: an event goes to all of its group.
fn grouped(receiver: &Counting, groups: usize, of: usize, lines: &str) -> String {
    let mut config = tenant("acme", KEY);
    for group in 0..groups {
        for number in 0..of {
            let name = format!("e{group}-{number}");
            let lines = format!(
                "event_types = [\"g{group}.*\"]\nretry = {{ timeout = \"60s\", waits = [\"1s\", \"1s\"] }}\n{lines}"
            );
            let _ = write!(config, "{}", endpoint("acme", &name, &receiver.url(&name), &lines));
        }
    }
    config
}

fn large() -> String {
    format!("\"{}\"", "x".repeat(LARGE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_for_slow_endpoints_stay_within_the_budget_and_flow() {
    // With HOOKWEIR_LONG a thousand endpoints.
    let (groups, of, each) =
        if std::env::var_os("HOOKWEIR_LONG").is_some() { (100, 10, 3) } else { (10, 10, 8) };
    let receiver = Counting::held(false).await;
    let mut gateway = Gateway::start(config(grouped(&receiver, groups, of, ""))).await;
    let base = gateway.resident();
    send(&gateway, (0..groups).map(|group| format!("g{group}.x")).collect(), each, &large()).await;
    within_budget(&gateway, base, "while they wait").await;

    gateway.kill9().await;
    gateway.start_again().await;
    eventually("the lanes to have read as much as may be", async || {
        match gateway.admin().metric("hookweir_dispatch_memory_bytes").await {
            few if few < BUDGET / 4 => Err(few.to_string()),
            _ => Ok(()),
        }
    })
    .await;
    within_budget(&gateway, base, "after a restart").await;

    receiver.gate.send_replace(true);
    let all = groups * of * each;
    eventually_by(PATIENCE, "all to arrive", async || match receiver.arrived() {
        (fewer, _) if fewer < all => Err(format!("{fewer} of {all}")),
        _ => Ok(()),
    })
    .await;
    eventually("nothing to be pending", async || {
        match gateway.admin().metric("hookweir_pending_deliveries").await {
            0 => Ok(()),
            pending => Err(pending.to_string()),
        }
    })
    .await;
    within_budget(&gateway, base, "when all has arrived").await;
    assert_eq!(gateway.admin().metric("hookweir_dispatch_memory_bytes").await, 0, "all of it was given back");
}

/// Retries send what was made for the first attempt, which is read beside the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_count_with_what_was_made_of_their_events() {
    const ENDPOINTS: usize = 40;
    const EACH: usize = 3;
    let receiver = Counting::held(true).await;
    let gateway =
        Gateway::start(config(grouped(&receiver, ENDPOINTS, 1, "format = \"envelope\"\nbreaker = false")))
            .await;
    let base = gateway.resident();
    send(&gateway, (0..ENDPOINTS).map(|group| format!("g{group}.x")).collect(), EACH, &large()).await;
    eventually("retries to be under way", async || {
        match gateway.admin().metric("hookweir_dispatch_memory_bytes").await {
            few if few < BUDGET / 4 => Err(few.to_string()),
            _ => Ok(()),
        }
    })
    .await;
    within_budget(&gateway, base, "while retries are under way").await;
    receiver.gate.send_replace(true);
    let all = ENDPOINTS * EACH;
    eventually("all to arrive", async || match receiver.arrived() {
        (count, 0) if count == all => Ok(()),
        other => Err(format!("{other:?} of {all}")),
    })
    .await;
    within_budget(&gateway, base, "when all has arrived").await;
}

/// A sender may write much around little data: what is held is the data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_waits_holds_its_data_and_not_the_request_that_it_came_in() {
    const EVENTS: usize = 300;
    let receiver = Counting::held(false).await;
    let gateway = Gateway::start(config(grouped(&receiver, 1, 1, "concurrency = 1"))).await;
    let base = gateway.resident();
    let body = format!("{{\"type\":\"g0.x\",{}\"data\":1}}", " ".repeat(LARGE));
    let sender = gateway.sender();
    for _ in 0..EVENTS {
        sender.post(&[], body.clone()).await.expect(202);
    }
    let grown = gateway.resident().saturating_sub(base);
    assert!(grown < 64 << 20, "{} MiB more for {EVENTS} events of a byte", grown >> 20);
    receiver.gate.send_replace(true);
    eventually("all to arrive", async || match receiver.arrived() {
        (EVENTS, 0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
