//! An event in a file, as `events/*.json` of a plugin's folder hold them.
//!
//! ```json
//! {"event": {"type": "order.created", "data": {"total": 25000}}, "config": {"minimum": 10000}}
//! ```
//! All of the event but its type may be left out. `data` is any JSON, which the plugin gets without the blanks between
//! its parts; `data_text` and `data_base64` stand for data that is not JSON, or whose exact bytes count. `config` takes
//! the place of the plugin's own.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hookweir_model::{Event, EventId, EventType, TenantId, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An event, and the configuration to call the plugin with if it is not the plugin's own.
#[derive(Debug)]
pub(crate) struct Case {
    pub event: Event,
    /// JSON text.
    pub config: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    event: WrittenEvent,
    config: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEvent {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default = "made_up_id")]
    id: String,
    #[serde(default = "made_up_source")]
    source: String,
    subject: Option<String>,
    #[serde(default = "made_up_time")]
    time: String,
    content_type: Option<String>,
    #[serde(default)]
    attributes: Vec<(String, String)>,
    #[serde(default, deserialize_with = "given")]
    data: Option<Box<RawValue>>,
    data_text: Option<String>,
    data_base64: Option<String>,
}

/// `null` is data too; an option by itself would take it for nothing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    <Box<RawValue>>::deserialize(deserializer).map(Some)
}

fn made_up_id() -> String {
    "evt_0198c1d2e3f47a6b8c9d0e1f2a3b4c5d".to_owned()
}

fn made_up_source() -> String {
    "/events".to_owned()
}

fn made_up_time() -> String {
    "2026-01-02T03:04:05Z".to_owned()
}

impl Case {
    /// Reads the text of a case. The event is one of this tenant.
    pub(crate) fn parse(text: &str, tenant: &TenantId) -> Result<Self> {
        let Written { event, config } = serde_json::from_str(text)?;
        let config = config.map(|config| compact(config.get()));
        if let Some(config) = &config {
            ensure!(config.starts_with('{'), "`config` is not a table");
        }
        Ok(Self { event: event.into_event(tenant)?, config: config.map(Into::into) })
    }

    /// An event for want of a better one.
    pub(crate) fn made_up(tenant: &TenantId) -> Result<Event> {
        Ok(Self::parse(r#"{"event": {"type": "sample.event", "data": {}}}"#, tenant)?.event)
    }
}

impl WrittenEvent {
    fn into_event(self, tenant: &TenantId) -> Result<Event> {
        let (content_type, data) = match (self.data, self.data_text, self.data_base64) {
            (Some(json), None, None) => ("application/json", compact(json.get()).into_bytes()),
            (None, Some(text), None) => ("application/json", text.into_bytes()),
            (None, None, Some(text)) => {
                ("application/octet-stream", BASE64.decode(text).context("`data_base64` is not base64")?)
            }
            (None, None, None) => ("application/json", Vec::new()),
            _ => anyhow::bail!("give one of `data`, `data_text` and `data_base64`"),
        };
        Ok(Event {
            tenant: tenant.clone(),
            id: EventId::new(&self.id).context("`id`")?,
            event_type: EventType::new(&self.event_type).context("`type`")?,
            source: self.source,
            subject: self.subject,
            time: self.time,
            received: Timestamp::from_millis(0),
            content_type: self.content_type.unwrap_or_else(|| content_type.to_owned()),
            attributes: self.attributes,
            ordering_key: None,
            data: Bytes::from(data),
        })
    }
}

/// JSON text without the blanks between its parts. Numbers and the order of keys stay as they are.
pub(crate) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in json.chars() {
        if in_string || !matches!(letter, ' ' | '\t' | '\r' | '\n') {
            text.push(letter);
        }
        in_string ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Case> {
        Case::parse(text, &TenantId::new("t").unwrap())
    }

    #[test]
    fn data_comes_in_three_ways() {
        for (event, data) in [
            (r#""data": {"b" : [1.50, "a \" b"] }"#, r#"{"b":[1.50,"a \" b"]}"#.as_bytes()),
            (r#""data": null"#, b"null"),
            (r#""data_text": " {} ""#, b" {} "),
            (r#""data_base64": "AP8=""#, b"\0\xff"),
            (r#""subject": "s""#, b""),
        ] {
            let case = parse(&format!(r#"{{"event": {{"type": "a.b", {event}}}}}"#)).unwrap();
            assert_eq!(case.event.data.as_ref(), data, "{event}");
        }
        let whole = r#"{"event": {"type": "a", "id": "x", "source": "s", "time": "t", "content_type": "c",
                        "attributes": [["k", "v"], ["k", "w"]]}, "config": { "a": 1 }}"#;
        let case = parse(whole).unwrap();
        assert_eq!(case.config.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!((case.event.id.as_str(), case.event.content_type.as_str()), ("x", "c"));
        assert_eq!(case.event.attributes.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("{}", "missing field `event`"),
            (r#"{"event": {"data": 1}}"#, "missing field `type`"),
            (r#"{"event": {"type": "a", "dat": 1}}"#, "unknown field `dat`"),
            (r#"{"event": {"type": "a", "data": 1, "data_text": ""}}"#, "one of `data`"),
            (r#"{"event": {"type": "a b"}}"#, "`type`"),
            (r#"{"event": {"type": "a", "data_base64": "?"}}"#, "not base64"),
            (r#"{"event": {"type": "a"}, "config": 1}"#, "not a table"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_made_up_event_is_sound() {
        let event = Case::made_up(&TenantId::new("t").unwrap()).unwrap();
        assert_eq!((event.event_type.as_str(), event.data.as_ref()), ("sample.event", b"{}".as_slice()));
    }
}
