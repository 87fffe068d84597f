//! The load: senders, each on a connection of its own.
//!
//! In a closed loop each sends its next event when the answer to the last one is there. In an open loop events are due
//! at a fixed rate, whatever the answers do: one that finds no free sender waits, and its latency runs from when it was
//! due, so that a gateway that stalls is not spared the events that would have come meanwhile.
//!
//! One thread runs all senders, so that the load takes the same small part of the machine whatever is measured. It
//! never repeats a request: one that breaks ends the run.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinSet, LocalSet};

use super::latency::{Latencies, Quantiles};
use super::tally::{Tally, delivery, fingerprint};
use super::{clock, control};

/// What to send, where and how long. It holds keys and has no `Debug` for that reason.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    /// Who sends, in turn.
    pub(super) tenants: Vec<Access>,
    pub(super) event_type: String,
    /// Bytes of each request's body.
    pub(super) payload: usize,
    pub(super) connections: usize,
    /// How many deliveries each accepted event has.
    pub(super) fan_out: usize,
    /// Events a second in an open loop; none in a closed one.
    pub(super) rate: Option<u32>,
    pub(super) until: Until,
}

/// Where a tenant's requests go, and the key for them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) path: String,
    pub(super) key: String,
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
    /// Events that were answered with 2xx.
    pub(super) accepted: u64,
    /// Their deliveries.
    pub(super) expected: Tally,
    /// Answers that were not 2xx, and the first of them.
    pub(super) refused: u64,
    pub(super) refusal: Option<String>,
    pub(super) seconds: f64,
    /// From the start of a request, or when it was due, to the end of its answer.
    pub(super) latency: Quantiles,
}

/// The child's life: a run for each command.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Senders share their counts without locks: they never leave this thread.
    runtime.block_on(control::obey(async |plan: Plan| LocalSet::new().run_until(send(plan)).await))
}

async fn send(plan: Plan) -> anyhow::Result<Outcome> {
    let template = Rc::new(Template::new(&plan)?);
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(connect(plan.address).await?);
    }
    let started = Instant::now();
    let counts = Rc::new(Counts::new(&plan, started)?);
    let schedule = plan.rate.map(|rate| Rc::new(Mutex::new(schedule(rate, started))));
    let mut senders = JoinSet::new();
    for connection in connections {
        let (template, counts, schedule) = (template.clone(), counts.clone(), schedule.clone());
        senders.spawn_local(keep_sending(connection, template, counts, schedule));
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let latency = counts.latency.borrow().quantiles();
    Ok(Outcome {
        accepted: counts.accepted.get(),
        expected: counts.expected.get(),
        refused: counts.refused.get(),
        refusal: counts.refusal.take(),
        seconds: started.elapsed().as_secs_f64(),
        latency,
    })
}

type Schedule = Mutex<mpsc::UnboundedReceiver<Instant>>;

/// The times at which events are due, each told when it has come. A thread of its own tells them, since the runtime's
/// timer counts in milliseconds. It ends when nobody listens any more.
fn schedule(rate: u32, started: Instant) -> mpsc::UnboundedReceiver<Instant> {
    let (tell, due) = mpsc::unbounded_channel();
    let every = Duration::from_secs(1) / rate;
    std::thread::spawn(move || {
        let mut next = started;
        while tell.send(next).is_ok() {
            next += every;
            while let wait = next.saturating_duration_since(Instant::now())
                && !wait.is_zero()
            {
                std::thread::park_timeout(wait);
            }
        }
    });
    due
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

/// Requests, but for their ids.
struct Template {
    /// Path and headers of each tenant.
    tenants: Vec<(Uri, HeaderMap)>,
    /// The body before and after the event's id.
    start: String,
    end: String,
    turn: Cell<usize>,
}

impl Template {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let host = HeaderValue::try_from(plan.address.to_string())?;
        let tenant = |sender: &Access| {
            let mut key = HeaderValue::try_from(format!("Bearer {}", sender.key))?;
            key.set_sensitive(true);
            let headers = HeaderMap::from_iter([
                (header::HOST, host.clone()),
                (header::AUTHORIZATION, key),
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            ]);
            anyhow::Ok((sender.path.parse()?, headers))
        };
        let tenants: Vec<_> = plan.tenants.iter().map(tenant).collect::<Result<_, _>>()?;
        ensure!(!tenants.is_empty(), "nobody is to send");
        let (start, end) = event(&plan.event_type, plan.payload);
        Ok(Self { tenants, start, end, turn: Cell::new(0) })
    }

    /// A request of the tenant whose turn it is.
    fn request(&self, id: &str) -> Request<Full<Bytes>> {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.tenants.len());
        let (uri, headers) = &self.tenants[turn];
        let body = [&*self.start, id, &*self.end].concat();
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        request
    }
}

/// What stands before an event's id.
pub(super) const START: &str = r#"{"id":""#;

/// An event in the native form, of the given size where that is more than the least that it needs: what stands before
/// its id and after it. The shipped plugins find in it what they want, and so do those of `examples/`.
fn event(event_type: &str, size: usize) -> (String, String) {
    let start = START.to_owned();
    let middle = format!(
        r#"","type":"{event_type}","data":{{"order":{{"id":"A-1001","currency":"EUR"}},"amount":1200,"id":"A-1001","total":120000,"items":[{{"sku":"a-1","quantity":2,"price":100}},{{"sku":"b-2","quantity":1,"price":350}}],"note":""#
    );
    let end = r#""}}"#;
    let padding = size.saturating_sub(start.len() + clock::ID_LENGTH + middle.len() + end.len());
    (start, format!("{middle}{}{end}", "x".repeat(padding)))
}

/// What the senders share.
struct Counts {
    /// No request starts at this time or later.
    end: Option<Instant>,
    /// How many requests may still start.
    left: Cell<u64>,
    fan_out: u64,
    accepted: Cell<u64>,
    expected: Cell<Tally>,
    refused: Cell<u64>,
    refusal: Cell<Option<String>>,
    latency: RefCell<Latencies>,
}

impl Counts {
    fn new(plan: &Plan, started: Instant) -> anyhow::Result<Self> {
        let (end, left) = match plan.until {
            Until::Elapsed(time) => (Some(started + time), u64::MAX),
            Until::Sent(count) => (None, count),
        };
        Ok(Self {
            end,
            left: Cell::new(left),
            fan_out: u64::try_from(plan.fan_out)?,
            accepted: Cell::default(),
            expected: Cell::default(),
            refused: Cell::default(),
            refusal: Cell::default(),
            latency: RefCell::new(Latencies::new()?),
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
            self.accepted.set(self.accepted.get() + 1);
            let id = accepted_id(answer).map(|id| fingerprint(id.as_bytes()));
            let mut expected = self.expected.get();
            (0..self.fan_out).for_each(|endpoint| expected.add(id.map(|id| delivery(id, endpoint))));
            self.expected.set(expected);
            self.latency.borrow_mut().note(took);
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
    template: Rc<Template>,
    counts: Rc<Counts>,
    schedule: Option<Rc<Schedule>>,
) -> anyhow::Result<()> {
    loop {
        let start = match &schedule {
            None => Instant::now(),
            Some(schedule) => schedule.lock().await.recv().await.context("the schedule broke off")?,
        };
        if !counts.take(start) {
            return Ok(());
        }
        connection.ready().await.context("a connection was closed")?;
        let late = u64::try_from(start.elapsed().as_nanos())?;
        let id = clock::id(clock::now().saturating_sub(late));
        let answer = connection.send_request(template.request(&id)).await.context("a request broke")?;
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

    fn plan(until: Until) -> Plan {
        Plan {
            address: SocketAddr::from(([127, 0, 0, 1], 80)),
            tenants: vec![
                Access { path: "/a".to_owned(), key: "1".to_owned() },
                Access { path: "/b".to_owned(), key: "2".to_owned() },
            ],
            event_type: "bench.event".to_owned(),
            payload: 1024,
            connections: 1,
            fan_out: 5,
            rate: None,
            until,
        }
    }

    #[test]
    fn an_event_is_json_of_the_size_that_was_asked_for() {
        for size in [512, 1024, 65_536] {
            let (start, end) = event("bench.event", size);
            let id = clock::id(1);
            let text = [start, id.clone(), end].concat();
            assert_eq!(text.len(), size);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&value["id"], &value["type"]), (&id.into(), &"bench.event".into()));
            assert_eq!(value["data"]["amount"], 1200);
        }
    }

    #[test]
    fn tenants_take_turns() {
        let template = Template::new(&plan(Until::Sent(3))).unwrap();
        let sent = std::array::from_fn(|_| {
            let request = template.request("evt_1");
            let key = request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
            (request.uri().path().to_owned(), key)
        });
        assert_eq!(sent, [("/a", "Bearer 1"), ("/b", "Bearer 2"), ("/a", "Bearer 1")].map(owned));
    }

    fn owned((path, key): (&str, &str)) -> (String, String) {
        (path.to_owned(), key.to_owned())
    }

    #[test]
    fn requests_start_until_the_time_or_the_number_is_reached() {
        let now = Instant::now();
        let counts = Counts::new(&plan(Until::Sent(2)), now).unwrap();
        assert_eq!([counts.take(now), counts.take(now), counts.take(now)], [true, true, false]);
        let second = Duration::from_secs(1);
        let counts = Counts::new(&plan(Until::Elapsed(second)), now).unwrap();
        assert!(counts.take(now) && !counts.take(now + second));
    }

    #[tokio::test]
    async fn events_are_due_at_their_rate_and_not_before() {
        let started = Instant::now();
        let mut due = schedule(1000, started);
        for number in 0..5 {
            let told = due.recv().await.unwrap();
            assert_eq!(told, started + Duration::from_millis(number));
            assert!(Instant::now() >= told);
        }
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
        let counts = Counts::new(&plan(Until::Sent(9)), Instant::now()).unwrap();
        counts.note(StatusCode::ACCEPTED, br#"{"id":"evt_1"}"#, Duration::from_millis(2));
        counts.note(StatusCode::SERVICE_UNAVAILABLE, b"full", Duration::from_millis(50));
        counts.note(StatusCode::TOO_MANY_REQUESTS, b"slow down", Duration::from_millis(50));
        assert_eq!((counts.accepted.get(), counts.expected.get().count, counts.refused.get()), (1, 5, 2));
        assert_eq!(counts.refusal.take().as_deref(), Some("503 Service Unavailable: full"));
        let p999_ms = counts.latency.borrow().quantiles().p999_ms;
        assert!((p999_ms - 2.0).abs() < 0.1, "{p999_ms}");
    }
}
