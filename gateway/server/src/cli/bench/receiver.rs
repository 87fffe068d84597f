//! The receiver: answers every delivery with an empty 200 and counts what is new by its `webhook-id` and by the endpoint
//! that its path names. On one path it refuses every tenth event when it comes for the first time.
//!
//! It has a second listener that takes connections, reads what comes and never answers: the dead endpoint. And it has
//! consumers, which fetch the messages of a queue.

use std::cell::Cell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use super::latency::{Latencies, Quantiles};
use super::load::{self, Access};
use super::scenario::FLAKY;
use super::tally::{Tally, delivery, fingerprint};
use super::{clock, control};
use crate::api::{AnswerRequest, Messages, ReceiveRequest};

/// It may hold a key and has no `Debug` for that reason.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Command {
    /// Where do you listen?
    Addresses,
    /// Count anew. The ids that have arrived are remembered, so that a late duplicate is one in the next run too.
    Begin,
    /// What has arrived?
    Report,
    /// Fetch a queue's messages until the end.
    Consume { address: SocketAddr, queue: Access, consumers: usize },
    /// Fetch no more.
    Stop,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    Addresses { answering: SocketAddr, silent: SocketAddr },
    Done,
    Report(Report),
}

/// What has arrived since the last beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) arrived: Tally,
    /// Requests for an event that had arrived before.
    pub(super) duplicates: u64,
    /// From the first new event to the last.
    pub(super) seconds: f64,
    /// From when an event was sent, or was to be sent, to its arrival.
    pub(super) latency: Quantiles,
}

type Shared = Arc<Mutex<Arrivals>>;

/// The child's life.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let arrivals = Arc::new(Mutex::new(Arrivals::new()?));
        let answering = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addresses =
            Answer::Addresses { answering: answering.local_addr()?, silent: silent.local_addr()? };
        // Both end with the process, and the process with its standard input.
        tokio::spawn(accept(answering, arrivals.clone()));
        tokio::spawn(swallow(silent));
        let mut consumers = Consumers::default();
        control::obey(async |command| {
            match command {
                Command::Addresses => return Ok(addresses.clone()),
                Command::Begin => lock(&arrivals).begin(),
                Command::Report => return Ok(Answer::Report(lock(&arrivals).report())),
                Command::Consume { address, queue, consumers: number } => {
                    for _ in 0..number {
                        let connection = load::connect(address).await?;
                        consumers.start(connection, queue.clone(), arrivals.clone());
                    }
                }
                Command::Stop => consumers.stop().await?,
            }
            Ok(Answer::Done)
        })
        .await
    }))
}

fn lock(arrivals: &Mutex<Arrivals>) -> std::sync::MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Arrivals {
    seen: HashSet<u64>,
    /// What was refused once.
    refused: HashSet<u64>,
    arrived: Tally,
    duplicates: u64,
    first_and_last: Option<(Instant, Instant)>,
    latencies: Latencies,
}

impl Arrivals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            // Room for the ids of a usual bench: a table that grows holds up the receiver in the middle of a run.
            seen: HashSet::with_capacity(1 << 22),
            refused: HashSet::new(),
            arrived: Tally::default(),
            duplicates: 0,
            first_and_last: None,
            latencies: Latencies::new()?,
        })
    }

    fn begin(&mut self) {
        self.arrived = Tally::default();
        self.duplicates = 0;
        self.first_and_last = None;
        self.latencies.clear();
    }

    /// Whether this is one of the tenth that is refused at first, and comes for the first time.
    fn refuses(&mut self, delivery: u64) -> bool {
        delivery.is_multiple_of(10) && !self.seen.contains(&delivery) && self.refused.insert(delivery)
    }

    fn note(&mut self, delivery: Option<u64>, age: Option<Duration>, now: Instant) {
        if delivery.is_some_and(|delivery| !self.seen.insert(delivery)) {
            self.duplicates += 1;
            return;
        }
        self.arrived.add(delivery);
        self.first_and_last = Some((self.first_and_last.map_or(now, |(first, _)| first), now));
        if let Some(age) = age {
            self.latencies.note(age);
        }
    }

    fn report(&self) -> Report {
        let seconds = self.first_and_last.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let (arrived, duplicates) = (self.arrived, self.duplicates);
        Report { arrived, duplicates, seconds, latency: self.latencies.quantiles() }
    }
}

async fn accept(listener: TcpListener, arrivals: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| take_in(request, &arrivals));
            // A sender that breaks off is no matter of the receiver's: the bench sees what is missing.
            stream.set_nodelay(true).is_ok()
                && http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.is_ok()
        });
    }
}

async fn take_in(
    request: Request<Incoming>,
    arrivals: &Mutex<Arrivals>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let path = head.uri.path();
    // The relay's requests name no endpoint and have no id.
    let endpoint = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let event = id.map(|id| delivery(fingerprint(id.as_bytes()), endpoint));
    let mut response = Response::new(Empty::new());
    // Only what came whole is an arrival.
    if let Ok(body) = body.collect().await {
        let body = body.to_bytes();
        let age = id.or_else(|| relayed_id(&body)).and_then(|id| clock::age(id, clock::now()));
        let mut arrivals = lock(arrivals);
        if path.starts_with(FLAKY) && event.is_some_and(|event| arrivals.refuses(event)) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        } else {
            arrivals.note(event, age, Instant::now());
        }
    }
    Ok(response)
}

/// The id in what the load sent, as the relay passes it on.
fn relayed_id(body: &[u8]) -> Option<&str> {
    let id = body.strip_prefix(load::START.as_bytes())?.get(..clock::ID_LENGTH)?;
    std::str::from_utf8(id).ok()
}

/// Those who fetch the messages of a queue, each on a connection of its own.
#[derive(Debug, Default)]
struct Consumers {
    running: JoinSet<anyhow::Result<()>>,
    stop: Rc<Cell<bool>>,
}

impl Consumers {
    fn start(&mut self, connection: SendRequest<Full<Bytes>>, queue: Access, arrivals: Shared) {
        self.running.spawn_local(consume(connection, queue, arrivals, self.stop.clone()));
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.set(true);
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        self.stop.set(false);
        Ok(())
    }
}

/// Fetches up to ten messages at a time, and answers for them: only then have they arrived.
async fn consume(
    mut connection: SendRequest<Full<Bytes>>,
    queue: Access,
    arrivals: Shared,
    stop: Rc<Cell<bool>>,
) -> anyhow::Result<()> {
    let wanted = ReceiveRequest { max: Some(10), wait: Some("1s".to_owned()), visibility_timeout: None };
    while !stop.get() {
        let answer = post(&mut connection, &queue, "receive", &wanted).await?;
        let Messages { messages, .. } = serde_json::from_slice(&answer)?;
        if messages.is_empty() {
            continue;
        }
        let receipts = messages.iter().filter_map(|message| message.receipt.clone()).collect();
        let done = AnswerRequest { receipts, delay: None, visibility_timeout: None };
        post(&mut connection, &queue, "ack", &done).await?;
        let mut arrivals = lock(&arrivals);
        for message in &messages {
            let id = message.id.as_str();
            let event = fingerprint(id.as_bytes());
            arrivals.note(Some(event), clock::age(id, clock::now()), Instant::now());
        }
    }
    Ok(())
}

async fn post(
    connection: &mut SendRequest<Full<Bytes>>,
    queue: &Access,
    operation: &str,
    body: &impl Serialize,
) -> anyhow::Result<Bytes> {
    let request = Request::post(format!("{}/{operation}", queue.path))
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", queue.key))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(serde_json::to_vec(body)?.into()))?;
    connection.ready().await.context("a consumer's connection was closed")?;
    let answer = connection.send_request(request).await.context("a consumer's request broke")?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("a consumer's answer broke")?.to_bytes();
    ensure!(
        status.is_success(),
        "{operation} was answered with {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}

/// Reads without ever answering, so that a connection is let go when its sender gives up.
async fn swallow(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move { discard(&mut stream).await.is_ok() });
    }
}

async fn discard(stream: &mut TcpStream) -> std::io::Result<u64> {
    tokio::io::copy(stream, &mut tokio::io::sink()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_event_is_new_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut arrivals = Arrivals::new().unwrap();
        assert_eq!(arrivals.report(), Report::default());
        for (id, millis) in [(1, 100), (2, 300), (1, 900), (3, 600)] {
            arrivals.note(Some(id), Some(Duration::from_millis(millis)), at(millis));
        }
        let report = arrivals.report();
        assert_eq!((report.arrived.count, report.duplicates), (3, 1));
        assert!((report.seconds - 0.5).abs() < 1e-9, "a duplicate is not the last arrival: {report:?}");
        assert!((report.latency.p999_ms - 600.0).abs() < 1.0, "nor the slowest one: {report:?}");
    }

    #[test]
    fn a_late_duplicate_is_one_in_the_next_run_too() {
        let mut arrivals = Arrivals::new().unwrap();
        arrivals.note(Some(1), None, Instant::now());
        arrivals.begin();
        assert_eq!(arrivals.report(), Report::default());
        arrivals.note(Some(1), None, Instant::now());
        arrivals.note(Some(2), None, Instant::now());
        assert_eq!((arrivals.report().arrived.count, arrivals.report().duplicates), (1, 1));
    }

    #[test]
    fn what_has_no_id_is_always_new() {
        let mut arrivals = Arrivals::new().unwrap();
        arrivals.note(None, None, Instant::now());
        arrivals.note(None, None, Instant::now());
        assert_eq!((arrivals.report().arrived.count, arrivals.report().duplicates), (2, 0));
    }

    #[test]
    fn a_tenth_is_refused_once() {
        let mut arrivals = Arrivals::new().unwrap();
        let refused = |arrivals: &mut Arrivals| (0..100).filter(|event| arrivals.refuses(*event)).count();
        assert_eq!((refused(&mut arrivals), refused(&mut arrivals)), (10, 0));
        arrivals.note(Some(200), None, Instant::now());
        assert!(!arrivals.refuses(200), "what has arrived is not refused when it comes again");
    }
}
