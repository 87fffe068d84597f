//! `kind = "sqs"`: queues of Amazon's SQS, standard and FIFO, over its JSON protocol.
//!
//! Delivered means that the queue has answered with a message id and with the digest of the very body that was sent. A FIFO
//! queue drops a repetition of the event's id for five minutes; a standard queue does not, and readers find the id in the
//! message attribute `webhook-id`.

mod sign;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookweir_model::{Digest, TenantId, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use self::sign::Signed;
use super::gather::{Bounds, Ended, Gather};
use super::smq::Element;
use super::{Fault, Progress, Template, attempt, fingerprint, signed};
use crate::client::{Post, credential};
use crate::text::{hex, is_xml};
use crate::{Backend, HttpClient, InForce, Report, Request, Trust};

const JSON: &str = "application/x-amz-json-1.0";
const SEND: &str = "AmazonSQS.SendMessageBatch";
const DATE_HEADER: HeaderName = HeaderName::from_static("x-amz-date");
const TARGET_HEADER: HeaderName = HeaderName::from_static("x-amz-target");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Messages of one batch, and their bytes together; a larger message goes alone, and the queue judges it.
const MOST_BATCH: usize = 10;
const MOST_BATCH_BYTES: usize = 256 << 10;
/// Requests to one queue under way at a time; more gather into batches.
const REQUESTS: usize = 4;

/// Attributes that a message may have.
const MOST_ATTRIBUTES: usize = 10;
/// The longest name of an attribute.
const LONGEST_NAME: usize = 256;
/// The longest deduplication id.
const LONGEST_ID: usize = 128;

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsTarget {
    /// The queue's URL.
    pub url: Url,
    pub region: String,
    pub access_id: String,
    pub secret: SecretString,
    /// Of temporary credentials.
    pub token: Option<SecretString>,
    /// Set for a FIFO queue: messages of one group keep their order.
    pub group: Option<Template>,
    /// Whether the body is sent in base64: SQS takes text alone.
    pub base64: bool,
    /// Whom the certificate of an https server must come from.
    pub trust: Trust,
    /// The whole attempt.
    pub timeout: Duration,
    pub connect_timeout: Duration,
}

/// The way out to SQS.
#[derive(Debug)]
pub(crate) struct Sqs {
    http: HttpClient,
    gather: Gather<Key, Message>,
}

/// All that a request depends on: tenant, queue and trust, region, access with its token, and the times that it may take.
type Key = (TenantId, String, Trust, String, [u8; 32], [Duration; 2]);

/// One message of a batch.
#[derive(Debug)]
struct Message {
    /// Without its `Id`, which is its place in the batch.
    entry: Map<String, Value>,
    /// Of the body, in hex.
    digest: String,
}

impl Sqs {
    pub(crate) fn over(http: &HttpClient) -> Self {
        let bounds = Bounds { messages: MOST_BATCH, bytes: MOST_BATCH_BYTES, requests: REQUESTS };
        Self { http: http.clone(), gather: Gather::new(bounds) }
    }

    async fn push(
        &self,
        target: &SqsTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let body = body(target, request)?;
        let size = body.len();
        let message = message(target, request, body)?;
        let id = SecretString::from(target.access_id.as_str());
        let secrets: Vec<&SecretString> = [&id, &target.secret].into_iter().chain(&target.token).collect();
        let access = fingerprint("sqs", &secrets);
        let times = [target.timeout, target.connect_timeout];
        let place = (target.url.to_string(), target.trust.clone(), target.region.clone());
        let key = (request.tenant.clone(), place.0, place.1, place.2, access, times);
        let post = || {
            let (http, tenant, target) = (self.http.clone(), request.tenant.clone(), target.clone());
            move |messages: Vec<Message>, in_force: InForce| {
                post(http.clone(), tenant.clone(), target.clone(), messages, in_force)
            }
        };
        progress.hand_over()?;
        self.gather.send(&key, message, size, request.in_force, post).await
    }
}

impl Backend for Sqs {
    type Target = SqsTarget;

    const KIND: &'static str = "sqs";

    fn address(target: &SqsTarget) -> String {
        target.url.to_string()
    }

    async fn send(&self, target: &SqsTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| self.push(target, request, progress).await)
            .await
    }

    /// Its connections are those of the HTTP client.
    async fn close(&self) {}
}

/// Sends messages as a batch, which may be one of one.
async fn post(
    http: HttpClient,
    tenant: TenantId,
    target: SqsTarget,
    messages: Vec<Message>,
    in_force: InForce,
) -> Vec<Ended> {
    let (entries, digests): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .enumerate()
        .map(|(place, Message { mut entry, digest })| {
            entry.insert("Id".to_owned(), place.to_string().into());
            (Value::Object(entry), digest)
        })
        .unzip();
    let call = json!({ "QueueUrl": target.url.as_str(), "Entries": entries });
    let body = Bytes::from(call.to_string());
    let mut url = target.url.clone();
    url.set_path("/");
    let request = Post {
        tenant: &tenant,
        url: &url,
        trust: &target.trust,
        timeout: target.timeout,
        connect_timeout: target.connect_timeout,
        in_force: &in_force,
    };
    let answered = signed::post(&http, request, body, |body, now| headers(&target, body, now)).await;
    match answered.and_then(|answer| read(answer.status, &answer.body)) {
        Err(fault) => vec![Err(fault); digests.len()],
        Ok(answer) => digests.iter().enumerate().map(|(place, digest)| answer.end(place, digest)).collect(),
    }
}

/// The text of the message.
fn body(target: &SqsTarget, request: Request<'_>) -> Result<String, Fault> {
    let bytes = &request.shaped.body;
    if target.base64 {
        return Ok(STANDARD.encode(bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok("") => Err(Fault::rejected(
            "the body is empty, and SQS takes no empty message: set `base64 = true` or a format",
        )),
        // It keeps to the characters of XML in JSON too.
        Ok(text) if text.chars().all(is_xml) => Ok(text.to_owned()),
        _ => Err(Fault::rejected("the body is not text that SQS takes: set `base64 = true`")),
    }
}

fn message(target: &SqsTarget, request: Request<'_>, body: String) -> Result<Message, Fault> {
    // The id first, since a message has room for ten.
    let own = ["webhook-id", "content-type", "hookweir-type"];
    let rank = |name: &str| own.iter().position(|own| *own == name).unwrap_or(own.len());
    let mut headers: Vec<(&str, String)> =
        request.message_headers().filter(|(_, value)| !value.is_empty()).collect();
    headers.sort_by_key(|(name, _)| rank(name));
    headers.truncate(MOST_ATTRIBUTES);
    // The queue would refuse it with all messages that go with it.
    if let Some((name, _)) = headers.iter().find(|(name, _)| !is_attribute(name)) {
        return Err(Fault::rejected(format!(
            "the header {name:?} can't be an attribute in SQS, whose names are letters, digits, '_', '-' and single dots \
             between them, and do not begin with aws. or amazon."
        )));
    }
    let attribute = |(name, value): (&str, String)| {
        (name.to_owned(), json!({ "DataType": "String", "StringValue": value }))
    };
    let attributes: Map<String, Value> = headers.into_iter().map(attribute).collect();
    let digest = hex(&Md5::digest(&body));
    let mut entry = Map::new();
    entry.insert("MessageBody".to_owned(), body.into());
    entry.insert("MessageAttributes".to_owned(), attributes.into());
    if let Some(group) = &target.group {
        entry.insert("MessageGroupId".to_owned(), group.fill(&request).into());
        let id = deduplication_id(request.event.as_str());
        entry.insert("MessageDeduplicationId".to_owned(), id.into());
    }
    Ok(Message { entry, digest })
}

/// Whether SQS takes an attribute of this name.
fn is_attribute(name: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && name.split('.').all(|part| !part.is_empty())
        && !["aws.", "amazon."].iter().any(|prefix| folded.starts_with(prefix))
}

/// The event's id; where it is too long, its digest, which is as good an id.
fn deduplication_id(id: &str) -> String {
    if id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        id.to_owned()
    } else {
        Digest::of(id.as_bytes()).to_string()
    }
}

fn headers(target: &SqsTarget, body: &[u8], now: Timestamp) -> Result<HeaderMap, Fault> {
    let date: String = now.to_seconds_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let host = match (target.url.host_str(), target.url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut signed = vec![("content-type", JSON), ("host", host.as_str()), ("x-amz-date", date.as_str())];
    if let Some(token) = &target.token {
        signed.push(("x-amz-security-token", token.expose_secret()));
    }
    signed.push(("x-amz-target", SEND));
    let signed = Signed { region: &target.region, service: "sqs", date: &date, headers: &signed, body };
    let authorization = signed.authorization(&target.access_id, &target.secret);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(TARGET_HEADER, HeaderValue::from_static(SEND));
    headers.insert(DATE_HEADER, credential(&date)?);
    headers.insert(AUTHORIZATION, credential(&authorization)?);
    if let Some(token) = &target.token {
        headers.insert(TOKEN_HEADER, credential(token.expose_secret())?);
    }
    Ok(headers)
}

/// What became of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    successful: Vec<Sent>,
    #[serde(default)]
    failed: Vec<Failed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    id: String,
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    body_md5: String,
    sequence_number: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    code: String,
    #[serde(default)]
    message: String,
}

/// A request that was refused as a whole.
#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(default)]
    message: String,
    /// Some services spell it so.
    #[serde(rename = "Message", default)]
    other_message: String,
}

fn read(status: StatusCode, body: &[u8]) -> Result<Answer, Fault> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|_| {
            Fault::unknown(format!("answered {} and no JSON of SQS: correct `url`", status.as_u16()))
        });
    }
    if let Ok(Refused { kind, message, other_message }) = serde_json::from_slice(body) {
        let message = if message.is_empty() { other_message } else { message };
        return Err(refusal(kind.rsplit('#').next().unwrap_or(&kind), &message));
    }
    if let Some((code, message)) = read_xml(body) {
        return Err(refusal(&code, &message));
    }
    let reason = format!("answered {}, and neither JSON nor XML of SQS", status.as_u16());
    // A fault of the server itself says nothing of what it did before.
    Err(if status.is_server_error() { Fault::unknown(reason) } else { Fault::retry(reason) })
}

/// The code and the message of a refusal in SQS's older protocol, in which some servers answer whatever they were asked in.
fn read_xml(body: &[u8]) -> Option<(String, String)> {
    let root = Element::parse(body).ok()?;
    let mut error = &root;
    while let Some(inner) =
        error.children.iter().find(|child| matches!(child.name.as_str(), "Errors" | "Error"))
    {
        error = inner;
    }
    let message = error.get("Message").unwrap_or_default();
    Some((error.get("Code")?.to_owned(), message.to_owned()))
}

impl Answer {
    /// What became of the message at a place of the batch.
    fn end(&self, place: usize, digest: &str) -> Ended {
        let id = place.to_string();
        if let Some(failed) = self.failed.iter().find(|failed| failed.id == id) {
            return Err(refusal(&failed.code, &failed.message));
        }
        let Some(sent) = self.successful.iter().find(|sent| sent.id == id) else {
            return Err(Fault::unknown("the broker's answer does not tell of this message"));
        };
        if !sent.body_md5.eq_ignore_ascii_case(digest) {
            return Err(Fault::unknown("the queue tells another digest than that of the message"));
        }
        let sequence = sent.sequence_number.as_ref().map(|number| format!(", sequence {number}"));
        Ok(format!("message {}{}", sent.message_id, sequence.unwrap_or_default()))
    }
}

fn refusal(code: &str, message: &str) -> Fault {
    let what = match code {
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" | "NonExistentQueue" => {
            "the queue does not exist: correct `url`, or create it"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            "the access key is not known: correct `access.id`"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "the secret is not that of the access key, or `region` is not the queue's"
        }
        "AccessDenied" | "AccessDeniedException" => "the access key may not send to the queue",
        "ExpiredToken" | "ExpiredTokenException" => "the session token has expired",
        "RequestThrottled" | "ThrottlingException" | "OverLimit" => "the queue takes no more requests now",
        _ => {
            let Fault { reason, .. } = Fault::refused(code, message);
            // The one refusal of a size that SQS words so; other values that it does not take can be mended.
            let is_too_long = code == "InvalidParameterValue" && message.contains("shorter than");
            return if is_too_long || code == "BatchRequestTooLong" {
                Fault::rejected(reason)
            } else {
                Fault::retry(reason)
            };
        }
    };
    Fault::retry(format!("{what} ({code})"))
}

#[cfg(test)]
mod tests {
    use hookweir_model::{EventId, EventType, Outcome, Shaped};

    use super::*;

    /// The digest of "a".
    const DIGEST: &str = "0cc175b9c0f1b6a831c399e269772661";

    #[test]
    fn each_message_of_a_batch_has_its_own_end() {
        let body = format!(
            r#"{{"Successful": [{{"Id": "1", "MessageId": "m-1", "MD5OfMessageBody": "{DIGEST}"}}],
                "Failed": [{{"Id": "0", "Code": "InternalError", "Message": "x", "SenderFault": false}}]}}"#
        );
        let answer = read(StatusCode::OK, body.as_bytes()).unwrap();
        assert_eq!(answer.end(0, DIGEST).unwrap_err().outcome, Outcome::Retry);
        assert_eq!(answer.end(1, DIGEST), Ok("message m-1".to_owned()));
        assert_eq!(answer.end(1, "another").unwrap_err().outcome, Outcome::Unknown);
        assert_eq!(answer.end(2, DIGEST).unwrap_err().outcome, Outcome::Unknown);
    }

    #[test]
    fn a_name_that_no_attribute_can_have_is_known() {
        let longest = "x".repeat(LONGEST_NAME);
        for name in
            ["webhook-id", "content-type", "hookweir-type", "X_Team.1", "a", "awsome", longest.as_str()]
        {
            assert!(is_attribute(name), "{name}");
        }
        for name in ["", "x!a", "x~", "x'y", ".x", "x.", "x..y", "AWS.x", "amazon.x", &(longest + "x")] {
            assert!(!is_attribute(name), "{name}");
        }
    }

    #[test]
    fn a_message_that_can_not_be_taken_goes_with_no_others() {
        let target = SqsTarget {
            url: "https://sqs.eu-west-1.amazonaws.com/1/q".parse().unwrap(),
            region: "eu-west-1".to_owned(),
            access_id: "id".to_owned(),
            secret: "secret".into(),
            token: None,
            group: None,
            base64: false,
            trust: Trust::System,
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
        };
        for (header, wanted) in [("x-team", true), ("x!team", false)] {
            let shaped = Shaped {
                content_type: "text/plain".to_owned(),
                headers: vec![(header.to_owned(), "1".to_owned())],
                body: Bytes::from_static(b"a"),
            };
            let request = Request {
                tenant: &TenantId::new("acme").unwrap(),
                event: &EventId::new("evt_1").unwrap(),
                event_type: &EventType::new("a.b").unwrap(),
                subject: None,
                attempt: 1,
                shaped: &shaped,
                traceparent: None,
                in_full: false,
                in_force: &InForce::always(),
            };
            let made = message(&target, request, "a".to_owned()).map_err(|fault| fault.outcome);
            assert_eq!(made.map(|_| ()), if wanted { Ok(()) } else { Err(Outcome::Rejected) }, "{header}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, answer, outcome, part) in [
            (
                400,
                r#"{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "x", "Message": "x"}"#,
                Outcome::Retry,
                "does not exist",
            ),
            (403, r#"{"__type": "SignatureDoesNotMatch", "Message": "x"}"#, Outcome::Retry, "the secret"),
            (
                400,
                r#"{"__type": "InvalidParameterValue", "message": "Message must be shorter than 1048576 bytes."}"#,
                Outcome::Rejected,
                "shorter",
            ),
            (400, r#"{"__type": "InvalidParameterValue", "Message": "of a group"}"#, Outcome::Retry, "group"),
            (
                403,
                "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>x</Message></Error>\
                 <RequestId>r</RequestId></ErrorResponse>",
                Outcome::Retry,
                "the access key is not known",
            ),
            (403, "<html><body>no</body></html>", Outcome::Retry, "answered 403, and neither JSON nor XML"),
            (404, "not found", Outcome::Retry, "answered 404"),
            (500, "", Outcome::Unknown, "answered 500"),
            (200, "<html>", Outcome::Unknown, "answered 200"),
        ] {
            let fault = read(StatusCode::from_u16(status).unwrap(), answer.as_bytes()).unwrap_err();
            assert_eq!(fault.outcome, outcome, "{answer}");
            assert!(fault.reason.contains(part), "{answer}: {}", fault.reason);
        }
    }

    #[test]
    fn a_long_id_stands_for_itself_as_a_digest() {
        assert_eq!(deduplication_id("evt_1"), "evt_1");
        assert_eq!(deduplication_id(&"x".repeat(129)).len(), 64);
    }
}
