//! The native form of an event: `{"type": ..., "data": ...}` in JSON. The data's text is kept to the byte: it is copied
//! from what was received, not written anew.

use bytes::Bytes;
use hookweir_model::{Event, EventId, EventType, TenantId, Timestamp, check_time};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_text;
use crate::operational;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Native<'a> {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: &'a RawValue,
    id: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    ordering_key: Option<String>,
}

/// No attribute is longer than this.
const MAX_ATTRIBUTE: usize = 1024;

pub(super) fn parse(
    body: &Bytes,
    tenant: &TenantId,
    traceparent: Option<&str>,
    received: Timestamp,
) -> Result<Event, Problem> {
    json_text::object(body, "send a JSON object {\"type\": ..., \"data\": ...}", "events")?;
    let native: Native<'_> =
        serde_json::from_slice(body).map_err(|error| {
            Problem::Malformed(json_text::encoding(body, "the body").unwrap_or_else(|| {
                format!("the body is not an event {{\"type\": ..., \"data\": ...}}: {error}")
            }))
        })?;
    let event_type = EventType::new(&native.event_type).map_err(|error| wrong("type", &error))?;
    if event_type.as_str().starts_with(operational::PREFIX) {
        return Err(wrong(
            "type",
            &format!("names that start with {} are the gateway's own", operational::PREFIX),
        ));
    }
    let id = match &native.id {
        Some(id) => EventId::new(id).map_err(|error| wrong("id", &error))?,
        None => EventId::generate(received),
    };
    for (name, value) in
        [("source", &native.source), ("subject", &native.subject), ("ordering_key", &native.ordering_key)]
    {
        let fits =
            |text: &String| (1..=MAX_ATTRIBUTE).contains(&text.len()) && !text.chars().any(char::is_control);
        if value.as_ref().is_some_and(|text| !fits(text)) {
            let detail = format!("{name}: give 1 to {MAX_ATTRIBUTE} bytes without control characters");
            return Err(Problem::Malformed(detail));
        }
    }
    if let Some(time) = &native.time {
        check_time(time).map_err(|error| wrong("time", &error))?;
    }
    Ok(Event {
        tenant: tenant.clone(),
        id,
        event_type,
        source: native.source.unwrap_or_else(|| format!("/tenants/{tenant}")),
        subject: native.subject,
        time: native.time.unwrap_or_else(|| received.to_string()),
        received,
        content_type: "application/json".to_owned(),
        attributes: traceparent
            .map(|value| ("traceparent".to_owned(), value.to_owned()))
            .into_iter()
            .collect(),
        ordering_key: native.ordering_key,
        // A copy to the byte, of no more than the data: a slice would hold all that was read with it, for as long as any
        // endpoint has the event.
        data: Bytes::copy_from_slice(native.data.get().as_bytes()),
    })
}

fn wrong(name: &str, error: &impl std::fmt::Display) -> Problem {
    Problem::Malformed(format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<Event, Problem> {
        let tenant = TenantId::new("acme").unwrap();
        parse(&Bytes::from(body.to_owned()), &tenant, None, Timestamp::from_millis(1_700_000_000_000))
    }

    #[test]
    fn data_keeps_its_exact_text() {
        for data in [
            r#"{"a":1.0,"a":1e400,"b":"\u00e9\/"}"#,
            "[ 1 , 2 ]",
            "\"x\"",
            "null",
            "0.10000000000000000000001",
            "{\n}",
            "123456789012345678901234567890",
        ] {
            let event = parsed(&format!(r#"{{"type":"a.b", "data" :  {data}  }}"#)).unwrap();
            assert_eq!(event.data, data);
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let event = parsed(r#"{"type":"a","data":1}"#).unwrap();
        assert!(event.id.as_str().starts_with("evt_"));
        assert_eq!((event.source.as_str(), event.subject), ("/tenants/acme", None));
        assert_eq!(event.time, "2023-11-14T22:13:20.000Z");
        let event = parsed(r#"{"type":"a","data":1,"id":"i","source":"/s","subject":"j","time":"2026-01-31T12:00:00+01:00","ordering_key":"k"}"#).unwrap();
        assert_eq!(
            (event.id.as_str(), event.source.as_str(), event.subject.as_deref()),
            ("i", "/s", Some("j"))
        );
        assert_eq!(
            (event.time.as_str(), event.ordering_key.as_deref()),
            ("2026-01-31T12:00:00+01:00", Some("k"))
        );
    }

    #[test]
    fn malformed_events_say_what_is_wrong() {
        for (body, wanted) in [
            ("", "the body is empty"),
            ("[]", "an array of events is not taken"),
            (r#"["a.b",1,null,null,null,null,null]"#, "an array of events is not taken"),
            ("\"a\"", "the body is no object"),
            ("{", "EOF"),
            ("{}", "missing field `type`"),
            (r#"{"type":"a"}"#, "missing field `data`"),
            (r#"{"type":"a","data":1,"typo":1}"#, "unknown field `typo`"),
            (r#"{"type":"a","type":"b","data":1}"#, "duplicate field `type`"),
            (r#"{"type":"a b","data":1}"#, "type: an event type"),
            (r#"{"type":"hookweir.plugin.paused","data":1}"#, "type: names that start with hookweir. are"),
            (r#"{"type":"a","data":1,"id":"a.b"}"#, "id: an event id"),
            (r#"{"type":"a","data":1,"time":"noon"}"#, "time: time is not RFC 3339"),
            (r#"{"type":"a","data":1,"subject":""}"#, "subject: give"),
            (r#"{"type":"a","data":1,"source":"a\u0000"}"#, "source: give"),
            (r#"{"type":"a","data":01}"#, "invalid number"),
            (r#"{"type":"a","data":1} x"#, "trailing characters"),
            ("\u{feff}{\"type\":\"a\",\"data\":1}", "byte order mark"),
        ] {
            match parsed(body) {
                Err(Problem::Malformed(detail)) => {
                    assert!(detail.contains(wanted) && !detail.contains("struct"), "{body}: {detail}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
