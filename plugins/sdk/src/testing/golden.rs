//! Golden events: a folder of JSON files, each an event, a `config` table and what the plugin makes of them.
//!
//! ```json
//! {
//!   "event": {
//!     "id": "evt_1", "type": "order.created", "source": "/shop", "subject": "42", "time": "2026-01-02T03:04:05Z",
//!     "content_type": "application/json", "attributes": [["region", "eu"]], "data": {"amount": 5}
//!   },
//!   "config": {"field": "amount", "minimum": 3},
//!   "expected": {"verdict": {"keep": true}}
//! }
//! ```
//! `subject` may be left out, `data_text` may stand in place of `data` for data that is not JSON or whose exact bytes
//! count, and `expected` is one of `{"verdict": {"keep": true}}`, `{"verdict": {"drop": REASON}}`,
//! `{"outgoing": {"content_type", "headers", "data"}}`, `{"failure": {"invalid": TEXT}}` and
//! `{"failure": {"unavailable": TEXT}}`.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Event, Failure, Filter, Outgoing, Transformer, Verdict, testing};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    event: Given,
    #[serde(default = "no_config")]
    config: Value,
    expected: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    id: String,
    #[serde(rename = "type")]
    type_: String,
    source: String,
    subject: Option<String>,
    time: String,
    content_type: String,
    attributes: Vec<(String, String)>,
    data: Option<Value>,
    data_text: Option<String>,
}

impl From<Given> for Event {
    fn from(given: Given) -> Self {
        let data = match (given.data, given.data_text) {
            (_, Some(text)) => text,
            (Some(json), None) => json.to_string(),
            (None, None) => String::new(),
        };
        Self {
            id: given.id,
            type_: given.type_,
            source: given.source,
            subject: given.subject,
            time: given.time,
            content_type: given.content_type,
            attributes: given.attributes,
            data: data.into_bytes(),
        }
    }
}

fn no_config() -> Value {
    json!({})
}

/// Runs a filter on each `*.json` golden event in `folder`.
///
/// # Panics
/// It panics, as a test does, where the filter gives something else than expected, and where there is no golden event.
pub fn check_filter<F: Filter>(folder: impl AsRef<Path>) {
    check(folder.as_ref(), |event| match F::filter(event) {
        Ok(Verdict::Keep) => json!({"verdict": {"keep": true}}),
        Ok(Verdict::Drop(reason)) => json!({"verdict": {"drop": reason}}),
        Err(failure) => told(failure),
    });
}

/// Runs a transformer on each `*.json` golden event in `folder`.
///
/// # Panics
/// It panics, as a test does, where the transformer gives something else than expected, and where there is no golden
/// event.
pub fn check_transformer<T: Transformer>(folder: impl AsRef<Path>) {
    check(folder.as_ref(), |event| match T::transform(event) {
        Ok(Outgoing { content_type, headers, data }) => {
            let text = String::from_utf8_lossy(&data);
            let data = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
            json!({"outgoing": {"content_type": content_type, "headers": headers, "data": data}})
        }
        Err(failure) => told(failure),
    });
}

fn told(failure: Failure) -> Value {
    match failure {
        Failure::Invalid(text) => json!({"failure": {"invalid": text}}),
        Failure::Unavailable(text) => json!({"failure": {"unavailable": text}}),
    }
}

fn check(folder: &Path, call: impl Fn(&Event) -> Value) {
    let folder_name = folder.display();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder_name} can't be read: {error}"));
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder_name} holds no golden event");

    let mut wrong = Vec::new();
    for path in &paths {
        let name = path.display();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name} can't be read: {error}"));
        let golden: Golden =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name} is no golden event: {error}"));
        let event = golden.event.into();
        let (got, _) = testing::run(&golden.config, || call(&event));
        if got != golden.expected {
            wrong.push(format!("{name}\n  expected {}\n  got      {got}", golden.expected));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} golden events differ:\n{}",
        wrong.len(),
        paths.len(),
        wrong.join("\n")
    );
}
