//! The cases of a plugin's folder: `events/NAME.json`, an event, beside `expected/NAME.json`, what the plugin makes of
//! it. They are those of `hookweir plugin test`, which runs the component itself.
//!
//! ```json
//! {"event": {"type": "order.created", "data": {"total": 5}}, "config": {"minimum": 3}}
//! ```
//! ```json
//! {"filter": {"keep": true}, "transform": {"content_type": "text/plain", "headers": [], "data_text": "5"}}
//! ```

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Event, Failure, Filter, Outgoing, Transformer, Verdict, testing};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    event: Given,
    config: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(rename = "type")]
    type_: String,
    id: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    attributes: Vec<(String, String)>,
    data: Option<Value>,
    data_text: Option<String>,
    data_base64: Option<String>,
}

impl From<Given> for Event {
    fn from(given: Given) -> Self {
        let made_up = testing::event(&Value::Null);
        let data = match (given.data, given.data_text, given.data_base64) {
            (_, Some(text), _) => text.into_bytes(),
            (_, _, Some(text)) => from_base64(&text),
            (Some(json), None, None) => json.to_string().into_bytes(),
            (None, None, None) => Vec::new(),
        };
        Self {
            id: given.id.unwrap_or(made_up.id),
            type_: given.type_,
            source: given.source.unwrap_or(made_up.source),
            subject: given.subject,
            time: given.time.unwrap_or(made_up.time),
            content_type: given.content_type.unwrap_or(made_up.content_type),
            attributes: given.attributes,
            data,
        }
    }
}

/// Runs a filter on each case in `folder`; `config` is that of cases without their own.
///
/// # Panics
/// It panics, as a test does, where the filter gives something else than expected, and where there is no case.
pub fn check_filter<F: Filter>(folder: impl AsRef<Path>, config: &Value) {
    check(folder.as_ref(), config, |event| results(Some(F::filter(event)), None));
}

/// Runs a transformer on each case in `folder`; `config` is that of cases without their own.
///
/// # Panics
/// It panics, as a test does, where the transformer gives something else than expected, and where there is no case.
pub fn check_transformer<T: Transformer>(folder: impl AsRef<Path>, config: &Value) {
    check(folder.as_ref(), config, |event| results(None, Some(T::transform(event))));
}

/// Runs a filter, and a transformer on what it keeps, on each case in `folder`; `config` is that of cases without
/// their own.
///
/// # Panics
/// It panics, as a test does, where one of them gives something else than expected, and where there is no case.
pub fn check_both<F: Filter, T: Transformer>(folder: impl AsRef<Path>, config: &Value) {
    check(folder.as_ref(), config, |event| {
        let filtered = F::filter(event);
        let transformed = (filtered == Ok(Verdict::Keep)).then(|| T::transform(event));
        results(Some(filtered), transformed)
    });
}

fn results(
    filtered: Option<Result<Verdict, Failure>>,
    transformed: Option<Result<Outgoing, Failure>>,
) -> Value {
    let filtered = filtered.map(|filtered| match filtered {
        Ok(Verdict::Keep) => json!({"keep": true}),
        Ok(Verdict::Drop(reason)) => json!({"drop": reason}),
        Err(failure) => told(failure),
    });
    let transformed = transformed.map(|transformed| match transformed {
        Ok(Outgoing { content_type, headers, data }) => {
            let text = String::from_utf8_lossy(&data);
            let mut made = json!({"content_type": content_type, "headers": headers});
            match serde_json::from_str(&text) {
                Ok(json) => made["data"] = json,
                Err(_) => made["data_text"] = json!(text),
            }
            made
        }
        Err(failure) => told(failure),
    });
    let reached = [("filter", filtered), ("transform", transformed)];
    let reached = reached.into_iter().filter_map(|(role, result)| Some((role.to_owned(), result?)));
    Value::Object(reached.collect::<Map<_, _>>())
}

fn told(failure: Failure) -> Value {
    match failure {
        Failure::Invalid(text) => json!({"failure": {"invalid": text}}),
        Failure::Unavailable(text) => json!({"failure": {"unavailable": text}}),
    }
}

fn check(folder: &Path, config: &Value, call: impl Fn(&Event) -> Value) {
    let events = folder.join("events");
    let shown = events.display();
    let entries = fs::read_dir(&events).unwrap_or_else(|error| panic!("{shown} can't be read: {error}"));
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{shown} holds no event");

    let mut wrong = Vec::new();
    for path in &paths {
        let case: Case = read(path);
        let expected: Value = read(&folder.join("expected").join(path.file_name().unwrap_or_default()));
        let event = case.event.into();
        let (got, _) = testing::run(case.config.as_ref().unwrap_or(config), || call(&event));
        if got != expected {
            wrong.push(format!("{}\n  expected {expected}\n  got      {got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), paths.len(), wrong.join("\n"));
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let shown = path.display();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{shown} can't be read: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{shown} is no case: {error}"))
}

/// The bytes of a text in base64. A stand-in for a library that no plugin should have to carry for its tests.
fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{:?} is no digit of base64", char::from(other)),
    };
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(digit).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bytes.extend(bits.to_be_bytes()[1..].iter().take(group.len() * 6 / 8));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("AA==", b"\0"),
            ("AP8=", b"\0\xff"),
            ("aGV5", b"hey"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(from_base64(text), bytes, "{text}");
        }
    }

    #[test]
    fn results_have_what_was_reached() {
        assert_eq!(
            results(Some(Ok(Verdict::Keep)), Some(Ok(Outgoing::text("hi")))),
            json!({
                "filter": {"keep": true},
                "transform": {"content_type": "text/plain; charset=utf-8", "headers": [], "data_text": "hi"},
            })
        );
        assert_eq!(
            results(None, Some(Err(Failure::invalid("no")))),
            json!({"transform": {"failure": {"invalid": "no"}}})
        );
    }
}
