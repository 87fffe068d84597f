//! Reading only those parts of JSON that some paths lead to.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::field::index;

/// JSON without what none of the paths leads to: [`field`](crate::field()) finds the same by them as in the whole. What a
/// path would have to lead through and can't, a text or a number, is null; a number that keeps its digits comes as a map
/// and becomes an empty object.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a, 'p> {
    /// What is left of each path at this place.
    pub(crate) paths: &'a [&'p str],
}

/// What the paths want of one value inside.
enum Wanted<'p> {
    Nothing,
    /// What is left of each path inside.
    Part(Vec<&'p str>),
    All,
}

impl<'p> Part<'_, 'p> {
    /// `is` tells whether a segment names the value, be it the last one or one of several.
    fn of(self, is: &dyn Fn(&str) -> bool) -> Wanted<'p> {
        if self.paths.iter().any(|path| is(path)) {
            return Wanted::All;
        }
        let split = self.paths.iter().filter_map(|path| path.split_once('.'));
        let paths: Vec<_> = split.filter(|(first, _)| is(first)).map(|(_, rest)| rest).collect();
        if paths.is_empty() { Wanted::Nothing } else { Wanted::Part(paths) }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        match self {
            Wanted::Nothing => deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| None),
            Wanted::Part(paths) => Part { paths: &paths }.deserialize(deserializer).map(Some),
            Wanted::All => serde::Deserialize::deserialize(deserializer).map(Some),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some((key, wanted)) = map.next_key_seed(Key(self))? {
            if let Some(value) = map.next_value_seed(wanted)? {
                kept.insert(key, value);
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        for place in 0.. {
            let wanted = self.of(&|segment| index(segment) == Some(place));
            match items.next_element_seed(wanted)? {
                None => break,
                Some(None) => {}
                Some(Some(value)) => {
                    while kept.len() < place {
                        kept.push(Value::Null);
                    }
                    kept.push(value);
                }
            }
        }
        Ok(Value::Array(kept))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Reads a key, and what is wanted of its value. A key that is not wanted is not copied.
struct Key<'a, 'p>(Part<'a, 'p>);

impl<'de, 'p> DeserializeSeed<'de> for Key<'_, 'p> {
    type Value = (String, Wanted<'p>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'p> Visitor<'de> for Key<'_, 'p> {
    type Value = (String, Wanted<'p>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let wanted = self.0.of(&|segment| segment == key);
        let kept = if matches!(wanted, Wanted::Nothing) { String::new() } else { key.to_owned() };
        Ok((kept, wanted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::field;

    fn part(text: &str, paths: &[&str]) -> Value {
        let mut reader = serde_json::Deserializer::from_slice(text.as_bytes());
        Part { paths }.deserialize(&mut reader).expect("JSON")
    }

    #[test]
    fn only_what_is_wanted_is_kept() {
        let text = r#"{"a": {"b": [0, {"c": 1, "d": [2]}, 3], "e": 4}, "f": {"g": 5}, "h": [6], "a.e": 7}"#;
        for (paths, expected) in [
            (&[][..], json!({})),
            (&["f"], json!({"f": {"g": 5}})),
            (&["f.g", "h.1", "h.0"], json!({"f": {"g": 5}, "h": [6]})),
            (&["a.b.1.d"], json!({"a": {"b": [null, {"d": [2]}]}})),
            (&["a.b.1.d", "a.b"], json!({"a": {"b": [0, {"c": 1, "d": [2]}, 3]}})),
            (&["a.e"], json!({"a": {"e": 4}, "a.e": 7})),
            (&["a.e.x", "none"], json!({"a": {"e": null}})),
        ] {
            assert_eq!(part(text, paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn a_path_finds_what_it_finds_in_the_whole() {
        let paths =
            ["", "a", "a.b", "a.b.c", "a.0", "a.0.b", "a.1", "a.01", "0", "0.a", "1.0", "b.a", "b.a.c"];
        for text in [
            "null",
            "true",
            "-5",
            "5",
            "0.5",
            r#""a""#,
            r#"[{"a": 1}, [2], "b"]"#,
            r#"{"a": [1, {"b": 2}], "0": {"a": 3}}"#,
            r#"{"a": [{"b": 2}, null], "a.b": {"c": 3}}"#,
            r#"{"a": {"b": {"c": 1}, "0": {"b": 2}, "1": "x"}, "": 4, "b.a": 5}"#,
            r#"{"a": {"b": 1}, "a": {"b.c": 2}, "b": {"a": {"c": 3}, "a": 4}}"#,
            r#"{"a": 1, "a": {"b": {"c": "\u00e9\n"}}, "a.b.c": 7}"#,
        ] {
            let whole: Value = serde_json::from_str(text).expect("JSON");
            for one in paths {
                for other in paths {
                    let part = part(text, &[one, other]);
                    for path in [one, other] {
                        assert_eq!(
                            field(&part, path),
                            field(&whole, path),
                            "{text}: {path} of {one}, {other}"
                        );
                    }
                }
            }
        }
    }
}
