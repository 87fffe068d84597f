//! The load: a closed loop of senders, each on a connection of its own, each sending its next event when the answer to
//! the last one is there.
//!
//! One thread runs all of them, so that the load takes the same small part of the machine whatever is measured. It
//! never repeats a request: one that breaks ends the run.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use super::control;
use super::tally::{Tally, fingerprint};

/// What to send, where and how long. It holds a key and has no `Debug` for that reason.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) key: String,
    pub(super) event_type: String,
    /// Bytes of each request's body.
    pub(super) payload: usize,
    pub(super) connections: usize,
    pub(super) until: Until,
}

/// When the senders stop. Requests that are under way then are still waited for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Until {
    Elapsed(Duration),
    Sent(u64),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) accepted: Tally,
    /// Answers that were not 2xx, and the first of them.
    pub(super) refused: u64,
    pub(super) refusal: Option<String>,
    pub(super) seconds: f64,
    /// From the start of a request to the end of its answer.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// The child's life: a run for each command.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Senders share their counts without locks: they never leave this thread.
    runtime.block_on(control::obey(async |plan: Plan| LocalSet::new().run_until(send(plan)).await))
}

async fn send(plan: Plan) -> anyhow::Result<Outcome> {
    let template = Template::new(&plan)?;
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(connect(plan.address).await?);
    }
    let started = Instant::now();
    let counts = Rc::new(Counts::new(plan.until, started)?);
    let mut senders = JoinSet::new();
    for connection in connections {
        senders.spawn_local(keep_sending(connection, template.clone(), counts.clone()));
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let latency = counts.latency.borrow();
    let quantile_ms =
        |quantile| Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1e3;
    Ok(Outcome {
        accepted: counts.accepted.get(),
        refused: counts.refused.get(),
        refusal: counts.refusal.take(),
        seconds: started.elapsed().as_secs_f64(),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
    })
}

/// A connection, ready for requests. It is closed when the sender is dropped.
pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("no connection to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // What goes wrong with the connection is told to the one who sends on it.
    tokio::task::spawn_local(async move { connection.await.is_ok() });
    Ok(sender)
}

/// A request, but for being sent.
#[derive(Clone)]
struct Template {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Template {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let mut key = HeaderValue::try_from(format!("Bearer {}", plan.key))?;
        key.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::try_from(plan.address.to_string())?),
            (header::AUTHORIZATION, key),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        Ok(Self { uri: plan.path.parse()?, headers, body: event(&plan.event_type, plan.payload).into() })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An event in the native form, of the given size where that is more than the least that it needs.
fn event(event_type: &str, size: usize) -> String {
    let start = format!(
        r#"{{"type":"{event_type}","data":{{"order":{{"id":"A-1001","currency":"EUR"}},"amount":1200,"note":""#
    );
    let end = r#""}}"#;
    let padding = size.saturating_sub(start.len() + end.len());
    format!("{start}{}{end}", "x".repeat(padding))
}

/// What the senders share.
struct Counts {
    /// No request starts at this time or later.
    end: Option<Instant>,
    /// How many requests may still start.
    left: Cell<u64>,
    accepted: Cell<Tally>,
    refused: Cell<u64>,
    refusal: Cell<Option<String>>,
    /// In microseconds.
    latency: RefCell<Histogram<u64>>,
}

impl Counts {
    fn new(until: Until, started: Instant) -> anyhow::Result<Self> {
        let (end, left) = match until {
            Until::Elapsed(time) => (Some(started + time), u64::MAX),
            Until::Sent(count) => (None, count),
        };
        Ok(Self {
            end,
            left: Cell::new(left),
            accepted: Cell::default(),
            refused: Cell::default(),
            refusal: Cell::default(),
            // From a microsecond to a minute, which is longer than any run waits for an answer, at three digits.
            latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
        })
    }

    /// Whether another request may start at this time; if so, it is counted as started.
    fn take(&self, now: Instant) -> bool {
        let left = self.left.get();
        let may = left > 0 && self.end.is_none_or(|end| now < end);
        if may {
            self.left.set(left - 1);
        }
        may
    }

    fn note(&self, status: StatusCode, answer: &[u8], took: Duration) {
        if status.is_success() {
            let mut accepted = self.accepted.get();
            accepted.add(accepted_id(answer).map(|id| fingerprint(id.as_bytes())));
            self.accepted.set(accepted);
            self.latency.borrow_mut().saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        } else {
            if self.refused.get() == 0 {
                self.refusal
                    .set(Some(format!("{status}: {}", String::from_utf8_lossy(answer).escape_debug())));
            }
            self.refused.set(self.refused.get() + 1);
        }
    }
}

/// The id in the answer to an accepted event; none in what the bare relay passes on.
fn accepted_id(answer: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Accepted<'a> {
        id: &'a str,
    }
    serde_json::from_slice::<Accepted<'_>>(answer).ok().map(|accepted| accepted.id)
}

async fn keep_sending(
    mut connection: SendRequest<Full<Bytes>>,
    template: Template,
    counts: Rc<Counts>,
) -> anyhow::Result<()> {
    loop {
        let start = Instant::now();
        if !counts.take(start) {
            return Ok(());
        }
        connection.ready().await.context("a connection was closed")?;
        let answer = connection.send_request(template.request()).await.context("a request broke")?;
        let status = answer.status();
        let body = answer.into_body().collect().await.context("an answer broke")?.to_bytes();
        counts.note(status, &body, start.elapsed());
        ensure!(
            counts.refused.get() < REFUSALS,
            "too many refusals, the first one: {:?}",
            counts.refusal.take()
        );
    }
}

/// A gateway that refuses that often does not work, and a loop over refusals measures nothing.
const REFUSALS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_of_the_size_that_was_asked_for() {
        for size in [128, 256, 1024, 65_536] {
            let text = event("bench.event", size);
            assert_eq!(text.len(), size);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["type"], "bench.event");
            assert_eq!(value["data"]["amount"], 1200);
        }
    }

    #[test]
    fn requests_start_until_the_time_or_the_number_is_reached() {
        let now = Instant::now();
        let counts = Counts::new(Until::Sent(2), now).unwrap();
        assert_eq!([counts.take(now), counts.take(now), counts.take(now)], [true, true, false]);
        let second = Duration::from_secs(1);
        let counts = Counts::new(Until::Elapsed(second), now).unwrap();
        assert!(counts.take(now) && !counts.take(now + second));
    }

    #[test]
    fn ids_are_read_from_answers_that_have_one() {
        for (answer, expected) in [
            (&br#"{"id":"evt_1","duplicate":false,"deliveries":1}"#[..], Some("evt_1")),
            (b"", None),
            (b"ok", None),
        ] {
            assert_eq!(accepted_id(answer), expected);
        }
    }

    #[test]
    fn refusals_are_no_latency_and_the_first_is_kept() {
        let counts = Counts::new(Until::Sent(9), Instant::now()).unwrap();
        counts.note(StatusCode::ACCEPTED, br#"{"id":"evt_1"}"#, Duration::from_millis(2));
        counts.note(StatusCode::SERVICE_UNAVAILABLE, b"full", Duration::from_millis(50));
        counts.note(StatusCode::TOO_MANY_REQUESTS, b"slow down", Duration::from_millis(50));
        assert_eq!((counts.accepted.get().count, counts.refused.get()), (1, 2));
        assert_eq!(counts.refusal.take().as_deref(), Some("503 Service Unavailable: full"));
        assert_eq!(counts.latency.borrow().len(), 1);
    }
}
