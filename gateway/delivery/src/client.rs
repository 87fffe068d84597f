//! The HTTP client: one request to one receiver, under one deadline, told as a [`Report`].
//!
//! It stands at the end of an event's path, after plugins and format and before the attempt is settled. It decides
//! nothing about retries and writes nothing down. It follows no redirect, reads no proxy from the environment, keeps
//! no cookies, inflates nothing, and never lets the body of an answer decide.

mod answer;
mod fault;
mod head;
mod target;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{Answer, Timestamp};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use rustls::RootCertStore;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use url::Url;

pub(crate) use self::fault::{Fault, find, span, tls as tls_fault};
pub use self::target::{HttpTarget, Signing};
use crate::backend::Backend;
use crate::guard;
use crate::network::Network;
use crate::queue;
use crate::resolve::Guarded;
use crate::tls;
use crate::{EgressPolicy, Report, Request};

/// How much of an answer's body is read and kept. The rest stays unread, and its connection is given up.
const MAX_BODY_BYTES: usize = 16 << 10;

/// Many servers close an idle connection after 5 s. Whoever closes first loses no request.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Enough for the busiest endpoint; bounds what a burst leaves open.
const MAX_IDLE_PER_HOST: usize = 64;

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
    pools: Mutex<HashMap<PoolKey, reqwest::Client>>,
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
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
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
        let shared = Shared { network, pools: Mutex::new(HashMap::new()) };
        // A pool is built when its first request comes, and must not fail then.
        let probe = PoolKey { port: 443, connect_timeout: Duration::from_secs(5) };
        shared.build(probe).map_err(Error::of("the connection pool"))?;
        Ok(Self { shared: Arc::new(shared) })
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
    ) -> Result<Exchange, Fault> {
        let post = Post {
            url: target.url.clone(),
            headers: head::headers(target, request, now)?,
            body: request.shaped.body.clone(),
            timeout: target.timeout,
            connect_timeout: target.connect_timeout,
        };
        self.post(post).await
    }

    pub(crate) async fn post(&self, post: Post) -> Result<Exchange, Fault> {
        let Post { url, headers, body, timeout, connect_timeout } = post;
        let deadline = Instant::now() + timeout;
        // The connector asks the resolver about names alone and dials a literal address unseen.
        guard::check_parsed(&url, &self.shared.network.policy).map_err(|_| Fault::Blocked)?;
        let port = url.port_or_known_default().unwrap_or(0);
        let pool = self.shared.pool(PoolKey { port, connect_timeout })?;
        let sending = pool.post(url).headers(headers).body(body).send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                // A URL may hold a token, so that it stays out of the log.
                let error = error.without_url();
                debug!(error = &error as &dyn std::error::Error, "request failed");
                return Err(Fault::of(&error, connect_timeout));
            }
            Err(_) => return Err(Fault::NoAnswer(timeout)),
        };
        // The resolver handed out judged addresses alone; this holds whatever the layers between make of them.
        if let Some(peer) = response.remote_addr() {
            guard::check_ip(peer.ip(), peer.port(), &self.shared.network.policy)
                .map_err(|_| Fault::Blocked)?;
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Exchange { status, headers, body: read_body(response, deadline).await })
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
        let exchange = self.exchange(target, request, now).await;
        let duration = started.elapsed();
        match exchange {
            Ok(Exchange { status, headers, body }) => {
                let verdict = answer::judge(status, &target.success);
                Report {
                    outcome: verdict.outcome,
                    reason: verdict.reason,
                    answer: Some(Answer { status: Some(status.as_u16()), body: answer::text(&body) }),
                    duration,
                    retry_after: answer::retry_after(status, headers.get(RETRY_AFTER), now),
                    gone: verdict.gone,
                }
            }
            Err(fault) => Report {
                outcome: fault.outcome(),
                reason: Some(fault.to_string()),
                answer: None,
                duration,
                retry_after: None,
                gone: false,
            },
        }
    }

    async fn close(&self) {
        self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Reads what comes until the limit or the deadline. A body that breaks or drips is as good as any other.
async fn read_body(mut response: reqwest::Response, deadline: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES
        && let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await
    {
        let room = MAX_BODY_BYTES - body.len();
        body.extend(chunk.into_iter().take(room));
    }
    body
}

impl Shared {
    fn pool(&self, key: PoolKey) -> Result<reqwest::Client, Fault> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let pool = self.build(key).map_err(|_| Fault::Other)?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }

    fn build(&self, key: PoolKey) -> Result<reqwest::Client, reqwest::Error> {
        let resolver = Guarded { network: self.network.clone(), port: key.port };
        reqwest::Client::builder()
            .dns_resolver(resolver)
            .tls_backend_preconfigured((*self.network.tls).clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(key.connect_timeout)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .build()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("policy", &self.shared.network.policy).finish_non_exhaustive()
    }
}
