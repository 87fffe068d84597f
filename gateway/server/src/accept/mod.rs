//! The way in: from a connection to an event on disk and a 202.
//!
//! The key comes before the body, the sync before the answer. It never waits for a delivery: dispatch is handed the event
//! after the journal has it, and the two meet nowhere else.

mod hygiene;
mod native;
mod queue;
mod quota;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hookweir_journal::{Appended, Journal, NewEvent};
use hookweir_model::{Digest, TenantId, Timestamp};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::Quota;
use crate::dispatch::Dispatcher;
use crate::listen::{self, Budgets, Connections, Peer};
use crate::live::{Live, Tenant};
use crate::metrics::{Metrics, Stage};
use crate::operational;
use crate::problem::{Problem, json};
use crate::pull::Queues;
use crate::role::Action;
use crate::telemetry::Traces;
use crate::to_the_end::ToTheEnd;

pub(crate) use self::quota::Quotas;
use self::quota::{Kind, Over};

/// Connections at a time, where there are descriptors enough.
pub(crate) const CONNECTIONS: usize = 10_000;
/// The longest idempotency key.
const MAX_KEY: usize = 255;

const STOPPING: Problem = Problem::Unavailable {
    detail: "the gateway is stopping and took nothing of this request: send it again, over another connection",
    retry_after: 5,
};

/// What a request to send an event needs.
#[derive(Debug)]
pub(crate) struct Accept {
    pub live: Arc<ArcSwap<Live>>,
    pub metrics: Arc<Metrics>,
    pub journal: Arc<dyn Journal>,
    pub queues: Arc<Queues>,
    pub quotas: Quotas,
    pub path: Arc<Path>,
    pub budgets: Budgets,
    /// Cancelled when the gateway stops: from then on requests are refused.
    pub stop: CancellationToken,
}

/// Where an event goes once it is known to be one.
#[derive(Debug)]
pub(crate) struct Path {
    pub journal: Arc<dyn Journal>,
    pub dispatcher: Dispatcher,
    pub metrics: Arc<Metrics>,
    pub traces: Traces,
    /// Cancelled when the journal can't be relied on any more.
    pub broken: CancellationToken,
}

/// Serves until `stop`, then refuses for a moment, and finishes the requests that are under way.
pub(crate) async fn serve(
    listener: TcpListener,
    connections: Arc<Connections>,
    accept: Arc<Accept>,
    stop: CancellationToken,
) {
    let answer = move |request, from: listen::From| {
        let accept = Arc::clone(&accept);
        async move { accept.handle(request, &from.peer).await }
    };
    listen::serve("accept", listener, connections, answer, stop).await;
}

impl Accept {
    /// Answers any request.
    pub(crate) async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let answered = if request.uri().path() == "/healthz" {
            hygiene::check(&request).map(|()| self.health(request.method()))
        } else if self.stop.is_cancelled() {
            Err(STOPPING)
        } else {
            match queue::Route::of(request.uri().path()) {
                Some(route) => self.queue(&route, request, peer).await,
                None => {
                    self.answer(request, peer).await.map(|accepted| json(StatusCode::ACCEPTED, &accepted))
                }
            }
        };
        let answered = match answered {
            Ok(response) => {
                let share = || self.budgets.answers.share(peer.tenant(), 0);
                listen::count(response, share).await.map_err(Problem::answers)
            }
            Err(problem) => Err(problem),
        };
        answered.unwrap_or_else(|problem| {
            let close = problem.leaves_body() || problem == STOPPING;
            let mut response = problem.into_response();
            if close {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }

    /// For load balancers: 200 until the gateway stops. It says nothing else, so it asks for no key.
    fn health(&self, method: &Method) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Problem::Method(Some("GET")).into_response();
        }
        let is_stopping = self.stop.is_cancelled();
        let (status, text) = match is_stopping {
            true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            false => (StatusCode::OK, "ok\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if is_stopping {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Result<api::Accepted, Problem> {
        let accepted = self.event(request, peer).await;
        accepted.inspect_err(|problem| self.metrics.rejected(problem.name()))
    }

    async fn event(&self, request: Request<Incoming>, peer: &Peer) -> Result<api::Accepted, Problem> {
        let clock = Instant::now();
        hygiene::check(&request)?;
        let (head, body) = request.into_parts();
        let live = self.live.load();
        let id = head.uri.path().strip_prefix("/v1/tenants/").and_then(|rest| rest.strip_suffix("/events"));
        let tenant = tenant(&live, id.ok_or(Problem::NotFound("resource"))?, &head.headers)?;
        peer.known(Some(&tenant.id));
        if head.method != Method::POST {
            return Err(Problem::Method(Some("POST")));
        }
        let quota = tenant.quota;
        self.quotas
            .count(&tenant.id, &quota, Instant::now())
            .map_err(|over| self.over(&tenant.id, &quota, over))?;
        media_type(&head.headers)?;
        let idempotency_key = idempotency_key(&head.headers)?;
        let body = self.read(&head.headers, body, live.config.accept.max_body, &tenant.id).await?;

        let received = Timestamp::now();
        let event = native::parse(&body, &tenant.id, trace_context(&head.headers), received)?;
        let endpoints = tenant.matching(&event.event_type);
        drop(live);
        self.metrics.stage(Stage::Accept, clock.elapsed());
        if let Some(limit) = quota.pending_size {
            self.room(&tenant.id, &quota, limit).await?;
        }

        let fingerprint = Digest::of(&body);
        drop(body);
        let new = NewEvent { event: Arc::new(event), fingerprint, idempotency_key, endpoints };
        // A sender that hangs up now must not part the event on disk from its lanes.
        ToTheEnd::new(keep(Arc::clone(&self.path), new, clock)).await
    }

    /// The whole body of a tenant's request.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        limit: usize,
        tenant: &TenantId,
    ) -> Result<Bytes, Problem> {
        encoding(headers)?;
        let share = || self.budgets.requests.share(Some(tenant.clone()), limit);
        Ok(listen::read(headers, body, limit, share).await?)
    }

    /// Whether the bytes that wait for a tenant leave room for another event.
    async fn room(&self, tenant: &TenantId, quota: &Quota, limit: u64) -> Result<(), Problem> {
        let waiting = self.journal.pending_bytes(tenant).await?;
        let (judged, tell) = self.quotas.room(tenant, limit, waiting, Instant::now());
        if tell {
            let now = Timestamp::now();
            self.path.dispatcher.announce(operational::tenant_backlog(tenant, waiting, limit, now));
        }
        judged.map_err(|over| self.over(tenant, quota, over))
    }

    /// The answer to an event that is over a quota. The tenant is told when that begins.
    fn over(&self, tenant: &TenantId, quota: &Quota, over: Over) -> Problem {
        let (limit, detail) = match over.kind {
            Kind::EventsPerSecond => {
                let limit = quota.events_per_second.unwrap_or_default();
                (
                    u64::from(limit),
                    format!("the tenant may send {limit} events a second: send them more slowly"),
                )
            }
            Kind::PendingSize => {
                let limit = quota.pending_size.unwrap_or_default();
                let detail = format!(
                    "deliveries of {limit} bytes wait for the tenant's endpoints, as many as may: see which endpoint \
                     fails, and send again when they are delivered"
                );
                (limit, detail)
            }
        };
        if over.begins {
            let event = operational::quota_reached(tenant, over.kind.as_str(), limit, Timestamp::now());
            self.path.dispatcher.announce(event);
        }
        let seconds = over.retry_after.as_secs_f64().ceil();
        // From 1 to what fits: far below what the type holds.
        Problem::Quota { detail, retry_after: (seconds as u32).max(1) }
    }
}

/// Finds whose request this is. Without a known key nothing is said about which tenants there are; with a key, every
/// other tenant looks as one that is not there.
fn tenant(live: &Live, id: &str, headers: &HeaderMap) -> Result<Arc<Tenant>, Problem> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(bearer)
        .ok_or(Problem::Unauthorized)?;
    if live.config.may_be_off(id) {
        // Its keys are not known either. It was taken before, and a sender that tries again loses nothing.
        return Err(Problem::Unavailable {
            detail: "the tenant's configuration can't be read at the moment; try again later",
            retry_after: 30,
        });
    }
    // An operator's key is for the admin listener: it does not send events.
    let caller = live.caller(token).ok_or(Problem::Unauthorized)?;
    let own = caller.tenant.as_ref().ok_or(Problem::Unauthorized)?;
    if own.as_str() != id {
        return Err(Problem::NotFound("tenant"));
    }
    caller.may(Action::Send)?;
    live.tenant(id).cloned().ok_or(Problem::NotFound("tenant"))
}

/// Keeps the event, whose head came in at `since`, and, once it is on disk, hands it to the lanes. The one place where an
/// event becomes accepted.
async fn keep(path: Arc<Path>, new: NewEvent, since: Instant) -> Result<api::Accepted, Problem> {
    let clock = Instant::now();
    let (event, endpoints) = (Arc::clone(&new.event), new.endpoints.clone());
    let appended = path.journal.append(vec![new]).await.inspect_err(|error| {
        if matches!(error, hookweir_journal::Error::Unknown(_)) {
            path.broken.cancel();
        }
    })?;
    let journal = clock.elapsed();
    path.metrics.stage(Stage::Journal, journal);
    match appended.into_iter().next() {
        Some(Appended::Stored { seq }) => {
            path.metrics.accepted();
            path.traces.accepted(&event, None, since, journal, endpoints.len());
            path.dispatcher.offer(&event, seq, &endpoints);
            Ok(api::Accepted { id: event.id.clone(), duplicate: false, deliveries: endpoints.len() })
        }
        Some(Appended::Duplicate { id, deliveries }) => {
            path.traces.accepted(&event, Some(&id), since, journal, deliveries);
            Ok(api::Accepted { id, duplicate: true, deliveries })
        }
        Some(Appended::Conflict { id }) => Err(Problem::Conflict(format!(
            "the id or the idempotency key belongs to event {id}, which was sent with other bytes"
        ))),
        None => Err(Problem::Internal),
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn media_type(headers: &HeaderMap) -> Result<(), Problem> {
    const WANTED: &str = "send the event as application/json: {\"type\": ..., \"data\": ...}";
    const CLOUDEVENTS: &str = "CloudEvents are not taken by this version; send the event as application/json: {\"type\": ..., \"data\": ...}";
    if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
        return Err(Problem::MediaType(CLOUDEVENTS));
    }
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else if essence.to_ascii_lowercase().starts_with("application/cloudevents") {
        Err(Problem::MediaType(CLOUDEVENTS))
    } else {
        Err(Problem::MediaType(WANTED))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()) && values.next().is_none());
    let wrong =
        || Problem::Malformed(format!("send one Idempotency-Key of 1 to {MAX_KEY} visible ASCII characters"));
    key.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

/// The sender's trace context, if it is well-formed; it is kept with the event and passed on.
fn trace_context(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = value.split('-');
    let well_formed =
        [2, 32, 16, 2].into_iter().all(|length| parts.next().is_some_and(|part| hex(part, length)));
    (well_formed && parts.next().is_none()).then_some(value)
}

/// Refuses a body that would have to be decoded first: what is signed, hashed and kept are the bytes that come.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_none = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if codings.into_iter().all(is_none) { Ok(()) } else { Err(Problem::Encoding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn bearer_tokens() {
        for (value, wanted) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("Bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("", None),
        ] {
            assert_eq!(bearer(value), wanted, "{value:?}");
        }
    }

    #[test]
    fn media_types() {
        for (value, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/cloudevents+json", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(media_type(&headers(&[("content-type", value)])).is_ok(), taken, "{value:?}");
        }
        assert!(media_type(&headers(&[("content-type", "application/json"), ("ce-id", "1")])).is_err());
        assert!(media_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn encoded_bodies_are_refused() {
        for (value, taken) in [
            ("identity", true),
            ("Identity, identity", true),
            ("", true),
            ("gzip", false),
            ("identity, gzip", false),
            ("br", false),
        ] {
            assert_eq!(encoding(&headers(&[("content-encoding", value)])).is_ok(), taken, "{value:?}");
        }
        assert!(encoding(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn trace_contexts() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_context(&headers(&[("traceparent", good)])), Some(good));
        for bad in
            ["", "00-0af7", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", &format!("{good}-x")]
        {
            assert_eq!(trace_context(&headers(&[("traceparent", bad)])), None, "{bad:?}");
        }
    }

    #[test]
    fn idempotency_keys() {
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert_eq!(idempotency_key(&headers(&[("idempotency-key", "k1")])), Ok(Some("k1".to_owned())));
        assert!(idempotency_key(&headers(&[("idempotency-key", "")])).is_err());
        assert!(idempotency_key(&headers(&[("idempotency-key", &"k".repeat(256))])).is_err());
        let mut two = headers(&[("idempotency-key", "a")]);
        two.append("idempotency-key", "b".parse().unwrap());
        assert!(idempotency_key(&two).is_err());
    }
}
