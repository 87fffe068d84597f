//! The HTTP client: one request to one receiver, under one deadline, told as a [`Report`].
//!
//! It stands at the end of an event's path, after plugins and format and before the attempt is settled. It decides
//! nothing about retries and writes nothing down. It follows no redirect, reads no proxy from the environment, keeps
//! no cookies, inflates nothing, and never lets the body of an answer decide.

mod answer;
mod connect;
mod dial;
mod fault;
mod head;
mod target;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{Answer, Exchange, Outcome, Timestamp, Timings};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpInfo;
use rustls::RootCertStore;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use url::Url;

use self::connect::Pool;
pub(crate) use self::dial::looked_up;
use self::dial::{First, micros};
pub(crate) use self::fault::{Fault, find, span, tls as tls_fault};
pub use self::target::{HttpTarget, Signing};
use crate::backend::Backend;
use crate::guard;
use crate::network::Network;
use crate::queue;
use crate::tls;
use crate::{EgressPolicy, Report, Request};

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
    pools: Mutex<HashMap<PoolKey, Pool>>,
}

/// The two things that differ between targets and belong to a connection. Both come from the configuration, so that
/// there are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PoolKey {
    port: u16,
    connect_timeout: Duration,
}

/// A request to make. Kinds of queue whose protocol is HTTP make theirs here too.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// All of it, to the end of the answer.
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
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
        Self::with_roots(policy, tls::system_roots())
    }

    /// Trusts these certificate authorities and no others.
    pub fn with_roots(policy: EgressPolicy, roots: RootCertStore) -> Result<Self, Error> {
        let network = Network::new(policy, roots)?;
        Ok(Self { shared: Arc::new(Shared { network, pools: Mutex::new(HashMap::new()) }) })
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
    ) -> Result<Reply, Fault> {
        let post = Post {
            url: target.url.clone(),
            headers: head::headers(target, request, now)?,
            body: request.shaped.body.clone(),
            timeout: target.timeout,
            connect_timeout: target.connect_timeout,
        };
        self.post(post).await
    }

    pub(crate) async fn post(&self, post: Post) -> Result<Reply, Fault> {
        let Post { url, headers, body, timeout, connect_timeout } = post;
        let started = Instant::now();
        let deadline = started + timeout;
        // The connector asks the resolver about names alone and dials a literal address unseen.
        guard::check_parsed(&url, &self.shared.network.policy).map_err(|_| Fault::Blocked)?;
        let port = url.port_or_known_default().unwrap_or(0);
        let uri = Uri::try_from(url.as_str()).map_err(|_| Fault::Other)?;
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        // Firewalls take a request without it for a robot's.
        request.headers_mut().entry(ACCEPT).or_insert(ANYTHING);
        let pool = self.shared.pool(PoolKey { port, connect_timeout });
        let response = match timeout_at(deadline, pool.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "request failed");
                return Err(Fault::of(&error, connect_timeout));
            }
            Err(_) => return Err(Fault::NoAnswer(timeout)),
        };
        // The resolver handed out judged addresses alone; this holds whatever the layers between make of them.
        if let Some(connection) = response.extensions().get::<HttpInfo>() {
            let peer = connection.remote_addr();
            guard::check_ip(peer.ip(), peer.port(), &self.shared.network.policy)
                .map_err(|_| Fault::Blocked)?;
        }
        let (head, body) = response.into_parts();
        let dialled = head.extensions.get::<First>().and_then(First::take).unwrap_or_default();
        let timings = Timings { first_byte_us: Some(micros(started.elapsed())), ..dialled };
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body: read_body(body, deadline).await,
            timings,
        })
    }
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
                    retry_after: answer::retry_after(status, headers.get(RETRY_AFTER), now),
                    gone: verdict.gone,
                    exchange: is_told.then(|| told(target, request, now, Some(&headers), timings)),
                }
            }
            Err(fault) => Report {
                outcome: fault.outcome(),
                reason: Some(fault.to_string()),
                answer: None,
                duration,
                retry_after: None,
                gone: false,
                exchange: fault
                    .may_have_been_sent()
                    .then(|| told(target, request, now, None, Timings::default())),
            },
        }
    }

    async fn close(&self) {
        self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
    let authority = HeaderValue::from_str(target.url.authority().rsplit('@').next().unwrap_or_default());
    headers.extend(authority.ok().map(|authority| (HOST, authority)));
    let mut request_headers = answer::lines(&headers);
    request_headers.sort_unstable();
    Box::new(Exchange {
        request_headers,
        answer_headers: answer.map(answer::lines).unwrap_or_default(),
        timings,
    })
}

/// Reads what comes until the limit or the deadline. A body that breaks or drips is as good as any other.
async fn read_body(mut body: Incoming, deadline: Instant) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < MAX_BODY_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        if let Some(chunk) = frame.data_ref() {
            let room = MAX_BODY_BYTES - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    }
    read
}

impl Shared {
    fn pool(&self, key: PoolKey) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(key).or_insert_with(|| connect::pool(&self.network, key)).clone()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("policy", &self.shared.network.policy).finish_non_exhaustive()
    }
}
