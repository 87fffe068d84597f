//! The HTTP client: one request to one receiver, under one deadline, told as a [`Report`].
//!
//! It stands at the end of an event's path, after plugins and format and before the attempt is settled. It decides
//! nothing about retries and writes nothing down. It follows no redirect, reads no proxy from the environment, keeps
//! no cookies, inflates nothing, and never lets the body of an answer decide.

mod answer;
mod fault;
mod head;
mod pool;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{Answer, Exchange, InvalidHeader, Outcome, TenantId, Timestamp, Timings};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body as _, Incoming};
use rustls::RootCertStore;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use url::Url;

pub(crate) use self::fault::{Fault, find, span, tls as tls_fault};
use self::pool::{Line, Pool};
pub use self::target::{HttpTarget, Signing};
use crate::backend::Backend;
use crate::guard;
use crate::network::{Network, micros};
use crate::queue;
use crate::text::masked;
use crate::tls;
use crate::{EgressPolicy, InForce, Report, Request, Server, Trust};

/// How much of an answer's body is read and kept. The rest stays unread, and its connection is given up.
const MAX_BODY_BYTES: usize = 16 << 10;

const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The client can't be set up. None of this depends on a target.
#[derive(Debug, Error)]
#[error("failed to set up {part}")]
pub struct Error {
    part: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    pub(crate) fn of<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        part: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self { part, source: source.into() }
    }
}

/// Sends requests under one egress policy. Clones share connections; another policy needs another client, so that no
/// connection outlives the policy that allowed it.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    network: Network,
    pool: Pool,
}

/// A request to make. Kinds of queue whose protocol is HTTP make theirs here too.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) url: &'a Url,
    /// Whom the certificate of an https server must come from.
    pub(crate) trust: &'a Trust,
    /// All of it, to the end of the answer.
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// Asked when there is a connection, before anything is written to it.
    pub(crate) in_force: &'a InForce,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// The addresses that were tried, where none could be reached.
    pub(crate) tried: Vec<String>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, tried: Vec::new() }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    timings: Timings,
}

impl HttpClient {
    /// Trusts the certificate authorities of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; on a
    /// machine that has none, Mozilla's list.
    pub fn new(policy: EgressPolicy) -> Result<Self, Error> {
        Self::with_roots(policy, tls::system().0)
    }

    /// Trusts these certificate authorities and no others.
    pub fn with_roots(policy: EgressPolicy, roots: RootCertStore) -> Result<Self, Error> {
        let network = Network::new(policy, roots)?;
        Ok(Self { shared: Arc::new(Shared { network, pool: Pool::default() }) })
    }

    pub(crate) fn over(http: &Self) -> Self {
        http.clone()
    }

    /// How it dials, for protocols that are not HTTP.
    pub(crate) fn network(&self) -> &Network {
        &self.shared.network
    }

    async fn exchange(
        &self,
        target: &HttpTarget,
        request: Request<'_>,
        now: Timestamp,
    ) -> Result<Reply, Failed> {
        // A retry would send the same: that needs no connection to be known.
        head::check(request.shaped).map_err(Fault::Header)?;
        let post = Post {
            tenant: request.tenant,
            url: &target.url,
            trust: &target.trust,
            timeout: target.timeout,
            connect_timeout: target.connect_timeout,
            in_force: request.in_force,
        };
        self.post(post, || Ok((head::headers(target, request, now)?, request.shaped.body.clone()))).await
    }

    /// Makes a request. What it says is made by `write` when there is a connection, so that nothing is signed that is not
    /// sent at once.
    pub(crate) async fn post(
        &self,
        post: Post<'_>,
        write: impl FnOnce() -> Result<(HeaderMap, Bytes), InvalidHeader>,
    ) -> Result<Reply, Failed> {
        let started = Instant::now();
        let deadline = started + post.timeout;
        guard::check_parsed(post.url, &self.shared.network.policy).map_err(|_| Fault::Blocked)?;
        let key = (post.tenant.clone(), server(post.url, post.trust).ok_or(Fault::Other)?);
        let mut write = Some(write);
        let mut returned = None;
        loop {
            let kept = self.shared.pool.take(&key);
            let is_kept = kept.is_some();
            let (mut line, dialled) = match kept {
                Some(line) => (line, Timings::default()),
                None => self.connect(&key.1, &post, deadline).await?,
            };
            // The last moment: from here on nothing is waited for before the request is handed over.
            if !post.in_force.holds() {
                self.shared.pool.give_back(key, line);
                return Err(Fault::Superseded.into());
            }
            let peer = line.peer;
            guard::check_ip(peer.ip(), peer.port(), &self.shared.network.policy)
                .map_err(|_| Fault::Blocked)?;
            let request = match (returned.take(), write.take()) {
                (Some(request), _) => request,
                (None, Some(write)) => {
                    let (headers, body) = write().map_err(Fault::Header)?;
                    head::request(post.url, headers, body).ok_or(Fault::Other)?
                }
                (None, None) => return Err(Fault::Other.into()),
            };
            let response = match timeout_at(deadline, line.sender.try_send_request(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(mut error)) => {
                    debug!(
                        target: "hookweir::delivery",
                        error = error.error() as &dyn std::error::Error,
                        "request failed"
                    );
                    // A kept connection that the receiver closed meanwhile: not a byte of it was written.
                    returned = error.take_message().filter(|_| is_kept);
                    if returned.is_some() {
                        continue;
                    }
                    return Err(Fault::of(error.error()).into());
                }
                Err(_) => return Err(Fault::NoAnswer(post.timeout).into()),
            };
            let timings = Timings { first_byte_us: Some(micros(started.elapsed())), ..dialled };
            let (reply, is_whole) = read(response, deadline, timings).await;
            if is_whole {
                self.shared.pool.give_back(key, line);
            }
            return Ok(reply);
        }
    }

    /// Makes a connection within the time that it may take.
    async fn connect(
        &self,
        server: &Server,
        post: &Post<'_>,
        deadline: Instant,
    ) -> Result<(Line, Timings), Failed> {
        let limit = Instant::now() + post.connect_timeout;
        let connected = self.shared.network.connect(server, limit.min(deadline)).await.map_err(|error| {
            debug!(target: "hookweir::delivery", ?error, "no connection");
            let fault = match Fault::of_connection(&error, post.connect_timeout) {
                Fault::NoConnection(_) if deadline < limit => Fault::NoAnswer(post.timeout),
                fault => fault,
            };
            Failed { fault, tried: error.tried() }
        })?;
        let timings = connected.timings;
        let line = Line::open(connected).await.map_err(|error| Fault::of(&error))?;
        Ok((line, timings))
    }
}

/// The server that a URL names; `None` for one that names none.
fn server(url: &Url, trust: &Trust) -> Option<Server> {
    let tls = (url.scheme() == "https").then(|| trust.clone());
    Some(Server { host: url.host()?.to_owned(), port: url.port_or_known_default()?, tls })
}

/// A header that holds a credential, or what was made of one.
pub(crate) fn credential(text: &str) -> Result<HeaderValue, queue::Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| queue::Fault::retry("the access key can't be sent as a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Backend for HttpClient {
    type Target = HttpTarget;

    const KIND: &'static str = "http";

    fn address(target: &HttpTarget) -> String {
        target.configured_url.clone()
    }

    fn masked_address(target: &HttpTarget) -> String {
        masked(&target.url)
    }

    /// It ends by the target's timeout, whatever the receiver does.
    async fn send(&self, target: &HttpTarget, request: Request<'_>, now: Timestamp) -> Report {
        let started = Instant::now();
        let reply = self.exchange(target, request, now).await;
        let duration = started.elapsed();
        match reply {
            Ok(Reply { status, headers, body, timings }) => {
                let verdict = answer::judge(status, headers.get(LOCATION), &target.success);
                let is_told = request.in_full || verdict.outcome != Outcome::Delivered;
                Report {
                    outcome: verdict.outcome,
                    reason: verdict.reason,
                    answer: Some(Answer { status: Some(status.as_u16()), body: answer::text(&body) }),
                    duration,
                    retry_after: answer::retry_after(status, &headers, now),
                    gone: verdict.gone,
                    exchange: is_told.then(|| told(target, request, now, Some(&headers), timings)),
                    superseded: false,
                }
            }
            Err(Failed { fault, tried }) => Report {
                outcome: fault.outcome(),
                reason: Some(fault.to_string()),
                answer: None,
                duration,
                retry_after: None,
                gone: false,
                exchange: if !tried.is_empty() {
                    Some(Box::new(Exchange { tried, ..Exchange::default() }))
                } else {
                    let may_have_been_sent = fault.may_have_been_sent();
                    may_have_been_sent.then(|| told(target, request, now, None, Timings::default()))
                },
                superseded: fault == Fault::Superseded,
            },
        }
    }

    async fn close(&self) {
        self.shared.pool.clear();
    }
}

/// The exchange, for those who ask about the attempt. The request's headers are made a second time, which comes out the
/// same: most attempts need no copy of them.
fn told(
    target: &HttpTarget,
    request: Request<'_>,
    now: Timestamp,
    answer: Option<&HeaderMap>,
    timings: Timings,
) -> Box<Exchange> {
    let mut headers = head::headers(target, request, now).unwrap_or_default();
    headers.insert(ACCEPT, ANYTHING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(request.shaped.body.len()));
    headers.extend(head::host(&target.url).map(|host| (HOST, host)));
    let mut request_headers = answer::lines(&headers);
    request_headers.sort_unstable();
    Box::new(Exchange {
        request_headers,
        answer_headers: answer.map(answer::lines).unwrap_or_default(),
        timings,
        tried: Vec::new(),
    })
}

/// Reads what comes until the limit or the deadline. A body that breaks or drips is as good as any other. Says too whether
/// it was read to its end, so that its connection can take another request.
async fn read(response: Response<Incoming>, deadline: Instant, timings: Timings) -> (Reply, bool) {
    let (head, mut body) = response.into_parts();
    let mut read = Vec::new();
    let mut is_whole = body.is_end_stream();
    while read.len() < MAX_BODY_BYTES && !is_whole {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(chunk) = frame.data_ref() {
                    let room = MAX_BODY_BYTES - read.len();
                    read.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                is_whole = body.is_end_stream();
            }
            Ok(None) => is_whole = true,
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    (Reply { status: head.status, headers: head.headers, body: read, timings }, is_whole)
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("policy", &self.shared.network.policy).finish_non_exhaustive()
    }
}
