//! Reading an event's data.

use serde::de::{DeserializeOwned, DeserializeSeed as _};
use serde_json::Value;
use serde_json::error::Category;

use crate::part::Part;
use crate::{Event, Failure};

impl Event {
    /// The data as JSON, whatever `content_type` says.
    ///
    /// # Errors
    /// Data that is not JSON, or JSON that is no `T`, is [`Failure::Invalid`]: trying again would not mend it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.data).map_err(|error| not_read(&error))
    }

    /// The data as JSON, but only what the paths lead to: [`field`](crate::field()) finds by them what it finds in the
    /// whole, at a fraction of the time. An object or an array on the way has no other entries; something empty stands
    /// for a text or a number where a path would have to go on.
    ///
    /// # Errors
    /// Data that is not JSON is [`Failure::Invalid`]; of what is passed over, only UTF-8 and the syntax are checked.
    pub fn json_part(&self, paths: &[&str]) -> Result<Value, Failure> {
        // What is passed over is not looked at closely: this much of it is.
        if std::str::from_utf8(&self.data).is_err() {
            return Err(Failure::invalid("the event's data is not JSON: it is not UTF-8 text"));
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.data);
        let part = Part { paths }.deserialize(&mut reader);
        part.and_then(|part| reader.end().map(|()| part)).map_err(|error| not_read(&error))
    }

    /// The data as text.
    ///
    /// # Errors
    /// Data that is not UTF-8 is [`Failure::Invalid`].
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.data)
            .map_err(|error| Failure::invalid(format!("the event's data is not UTF-8 text: {error}")))
    }

    /// The first attribute of this name; attributes may repeat.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn not_read(error: &serde_json::Error) -> Failure {
    Failure::invalid(match error.classify() {
        Category::Data => format!("the event's data is not what the plugin expects: {error}"),
        Category::Syntax | Category::Eof | Category::Io => format!("the event's data is not JSON: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::testing;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        id: u32,
    }

    fn event(data: &[u8]) -> Event {
        Event { data: data.to_vec(), ..testing::event(&serde_json::Value::Null) }
    }

    #[test]
    fn json_tells_what_is_not_json_from_what_is_not_expected() {
        assert_eq!(event(br#"{"id": 7}"#).json(), Ok(Order { id: 7 }));
        for (data, expected) in [
            (&b"<id>7</id>"[..], "the event's data is not JSON: expected value at line 1 column 1"),
            (b"", "the event's data is not JSON: EOF while parsing a value at line 1 column 0"),
            (b"{}", "the event's data is not what the plugin expects: missing field `id` at line 1 column 2"),
        ] {
            assert_eq!(event(data).json::<Order>(), Err(Failure::invalid(expected)));
        }
    }

    #[test]
    fn a_part_is_of_json_alone() {
        let part = |data: &[u8]| event(data).json_part(&["id"]);
        assert_eq!(part(br#"{"id": 7, "x": [1]} "#), Ok(serde_json::json!({"id": 7})));
        assert_eq!(part(b"\"id\""), Ok(Value::Null));
        for (data, expected) in [
            (
                &b"{\"id\": 7, \"x\": nul}"[..],
                "the event's data is not JSON: expected ident at line 1 column 19",
            ),
            (b"{\"id\": 7} {}", "the event's data is not JSON: trailing characters at line 1 column 11"),
            (b"", "the event's data is not JSON: EOF while parsing a value at line 1 column 0"),
            (b"{\"x\": \"\xff\"}", "the event's data is not JSON: it is not UTF-8 text"),
        ] {
            assert_eq!(part(data), Err(Failure::invalid(expected)));
        }
    }

    #[test]
    fn text_is_utf_8_or_invalid() {
        assert_eq!(event("né".as_bytes()).text(), Ok("né"));
        assert!(matches!(event(b"n\xe9").text(), Err(Failure::Invalid(_))));
    }

    #[test]
    fn the_first_attribute_of_a_name_is_taken() {
        let attributes = [("a", "1"), ("b", "2"), ("b", "3")].map(|(k, v)| (k.into(), v.into())).to_vec();
        let event = Event { attributes, ..event(b"") };
        assert_eq!(event.attribute("b"), Some("2"));
        assert_eq!(event.attribute("c"), None);
    }
}
