//! The body of a request: what the last transformer made, or the event's own bytes, in the endpoint's format.

use hookweir_model::{Event, Shaped, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::config::Format;

/// The event can't be put into the endpoint's format, whenever it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("format {format:?} needs data that is JSON, and this is not")]
pub(crate) struct NotJson {
    format: &'static str,
}

/// The envelope of Standard Webhooks.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: &'a str,
    data: &'a RawValue,
}

/// The message of Alibaba's IMS callbacks; the order of its members is that of the documentation's samples.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImsMessage<'a> {
    event_type: &'a str,
    user_id: u64,
    event_time: &'a str,
    message_body: &'a RawValue,
}

/// Wraps what a chain of plugins left of `event`. The data inside an envelope keeps its exact text.
pub(crate) fn wrap(format: Format, event: &Event, content: Shaped) -> Result<Shaped, NotJson> {
    let (name, body) = match format {
        Format::Data => return Ok(content),
        Format::Envelope => {
            let data = json(&content.body, "envelope")?;
            let envelope = Envelope { event_type: event.event_type.as_str(), timestamp: &event.time, data };
            ("envelope", serde_json::to_vec(&envelope))
        }
        Format::Ims { user_id } => {
            let message_body = json(&content.body, "ims")?;
            let event_time = Timestamp::parse(&event.time).unwrap_or(event.received).to_seconds_string();
            let message = ImsMessage {
                event_type: event.event_type.as_str(),
                user_id,
                event_time: &event_time,
                message_body,
            };
            ("ims", serde_json::to_vec(&message))
        }
    };
    let body = body.map_err(|_| NotJson { format: name })?;
    Ok(Shaped { content_type: "application/json".to_owned(), headers: content.headers, body: body.into() })
}

fn json<'a>(bytes: &'a [u8], format: &'static str) -> Result<&'a RawValue, NotJson> {
    serde_json::from_slice(bytes).map_err(|_| NotJson { format })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hookweir_model::{EventId, EventType, TenantId};

    fn event(data: &'static str) -> (Event, Shaped) {
        let event = Event {
            tenant: TenantId::new("acme").unwrap(),
            id: EventId::new("evt_1").unwrap(),
            event_type: EventType::new("FileUploadComplete").unwrap(),
            source: "/a".to_owned(),
            subject: None,
            time: "2022-07-15T10:48:14.5+02:00".to_owned(),
            received: Timestamp::from_millis(0),
            content_type: "application/json".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data: Bytes::from_static(data.as_bytes()),
        };
        let content = Shaped {
            content_type: event.content_type.clone(),
            headers: Vec::new(),
            body: event.data.clone(),
        };
        (event, content)
    }

    #[test]
    fn formats_wrap_the_exact_text() {
        let data = r#"{ "n":1.0, "n":1e2,"s":"é" }"#;
        for (format, wanted) in [
            (Format::Data, data.to_owned()),
            (
                Format::Envelope,
                format!(
                    r#"{{"type":"FileUploadComplete","timestamp":"2022-07-15T10:48:14.5+02:00","data":{data}}}"#
                ),
            ),
            (
                Format::Ims { user_id: 1_833_220_977_560_000 },
                format!(
                    r#"{{"EventType":"FileUploadComplete","UserId":1833220977560000,"EventTime":"2022-07-15T08:48:14Z","MessageBody":{data}}}"#
                ),
            ),
        ] {
            let (event, content) = event(data);
            let wrapped = wrap(format, &event, content).unwrap();
            assert_eq!(std::str::from_utf8(&wrapped.body).unwrap(), wanted, "{format:?}");
        }
    }

    #[test]
    fn only_data_takes_what_is_not_json() {
        for (format, fits) in
            [(Format::Data, true), (Format::Envelope, false), (Format::Ims { user_id: 1 }, false)]
        {
            let (event, content) = event("not json");
            assert_eq!(wrap(format, &event, content).is_ok(), fits, "{format:?}");
        }
    }
}
