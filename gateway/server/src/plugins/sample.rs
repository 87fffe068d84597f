//! A sample event: what a new component is tried on. The file has the form of a plugin's own test cases,
//! `{"event": {"type": ..., "data": ...}}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hookweir_model::{Event, EventId, EventType, TenantId, Timestamp, check_time};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An event without a tenant. What its file leaves out has the default that an accepted event has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    event_type: EventType,
    id: Option<EventId>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    content_type: String,
    attributes: Vec<(String, String)>,
    data: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'a> {
    #[serde(borrow)]
    event: Written<'a>,
    /// What the plugin's own test runs under; the gateway has its own configuration of the plugin.
    #[serde(default, rename = "config")]
    _config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    data_text: Option<String>,
    data_base64: Option<String>,
    id: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    attributes: Vec<(String, String)>,
}

/// `null` is data too; serde would take it for nothing.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Sample {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let Case { event, .. } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let wrong = |name: &str, error: &dyn std::fmt::Display| format!("{name}: {error}");
        let (data, content_type) = match (event.data, event.data_text, event.data_base64) {
            (Some(json), None, None) => (Bytes::copy_from_slice(json.get().as_bytes()), "application/json"),
            (None, Some(text), None) => (Bytes::from(text), "text/plain; charset=utf-8"),
            (None, None, Some(base64)) => {
                let bytes = BASE64.decode(base64).map_err(|error| wrong("data_base64", &error))?;
                (Bytes::from(bytes), "application/octet-stream")
            }
            _ => return Err("give one of data, data_text and data_base64".to_owned()),
        };
        if let Some(time) = &event.time {
            check_time(time).map_err(|error| wrong("time", &error))?;
        }
        Ok(Self {
            event_type: EventType::new(&event.event_type).map_err(|error| wrong("type", &error))?,
            id: event.id.map(|id| EventId::new(&id).map_err(|error| wrong("id", &error))).transpose()?,
            source: event.source,
            subject: event.subject,
            time: event.time,
            content_type: event.content_type.unwrap_or_else(|| content_type.to_owned()),
            attributes: event.attributes,
            data,
        })
    }

    /// For a tenant that has sent nothing yet.
    pub(crate) fn made_up(event_type: EventType) -> Self {
        Self {
            event_type,
            id: None,
            source: None,
            subject: None,
            time: None,
            content_type: "application/json".to_owned(),
            attributes: Vec::new(),
            data: Bytes::from_static(b"{}"),
        }
    }

    pub(crate) fn event(&self, tenant: &TenantId, received: Timestamp) -> Event {
        Event {
            tenant: tenant.clone(),
            id: self.id.clone().unwrap_or_else(|| EventId::generate(received)),
            event_type: self.event_type.clone(),
            source: self.source.clone().unwrap_or_else(|| format!("/tenants/{tenant}")),
            subject: self.subject.clone(),
            time: self.time.clone().unwrap_or_else(|| received.to_string()),
            received,
            content_type: self.content_type.clone(),
            attributes: self.attributes.clone(),
            ordering_key: None,
            data: self.data.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_an_event() {
        let tenant = TenantId::new("acme").unwrap();
        for (case, content_type, data) in [
            (r#"{"event":{"type":"a","data": {"n":1.0}}}"#, "application/json", r#"{"n":1.0}"#),
            (r#"{"event":{"type":"a","data":null},"config":{"x":1}}"#, "application/json", "null"),
            (r#"{"event":{"type":"a","data_text":"hi"}}"#, "text/plain; charset=utf-8", "hi"),
            (r#"{"event":{"type":"a","data_base64":"aGk="}}"#, "application/octet-stream", "hi"),
            (r#"{"event":{"type":"a","data_text":"<a/>","content_type":"text/xml"}}"#, "text/xml", "<a/>"),
        ] {
            let event = Sample::parse(case.as_bytes()).unwrap().event(&tenant, Timestamp::from_millis(0));
            assert_eq!(
                (event.content_type.as_str(), event.data.as_ref()),
                (content_type, data.as_bytes()),
                "{case}"
            );
            assert_eq!(event.source, "/tenants/acme");
        }
    }

    #[test]
    fn what_is_no_case_says_why() {
        for (case, wanted) in [
            ("", "EOF"),
            (r#"{"event":{"type":"a b","data":1}}"#, "type: an event type"),
            (r#"{"event":{"type":"a"}}"#, "give one of data"),
            (r#"{"event":{"type":"a","data":1,"data_text":"x"}}"#, "give one of data"),
            (r#"{"event":{"type":"a","data_base64":"?"}}"#, "data_base64: "),
            (r#"{"event":{"type":"a","data":1,"time":"noon"}}"#, "time: "),
            (r#"{"event":{"type":"a","data":1,"typo":1}}"#, "unknown field `typo`"),
        ] {
            let reason = Sample::parse(case.as_bytes()).unwrap_err();
            assert!(reason.contains(wanted), "{case}: {reason}");
        }
    }
}
