//! The title: a text with places for the event's attributes and values.

use hookweir_plugin::{Event, field};
use serde::Deserialize;
use serde_json::Value;

use crate::shown;

/// A title as configured, such as `New order {subject} over {data.amount}`; `{{` and `}}` stand for the braces.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Title {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Type,
    Source,
    Subject,
    Time,
    /// The value at a path in the event's data.
    Data(String),
}

impl Default for Title {
    fn default() -> Self {
        Self { parts: vec![Part::Type] }
    }
}

impl Title {
    /// Whether the title shows something of the event's data.
    pub(crate) fn names_data(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Data(_)))
    }

    /// The title of this event, in one line. It is the event's type where all places turn out empty, since Slack
    /// refuses a message with an empty header.
    pub(crate) fn of(&self, event: &Event, data: &Value) -> String {
        let mut title = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => title.push_str(text),
                Part::Id => title.push_str(&event.id),
                Part::Type => title.push_str(&event.type_),
                Part::Source => title.push_str(&event.source),
                Part::Subject => title.push_str(event.subject.as_deref().unwrap_or_default()),
                Part::Time => title.push_str(&event.time),
                Part::Data(path) => title.push_str(&field(data, path).map(shown).unwrap_or_default()),
            }
        }
        let line = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { event.type_.clone() } else { line }
    }
}

impl TryFrom<String> for Title {
    type Error = String;

    fn try_from(template: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, braced) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = braced.strip_prefix("{{") {
                text.push('{');
                rest = after;
            } else if let Some(after) = braced.strip_prefix("}}") {
                text.push('}');
                rest = after;
            } else if let Some((name, after)) =
                braced.strip_prefix('{').and_then(|place| place.split_once('}'))
            {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(place(name)?);
                rest = after;
            } else {
                return Err("a brace stands alone; `{{` and `}}` are the braces themselves".to_owned());
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }
}

fn place(name: &str) -> Result<Part, String> {
    match name {
        "id" => Ok(Part::Id),
        "type" => Ok(Part::Type),
        "source" => Ok(Part::Source),
        "subject" => Ok(Part::Subject),
        "time" => Ok(Part::Time),
        _ => match name.strip_prefix("data.") {
            Some(path) => Ok(Part::Data(path.to_owned())),
            None => Err(format!(
                "`{{{name}}}` is not known; there are {{id}}, {{type}}, {{source}}, {{subject}}, {{time}} and {{data.PATH}}"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use hookweir_plugin::testing;
    use serde_json::json;

    use super::*;

    #[test]
    fn titles() {
        let data = json!({"order": {"id": 7, "name": "a  b\nc"}, "amount": 12345678901234567890_u64});
        let event = Event { subject: Some("42".into()), ..testing::event(&data) };
        for (template, expected) in [
            ("New order {subject}", "New order 42"),
            ("{type} by {source}", "order.created by /shop"),
            ("{id}{time}", "evt_0198c1d2e3f47a6b8c9d0e1f2a3b4c5d2026-01-02T03:04:05Z"),
            ("{data.order.id}: {data.amount}", "7: 12345678901234567890"),
            ("{data.order.name}", "a b c"),
            ("{{{subject}}} }}{{", "{42} }{"),
            ("no{data.none}thing", "nothing"),
            ("{data.none}", "order.created"),
            ("", "order.created"),
        ] {
            let title = Title::try_from(template.to_owned()).expect("a good title");
            assert_eq!(title.of(&event, &data), expected, "{template}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_filled_is_refused() {
        for (template, expected) in [
            (
                "{order}",
                "`{order}` is not known; there are {id}, {type}, {source}, {subject}, {time} and {data.PATH}",
            ),
            ("{}", "`{}` is not known; there are {id}, {type}, {source}, {subject}, {time} and {data.PATH}"),
            ("a { b", "a brace stands alone; `{{` and `}}` are the braces themselves"),
            ("a } b", "a brace stands alone; `{{` and `}}` are the braces themselves"),
        ] {
            assert_eq!(Title::try_from(template.to_owned()), Err(expected.to_owned()), "{template}");
        }
    }
}
