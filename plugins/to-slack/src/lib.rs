//! A transformer that turns an event into a message for a Slack incoming webhook.
//!
//! Its `config` table is `{ title = "New order {subject}", fields = ["order.id", "amount"] }`, and both keys may be left
//! out: the title is then the event's type, and the message shows the data itself. What comes from the event is escaped
//! and cut to Slack's limits, so that no event can mention a channel, break the layout or be refused for its size.
//! The same event gives the same bytes.

mod escape;
mod message;
mod title;

use hookweir_plugin::{Event, Failure, Outgoing, Transformer, config, field};
use serde::Deserialize;
use serde_json::Value;

use message::{Body, FIELDS_PER_MESSAGE, Message};
use title::Title;

/// What the tenant configures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    title: Title,
    #[serde(default)]
    fields: Vec<String>,
}

/// The transformer.
#[derive(Debug)]
pub struct ToSlack;

impl Transformer for ToSlack {
    fn transform(event: &Event) -> Result<Outgoing, Failure> {
        let Config { title, fields } = config()?;
        if fields.len() > FIELDS_PER_MESSAGE {
            return Err(Failure::invalid(format!(
                "config key `fields` has {} names; a Slack message holds {FIELDS_PER_MESSAGE}",
                fields.len()
            )));
        }

        // JSON is asked for only where something is to be found in it: other data can still be announced.
        let data: Value = if title.names_data() || !fields.is_empty() { event.json()? } else { Value::Null };
        let title = title.of(event, &data);
        let body = if fields.is_empty() {
            Body::Data(shown_data(event))
        } else {
            Body::Fields(fields.iter().map(|name| (name.as_str(), shown_field(&data, name))).collect())
        };
        Outgoing::json(&Message::new(&title, &body, &origin(event)))
    }
}

hookweir_plugin::export!(transformer: ToSlack);

fn shown_data(event: &Event) -> String {
    match event.text() {
        Ok(text) => text.trim().to_owned(),
        Err(_) => format!("{} bytes of {}", event.data.len(), event.content_type),
    }
}

fn shown_field(data: &Value, name: &str) -> String {
    field(data, name).map_or_else(|| "(absent)".to_owned(), shown)
}

/// A value as a reader expects it: text without quotes, all else as JSON, numbers with the digits that were sent.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Not by `Display`, which would bring two more writers of JSON into the component.
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// The line under the message: which event this is, to find it again in the gateway.
fn origin(Event { id, type_, source, time, .. }: &Event) -> String {
    format!("{type_} from {source} at {time} ({id})")
}

#[cfg(test)]
mod tests {
    use hookweir_plugin::testing;
    use serde_json::json;

    use super::*;

    fn message(config: &Value, event: &Event) -> Result<Value, Failure> {
        let (outgoing, _) = testing::run(config, || ToSlack::transform(event));
        outgoing.map(|outgoing| serde_json::from_slice(&outgoing.data).expect("the message is JSON"))
    }

    #[test]
    fn expected_results() {
        testing::check_transformer::<ToSlack>(env!("CARGO_MANIFEST_DIR"), &json!({}));
    }

    #[test]
    fn bytes_that_are_no_text_are_counted() {
        let event = Event {
            content_type: "image/png".into(),
            data: vec![0x89, b'P', b'N', b'G', 0xff],
            ..testing::event(&Value::Null)
        };
        let message = message(&json!({}), &event).expect("any data can be announced");
        assert_eq!(message["blocks"][1]["text"]["text"], "```5 bytes of image/png```");
    }

    #[test]
    fn no_event_exceeds_the_limits_of_slack() {
        for filler in ["x", "&", "é", "\u{1f980}", "`", "\n"] {
            let long = filler.repeat(50_000);
            let data = json!({"a": long, "b": {"c": [long]}});
            let event = Event {
                subject: Some(long.clone()),
                source: long.clone(),
                type_: format!("t{long}"),
                ..testing::event(&data)
            };
            for fields in [json!([]), json!(["a", "b", "b.c.0"]), json!(vec!["a"; 480]), json!([long])] {
                let config = json!({"title": "{type} {subject} {data.a}", "fields": fields});
                let message = message(&config, &event).expect("a message");
                let length = |value: &Value| value.as_str().expect("text").encode_utf16().count();

                assert!(length(&message["text"]) <= 40_000);
                let blocks = message["blocks"].as_array().expect("blocks");
                assert!(blocks.len() <= 50);
                for block in blocks {
                    let limit = if block["type"] == "header" { 150 } else { 3_000 };
                    let texts = block["elements"].as_array().into_iter().flatten();
                    for text in texts.chain(block.get("text")) {
                        assert!((1..=limit).contains(&length(&text["text"])));
                    }
                    let fields = block.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
                    assert!(fields.len() <= 10);
                    assert!(fields.iter().all(|field| (1..=2_000).contains(&length(&field["text"]))));
                }
            }
        }
    }

    #[test]
    fn more_fields_than_a_message_holds_are_a_config_error() {
        let event = testing::event(&json!({}));
        assert_eq!(
            message(&json!({"fields": vec!["a"; 481]}), &event),
            Err(Failure::invalid("config key `fields` has 481 names; a Slack message holds 480"))
        );
    }
}
