//! SMQ's own protocol, so that Alibaba's SDKs consume from a queue of the gateway as they are.
//!
//! A request's access key tells which queue may be meant: every other name is one of a queue that is not there. Queues
//! are made by the configuration, so that making and changing them is answered as far as SDKs need it at their start.

mod auth;
mod error;
mod message;
mod operation;
mod request;
mod xml;

use std::sync::Arc;

use bytes::Bytes;
use hookweir_delivery::smq::VERSION;
use hookweir_model::Timestamp;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use self::error::Fault;
use self::request::{Operation, Target};
use self::xml::Writer;
use crate::accept::Accept;
use crate::config::{Destination, Pull};
use crate::listen::{self, Peer, Share};
use crate::live::{Access, Endpoint, Live};
use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-mns-request-id");

/// What is answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// XML, where there is anything to say.
    body: Option<Bytes>,
    location: Option<String>,
    /// Whether the body has its share of the budget already.
    is_held: bool,
}

impl Answer {
    fn xml(status: StatusCode, body: String) -> Self {
        Self { status, body: Some(body.into()), location: None, is_held: false }
    }

    /// Messages, which count until their consumer has read them.
    fn held(body: String, room: Share) -> Result<Self, Fault> {
        let body = listen::hold(body.into(), room).map_err(Fault::no_room)?;
        Ok(Self { status: StatusCode::OK, body: Some(body), location: None, is_held: true })
    }

    const fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, location: None, is_held: false }
    }
}

/// The queue that a request may speak with.
#[derive(Debug)]
struct Open {
    endpoint: Arc<Endpoint>,
    /// The gateway as its caller names it.
    host: String,
}

impl Open {
    /// What the configuration says of it.
    fn settings(&self) -> Result<&Pull, Fault> {
        match &self.endpoint.settings.target {
            Destination::Pull(pull) => Ok(pull),
            Destination::Outside(_) => Err(Fault::no_queue()),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/queues/{}", self.host, self.endpoint.key.endpoint)
    }
}

impl Accept {
    /// Answers whatever comes under `/queues`.
    pub(super) async fn smq(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        let (host, id) = (host(request.headers()), request_id());
        match self.smq_answer(request, &host, peer).await {
            Ok(answer) => respond(answer, &id),
            Err(fault) => refuse(&fault, &host, &id),
        }
    }

    async fn smq_answer(&self, request: Request<Incoming>, host: &str, peer: &Peer) -> Result<Answer, Fault> {
        let (head, body) = request.into_parts();
        let live = self.live.load_full();
        let access = authorize(&live, &head, self.queues.now()).map_err(Fault::before_the_body)?;
        peer.known(Some(&access.queue.tenant));
        let limit = live.config.accept.max_body;
        let body = self.read(&head.headers, body, limit, &access.queue.tenant).await;
        let body = body.map_err(|problem| unread(&problem))?;
        auth::check_digest(&head.headers, &body)?;
        let target = Target::of(head.uri.path()).ok_or_else(Fault::url)?;
        let operation = Operation::of(&head.method, target, head.uri.query().unwrap_or_default())?;
        let endpoint = live.endpoint(&access.queue).ok_or_else(Fault::no_queue)?;
        let open = Open { endpoint: Arc::clone(endpoint), host: host.to_owned() };
        drop(live);
        self.operate(&open, operation, &head.headers, &body).await
    }
}

/// Finds whose request this is, by its signature. `own` is the gateway's own time.
fn authorize<'a>(live: &'a Live, head: &Parts, own: Timestamp) -> Result<&'a Access, Fault> {
    let claim = auth::claim(&head.headers)?;
    let access = live.access(&claim.id).ok_or_else(Fault::unknown_id)?;
    let resource = head.uri.path_and_query().map_or("/", |whole| whole.as_str());
    auth::check(
        &claim,
        &access.secret,
        head.method.as_str(),
        resource,
        &head.headers,
        [Timestamp::now(), own],
    )?;
    Ok(access)
}

/// The gateway as its caller names it. It stands in answers alone.
fn host(headers: &HeaderMap) -> String {
    headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn unread(problem: &Problem) -> Fault {
    match problem {
        Problem::TooLarge(limit) => Fault::too_large(*limit),
        Problem::TooSlow => Fault::too_slow(),
        Problem::Bodies(_) => Fault::busy(problem.detail()).before_the_body(),
        Problem::Encoding => Fault::invalid(problem.detail()).before_the_body(),
        _ => Fault::invalid("the request's body broke off or is not framed as HTTP asks").before_the_body(),
    }
}

fn respond(answer: Answer, request: &str) -> Response<Full<Bytes>> {
    let has_body = answer.body.is_some();
    let mut response = Response::new(Full::new(answer.body.unwrap_or_default()));
    if answer.is_held {
        response.extensions_mut().insert(listen::Held);
    }
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=utf-8"));
    }
    for (name, text) in [(LOCATION, answer.location.as_deref()), (REQUEST_ID, Some(request))] {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert("x-mns-version", HeaderValue::from_static(VERSION));
    response
}

fn refuse(fault: &Fault, host: &str, request: &str) -> Response<Full<Bytes>> {
    let body = Writer::document("Error", |error| {
        error.text("Code", fault.code);
        error.text("Message", &fault.message);
        error.text("RequestId", request);
        error.text("HostId", &format!("http://{host}"));
    });
    let mut response = respond(Answer::xml(fault.status, body), request);
    if fault.leaves_body {
        // Part of the request may be unread: what follows on this connection can't be trusted.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Names a request in an answer, for who asks about it. No secret depends on it.
fn request_id() -> String {
    format!("{:016X}{:08X}", fastrand::u64(..), fastrand::u32(..))
}
