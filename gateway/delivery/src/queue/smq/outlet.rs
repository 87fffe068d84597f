//! `kind = "smq"`: queues of Alibaba's Simple Message Queue, formerly MNS, over its HTTP protocol.
//!
//! Delivered means that the queue has answered with a message id. The protocol has no place for an id of ours by which a
//! repetition would be dropped; `event_id` puts the event's id into a user property, where readers can see it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookweir_model::{TenantId, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::warn;
use url::Url;

use super::{
    MAX_BATCH, MAX_MESSAGE_BYTES, Message, Signed, VERSION, batch_send_message, body_md5, error, send_message,
};
use crate::client::{Post, credential};
use crate::queue::gather::{Bounds, Ended, Gather};
use crate::queue::{Fault, Progress, attempt, fingerprint, signed};
use crate::text::is_xml;
use crate::{Backend, HttpClient, InForce, Report, Request, Trust};

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-mns-version");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("security-token");
const XML: &str = "text/xml;charset=UTF-8";

/// Requests to one queue under way at a time; more gather into batches.
const REQUESTS: usize = 4;

/// A queue of SMQ.
#[derive(Debug, Clone)]
pub struct SmqTarget {
    /// Scheme and host, without a path.
    pub url: Url,
    pub queue: String,
    pub access_id: String,
    pub secret: SecretString,
    /// Of temporary credentials.
    pub token: Option<SecretString>,
    /// Whether the body is sent in base64, as the protocol's own libraries do.
    pub base64: bool,
    pub priority: Option<u8>,
    pub delay: Option<Duration>,
    /// Whether the event's id goes along as the user property `webhook-id`.
    pub event_id: bool,
    /// Whom the certificate of an https server must come from.
    pub trust: Trust,
    /// The whole attempt.
    pub timeout: Duration,
    pub connect_timeout: Duration,
}

/// The way out to SMQ.
#[derive(Debug)]
pub(crate) struct Smq {
    http: HttpClient,
    gather: Gather<Key, Ready>,
}

/// A message as it goes out.
#[derive(Debug)]
struct Ready {
    xml: String,
    /// Of its body, as the queue tells it.
    digest: String,
}

/// All that a request depends on: tenant, address and trust, queue, access with its token, and the times that it may take.
type Key = (TenantId, String, Trust, String, [u8; 32], [Duration; 2]);

impl Smq {
    pub(crate) fn over(http: &HttpClient) -> Self {
        let bounds = Bounds { messages: MAX_BATCH, bytes: MAX_MESSAGE_BYTES, requests: REQUESTS };
        Self { http: http.clone(), gather: Gather::new(bounds) }
    }

    async fn push(
        &self,
        target: &SmqTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let message = message(target, request)?;
        let size = message.body.len();
        let id = SecretString::from(target.access_id.as_str());
        let secrets: Vec<&SecretString> = [&id, &target.secret].into_iter().chain(&target.token).collect();
        let access = fingerprint("smq", &secrets);
        let times = [target.timeout, target.connect_timeout];
        let place = (target.url.to_string(), target.trust.clone(), target.queue.clone());
        let key = (request.tenant.clone(), place.0, place.1, place.2, access, times);
        let message = Ready { xml: message.xml(), digest: body_md5(&message.body) };
        let post = || {
            let (http, tenant, target) = (self.http.clone(), request.tenant.clone(), target.clone());
            move |messages: Vec<Ready>, in_force: InForce| {
                post(http.clone(), tenant.clone(), target.clone(), messages, in_force)
            }
        };
        progress.hand_over()?;
        self.gather.send(&key, message, size, request.in_force, post).await
    }
}

impl Backend for Smq {
    type Target = SmqTarget;

    const KIND: &'static str = "smq";

    fn address(target: &SmqTarget) -> String {
        format!("{} {}", target.url.origin().ascii_serialization(), target.queue)
    }

    async fn send(&self, target: &SmqTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| self.push(target, request, progress).await)
            .await
    }

    /// Its connections are those of the HTTP client.
    async fn close(&self) {}
}

/// The message for an event, if the queue can take it.
fn message(target: &SmqTarget, request: Request<'_>) -> Result<Message, Fault> {
    let body = if target.base64 {
        STANDARD.encode(&request.shaped.body)
    } else {
        match std::str::from_utf8(&request.shaped.body) {
            // A carriage return would come out as a line feed.
            Ok(text) if text.chars().all(|c| is_xml(c) && c != '\r') => text.to_owned(),
            _ => {
                return Err(Fault::rejected("the body is not text that XML can hold: set `base64 = true`"));
            }
        }
    };
    if body.len() > MAX_MESSAGE_BYTES {
        let (size, encoded) = (body.len(), if target.base64 { " in base64" } else { "" });
        return Err(Fault::rejected(format!(
            "the message has {size} bytes{encoded}, and a queue takes at most {MAX_MESSAGE_BYTES}"
        )));
    }
    let id = target.event_id.then(|| ("webhook-id".to_owned(), request.event.to_string()));
    Ok(Message {
        body,
        delay: target.delay.map(|delay| u32::try_from(delay.as_secs()).unwrap_or(u32::MAX)),
        priority: target.priority,
        properties: id.into_iter().collect(),
    })
}

/// Sends one message, or several as a batch.
async fn post(
    http: HttpClient,
    tenant: TenantId,
    target: SmqTarget,
    messages: Vec<Ready>,
    in_force: InForce,
) -> Vec<Ended> {
    let body = match messages.as_slice() {
        [message] => send_message(&message.xml),
        messages => batch_send_message(messages.iter().map(|message| message.xml.as_str())),
    };
    let resource = format!("/queues/{}/messages", target.queue);
    let mut url = target.url.clone();
    url.set_path(&resource);
    let request = Post {
        tenant: &tenant,
        url: &url,
        trust: &target.trust,
        timeout: target.timeout,
        connect_timeout: target.connect_timeout,
        in_force: &in_force,
    };
    let sign = |_: &[u8], now| headers(&target, &resource, now);
    let answered = signed::post(&http, request, Bytes::from(body), sign).await;
    match answered {
        Err(fault) => vec![Err(fault); messages.len()],
        Ok(answer) => {
            let ends = error::ends(answer.status, &answer.body, messages.len());
            ends.into_iter()
                .zip(&messages)
                .map(|(end, message)| end.map(|sent| told(&sent, &message.digest)))
                .collect()
        }
    }
}

/// What the queue acknowledged. It names the digest of the body that it has; another one is no reason to send it again.
fn told(sent: &error::Sent, digest: &str) -> String {
    if sent.body_md5.as_ref().is_some_and(|told| !told.eq_ignore_ascii_case(digest)) {
        warn!(
            target: "hookweir::delivery",
            message = sent.id,
            "the queue tells another digest of the body than that of what was sent"
        );
    }
    format!("message {}", sent.id)
}

fn headers(target: &SmqTarget, resource: &str, now: Timestamp) -> Result<HeaderMap, Fault> {
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + now.since(Timestamp::from_millis(0)));
    let signed = Signed {
        method: "POST",
        content_md5: "",
        content_type: XML,
        date: &date,
        mns_headers: &[("x-mns-version", VERSION)],
        resource,
    };
    let authorization = format!("MNS {}:{}", target.access_id, signed.signature(&target.secret));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    headers.insert(AUTHORIZATION, credential(&authorization)?);
    headers.insert(DATE, credential(&date)?);
    if let Some(token) = &target.token {
        headers.insert(TOKEN_HEADER, credential(token.expose_secret())?);
    }
    Ok(headers)
}
