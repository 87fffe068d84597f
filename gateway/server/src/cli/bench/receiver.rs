//! The receiver: answers every delivery with an empty 200 and counts what is new by its `webhook-id`.
//!
//! It has a second listener that takes connections, reads what comes and never answers: the dead endpoint.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::control;
use super::tally::{Tally, fingerprint};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Command {
    /// Where do you listen?
    Addresses,
    /// Count anew. The ids that have arrived are remembered, so that a late duplicate is one in the next run too.
    Begin,
    /// What has arrived?
    Report,
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
}

/// The child's life.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let arrivals = Arc::new(Mutex::new(Arrivals::new()));
        let answering = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addresses =
            Answer::Addresses { answering: answering.local_addr()?, silent: silent.local_addr()? };
        // Both end with the process, and the process with its standard input.
        tokio::spawn(accept(answering, arrivals.clone()));
        tokio::spawn(swallow(silent));
        control::obey(async |command| {
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(match command {
                Command::Addresses => addresses.clone(),
                Command::Begin => {
                    arrivals.begin();
                    Answer::Done
                }
                Command::Report => Answer::Report(arrivals.report()),
            })
        })
        .await
    })
}

#[derive(Debug)]
struct Arrivals {
    seen: HashSet<u64>,
    arrived: Tally,
    duplicates: u64,
    first_and_last: Option<(Instant, Instant)>,
}

impl Arrivals {
    fn new() -> Self {
        // Room for the ids of a usual bench: a table that grows holds up the receiver in the middle of a run.
        let seen = HashSet::with_capacity(1 << 22);
        Self { seen, arrived: Tally::default(), duplicates: 0, first_and_last: None }
    }

    fn begin(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        *self = Self { seen, arrived: Tally::default(), duplicates: 0, first_and_last: None };
    }

    fn note(&mut self, id: Option<u64>, now: Instant) {
        if id.is_some_and(|id| !self.seen.insert(id)) {
            self.duplicates += 1;
            return;
        }
        self.arrived.add(id);
        self.first_and_last = Some((self.first_and_last.map_or(now, |(first, _)| first), now));
    }

    fn report(&self) -> Report {
        let seconds = self.first_and_last.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        Report { arrived: self.arrived, duplicates: self.duplicates, seconds }
    }
}

async fn accept(listener: TcpListener, arrivals: Arc<Mutex<Arrivals>>) {
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
    let id = request.headers().get("webhook-id").map(|id| fingerprint(id.as_bytes()));
    // Only what came whole is an arrival.
    if request.into_body().collect().await.is_ok() {
        arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(id, Instant::now());
    }
    Ok(Response::new(Empty::new()))
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
        let mut arrivals = Arrivals::new();
        assert_eq!(arrivals.report(), Report::default());
        for (id, millis) in [(1, 100), (2, 300), (1, 900), (3, 600)] {
            arrivals.note(Some(id), at(millis));
        }
        let report = arrivals.report();
        assert_eq!((report.arrived.count, report.duplicates), (3, 1));
        assert!((report.seconds - 0.5).abs() < 1e-9, "a duplicate is not the last arrival: {report:?}");
    }

    #[test]
    fn a_late_duplicate_is_one_in_the_next_run_too() {
        let mut arrivals = Arrivals::new();
        arrivals.note(Some(1), Instant::now());
        arrivals.begin();
        assert_eq!(arrivals.report(), Report::default());
        arrivals.note(Some(1), Instant::now());
        arrivals.note(Some(2), Instant::now());
        assert_eq!((arrivals.report().arrived.count, arrivals.report().duplicates), (1, 1));
    }

    #[test]
    fn what_has_no_id_is_always_new() {
        let mut arrivals = Arrivals::new();
        arrivals.note(None, Instant::now());
        arrivals.note(None, Instant::now());
        assert_eq!((arrivals.report().arrived.count, arrivals.report().duplicates), (2, 0));
    }
}
