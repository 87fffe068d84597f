//! One request that arrived, and how it is shown.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hookweir_delivery::sign::{VerifyingKey, WEBHOOK_ID, WEBHOOK_SIGNATURE, verify_standard};
use hookweir_model::Timestamp;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::cli::show;

/// What the secrets say of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub(super) enum Signature {
    Valid,
    Invalid(String),
    /// It carries none.
    Missing,
    /// It carries one, but no secret was given.
    Unchecked,
}

impl Signature {
    pub(super) fn judge(
        keys: &[VerifyingKey],
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Self {
        if !headers.contains_key(WEBHOOK_SIGNATURE) {
            Self::Missing
        } else if keys.is_empty() {
            Self::Unchecked
        } else {
            match verify_standard(keys, headers, body, now, tolerance) {
                Ok(()) => Self::Valid,
                Err(fault) => Self::Invalid(fault.to_string()),
            }
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Valid => "valid".to_owned(),
            Self::Invalid(reason) => format!("WRONG: {reason}"),
            Self::Missing => "none".to_owned(),
            Self::Unchecked => "not checked: no secret was given".to_owned(),
        }
    }
}

/// A request, whole.
#[derive(Debug)]
pub(super) struct Arrival {
    /// From 1.
    pub number: u64,
    pub received: Timestamp,
    pub signature: Signature,
    pub head: Parts,
    pub body: Bytes,
}

/// An arrival as a line for scripts.
#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    received: String,
    method: &'a str,
    path: String,
    id: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    attempt: Option<u32>,
    signature: &'a Signature,
    /// In the order in which they are looked up, each as text with what is no text replaced.
    headers: Vec<(&'a str, String)>,
    /// The body where it is UTF-8 text.
    body: Option<&'a str>,
    /// The body where it is not text.
    body_base64: Option<String>,
}

/// The part of a body that names the event's type, in the format `envelope`.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    event_type: String,
}

impl Arrival {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn path(&self) -> String {
        self.head.uri.to_string()
    }

    /// From a CloudEvents header, or from the body itself; a body of bare data doesn't tell its type.
    fn event_type(&self) -> Option<String> {
        match self.header("ce-type") {
            Some(event_type) => Some(event_type.to_owned()),
            None => serde_json::from_slice::<Typed>(&self.body).ok().map(|typed| typed.event_type),
        }
    }

    fn attempt(&self) -> Option<u32> {
        self.header("hookweir-attempt")?.parse().ok()
    }

    /// The request for a person.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\n#{}  {}  {} {}\n",
            self.number,
            self.received,
            show::escaped(self.head.method.as_str()),
            show::escaped(&self.path())
        );
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<9}  {}", show::escaped(value));
        };
        if let Some(id) = self.header(WEBHOOK_ID.as_str()) {
            line("id", id);
        }
        if let Some(event_type) = self.event_type() {
            line("type", &event_type);
        }
        if let Some(attempt) = self.attempt() {
            line("attempt", &attempt.to_string());
        }
        line("signature", &self.signature.sentence());
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or("no content type");
        line("body", &format!("{content_type}, {} bytes", self.body.len()));
        text.push_str(&show::data(&self.body, "    "));
        text
    }

    /// The request for a script.
    pub(super) fn json(&self) -> String {
        let body = std::str::from_utf8(&self.body).ok();
        let line = Line {
            number: self.number,
            received: self.received.to_string(),
            method: self.head.method.as_str(),
            path: self.path(),
            id: self.header(WEBHOOK_ID.as_str()),
            event_type: self.event_type(),
            attempt: self.attempt(),
            signature: &self.signature,
            headers: self
                .head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body,
            body_base64: body.is_none().then(|| BASE64.encode(&self.body)),
        };
        // Text, numbers and lists of them always have a form in JSON.
        show::json_line(&serde_json::to_string(&line).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use hookweir_delivery::sign::{Key, WEBHOOK_TIMESTAMP, sign_standard};
    use http::{HeaderValue, Request};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TOLERANCE: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn arrival(headers: &[(&'static str, &str)], body: &[u8], signature: Signature) -> Arrival {
        let mut request = Request::post("/hooks?a=b").body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let head = request.into_parts().0;
        Arrival {
            number: 7,
            received: at(1_769_860_800),
            signature,
            head,
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn a_signature_is_judged_by_what_is_known() {
        let keys = [VerifyingKey::parse(SECRET).unwrap()];
        let signature = sign_standard(&[Key::parse(SECRET).unwrap()], "evt_1", 1000, b"body");
        let mut headers = HeaderMap::new();
        let judge = |keys: &[VerifyingKey], headers: &HeaderMap, body: &[u8]| {
            Signature::judge(keys, headers, body, at(1000), TOLERANCE)
        };
        assert_eq!(judge(&keys, &headers, b"body"), Signature::Missing);
        headers.insert(WEBHOOK_ID, HeaderValue::from_static("evt_1"));
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_static("1000"));
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).unwrap());
        assert_eq!(judge(&[], &headers, b"body"), Signature::Unchecked);
        assert_eq!(judge(&keys, &headers, b"body"), Signature::Valid);
        assert!(matches!(judge(&keys, &headers, b"Body"), Signature::Invalid(_)));
    }

    #[test]
    fn a_person_sees_what_matters_and_no_control_character() {
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", "evt_1"),
            ("hookweir-attempt", "2"),
            ("webhook-signature", "v1,x"),
        ];
        let body = r#"{"type":"order.created","data":{"n":1.50,"t":""}}"#;
        let wrong = Signature::Invalid("no\u{1b} match".to_owned());
        assert_eq!(
            arrival(&headers, body.as_bytes(), wrong).text(),
            "\n#7  2026-01-31T12:00:00.000Z  POST /hooks?a=b\n  id         evt_1\n  type       order.created\n  \
             attempt    2\n  signature  WRONG: no\\u{1b} match\n  body       application/json, 49 bytes\n    {\n      \
             \"type\": \"order.created\",\n      \"data\": {\n        \"n\": 1.50,\n        \"t\": \"\"\n      }\n    }\n"
        );
    }

    #[test]
    fn a_script_gets_everything_on_one_line() {
        let line =
            arrival(&[("x-a", "1"), ("x-a", "é"), ("ce-type", "a.b")], b"\xff\n", Signature::Valid).json();
        assert_eq!(line.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "number": 7,
                "received": "2026-01-31T12:00:00.000Z",
                "method": "POST",
                "path": "/hooks?a=b",
                "id": null,
                "type": "a.b",
                "attempt": null,
                "signature": {"verdict": "valid"},
                "headers": [["x-a", "1"], ["x-a", "é"], ["ce-type", "a.b"]],
                "body": null,
                "body_base64": "/wo=",
            })
        );
        let text = arrival(&[], "\u{9b}".as_bytes(), Signature::Invalid("why".to_owned())).json();
        assert!(text.contains(r#""body":"\u009b""#), "{text}");
        assert!(text.contains(r#""signature":{"verdict":"invalid","reason":"why"}"#), "{text}");
    }
}
