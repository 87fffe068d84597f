//! `hookweir listen`: a receiver on this machine that shows what arrives and whether its signature is right.
//!
//! It stands where an endpoint of a tenant would, and is made for looking: it keeps nothing and refuses nothing that
//! it can read, so a wrong signature is shown and still answered as asked.

mod arrival;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hookweir_delivery::sign::VerifyingKey;
use hookweir_model::Timestamp;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::arrival::{Arrival, Signature};
use super::secret_args::SecretArgs;
use super::{Exit, show};

/// More than a gateway sends; a receiver for looking at requests need not hold a film.
const MAX_BODY: usize = 16 << 20;
/// A sender that is slower than this is taken for gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// More connections than a gateway's endpoint opens; the rest wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// What Standard Webhooks libraries allow between the timestamp and their own clock.
const TOLERANCE: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hookweir listen --port 9000
  HOOKWEIR_SECRET=whsec_... hookweir listen --port 9000 --status 500
  hookweir listen --port 0 --json | jq .body

A gateway sends to this machine only where its configuration allows it:
  [egress]
  allow_cidrs = [\"127.0.0.0/8\"]
  allow_ports = [9000]")]
pub(crate) struct Args {
    /// The port to listen on at 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 9000)]
    port: u16,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The status to answer every request with
    #[arg(long, value_name = "N", default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Reads a final status: one below 200 would leave the sender waiting.
fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if (200..=599).contains(&status.as_u16()) => Ok(status),
        _ => Err("give a status of 200 to 599".to_owned()),
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let keys = args.secrets.verifying_if_any()?;
    // Before the address is told: whoever has read it may end this at once.
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.with_context(|| {
        format!("can't listen on port {}: choose another one, or 0 for a free one", args.port)
    })?;
    let address = listener.local_addr().context("can't tell the address")?;
    show::print(&greeting(address, args.json))?;

    let receiver = Arc::new(Receiver {
        keys,
        status: args.status,
        json: args.json,
        arrived: AtomicU64::new(0),
        unread: Mutex::new(None),
        done: CancellationToken::new(),
    });
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = receiver.done.cancelled() => {}
        result = accept(&listener, &receiver) => result?,
    }
    match receiver.unread.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error.into()),
        None => Ok(Exit::Done),
    }
}

fn greeting(address: SocketAddr, json: bool) -> String {
    if json {
        format!("{{\"listening\":\"http://{address}\"}}\n")
    } else {
        format!("listening on http://{address}\n")
    }
}

/// Takes connections until it is dropped, and all of them with it: a receiver that ends owes nobody an answer.
async fn accept(listener: &TcpListener, receiver: &Arc<Receiver>) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let (stream, _) = accepted.context("can't take connections")?;
                connections.spawn(serve(stream, Arc::clone(receiver)));
            }
        }
    }
}

async fn serve(stream: TcpStream, receiver: Arc<Receiver>) {
    let service = service_fn(|request| receiver.receive(request));
    // A connection that breaks is the sender's affair: what it sent in whole has been shown.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[derive(Debug)]
struct Receiver {
    keys: Vec<VerifyingKey>,
    status: StatusCode,
    json: bool,
    arrived: AtomicU64,
    /// Why nobody reads the output any more.
    unread: Mutex<Option<std::io::Error>>,
    done: CancellationToken,
}

impl Receiver {
    async fn receive(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
        let status = match body {
            Ok(Ok(body)) => {
                self.show(head, body.to_bytes());
                self.status
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => StatusCode::PAYLOAD_TOO_LARGE,
            Ok(Err(_)) => StatusCode::BAD_REQUEST,
            Err(_) => StatusCode::REQUEST_TIMEOUT,
        };
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        Ok(response)
    }

    fn show(&self, head: Parts, body: Bytes) {
        let now = Timestamp::now();
        let arrival = Arrival {
            number: self.arrived.fetch_add(1, Ordering::Relaxed) + 1,
            received: now,
            signature: Signature::judge(&self.keys, &head.headers, &body, now, TOLERANCE),
            head,
            body,
        };
        let text = if self.json { arrival.json() } else { arrival.text() };
        if let Err(error) = show::print(&text) {
            *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.done.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_final_status_can_be_answered() {
        for (text, wanted) in
            [("200", Some(200)), ("599", Some(599)), ("100", None), ("600", None), ("", None), ("ok", None)]
        {
            assert_eq!(status(text).ok().map(|status| status.as_u16()), wanted, "{text}");
        }
    }

    #[test]
    fn the_address_is_told_in_the_form_of_the_rest() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9000));
        assert_eq!(greeting(address, false), "listening on http://127.0.0.1:9000\n");
        assert_eq!(greeting(address, true), "{\"listening\":\"http://127.0.0.1:9000\"}\n");
    }
}
