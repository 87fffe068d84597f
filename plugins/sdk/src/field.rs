//! Finding a value inside JSON by a name that fits in a configuration.

use serde_json::Value;

/// The value at a dotted path, such as `order.total` or `items.0.name`.
///
/// A segment is an object's key or an array's index. A key that itself holds dots is found by its whole name, at the
/// place where the path has come to: `{"order.total": 5}` has a field `order.total` as well. Where both readings are
/// possible, the nested one counts.
#[must_use]
pub fn field<'a>(data: &'a Value, path: &str) -> Option<&'a Value> {
    let nested = path.split_once('.').and_then(|(first, rest)| field(step(data, first)?, rest));
    nested.or_else(|| step(data, path))
}

fn step<'a>(data: &'a Value, segment: &str) -> Option<&'a Value> {
    match data {
        Value::Object(fields) => fields.get(segment),
        Value::Array(items) => items.get(index(segment)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Digits alone, since Rust would read `+1` and `01` as numbers too.
pub(crate) fn index(segment: &str) -> Option<usize> {
    let plain = segment == "0" || segment.starts_with(|first: char| matches!(first, '1'..='9'));
    if plain { segment.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let data = json!({
            "amount": 1,
            "order": {"total": 2, "net.total": 3, "items": [{"name": "bolt"}, {"name": "nut"}]},
            "order.total": 4,
            "a.b": {"c": 5},
            "0": 6,
            "": 7,
        });
        for (path, expected) in [
            ("amount", Some(json!(1))),
            ("order.total", Some(json!(2))),
            ("order.net.total", Some(json!(3))),
            ("order.items.1.name", Some(json!("nut"))),
            ("order.items.2.name", None),
            ("order.items.01.name", None),
            ("order.items.+1.name", None),
            ("order.items.name", None),
            ("a.b", Some(json!({"c": 5}))),
            ("a.b.c", None),
            ("0", Some(json!(6))),
            ("", Some(json!(7))),
            ("amount.value", None),
            ("missing", None),
        ] {
            assert_eq!(field(&data, path), expected.as_ref(), "{path}");
        }
        assert_eq!(field(&json!({"order.total": 4, "order": {}}), "order.total"), Some(&json!(4)));
        assert_eq!(field(&json!([1, 2]), "1"), Some(&json!(2)));
        assert_eq!(field(&json!("text"), "text"), None);
    }
}
