//! What a plugin made of an event, as JSON: what `expected/*.json` holds and `plugin test` compares.
//!
//! ```json
//! {
//!   "filter": {"keep": true},
//!   "transform": {"content_type": "application/json", "headers": [["x-a", "1"]], "data": {"total": 1}}
//! }
//! ```
//! A filter's result may also be `{"drop": REASON}`, and each of the two `{"failure": {KIND: TEXT}}`, where KIND is an answer,
//! `invalid` or `unavailable`. A trap or another fault is never expected. A role that the component does not export, or that
//! was not reached, is not there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_host::{Exports, Fault, FaultKind, Outgoing, Ran, Verdict};
use hookweir_model::PluginRole;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::case::compact;

/// The results of one event. What is `None` was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Results {
    pub filter: Option<Filtered>,
    pub transform: Option<Result<Outgoing, Failure>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filtered {
    Keep,
    Drop(String),
    Failure(Failure),
}

/// A call that gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: FaultKind,
    pub message: String,
}

/// How the data of a transformer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Json,
    Text,
    Base64,
}

impl Results {
    /// Parts what a chain of filter and transformer came to.
    pub(super) fn of(ran: &Ran, exports: Exports) -> Self {
        let kept = exports.filter.then_some(Filtered::Keep);
        let failed_in = ran.calls.last().map(|call| call.role);
        match &ran.verdict {
            Verdict::Keep(made) => Self { filter: kept, transform: made.clone().map(Ok) },
            Verdict::Drop { reason, .. } => {
                Self { filter: Some(Filtered::Drop(reason.clone())), transform: None }
            }
            Verdict::Fault(fault) if failed_in == Some(PluginRole::Transformer) => {
                Self { filter: kept, transform: Some(Err(fault.into())) }
            }
            Verdict::Fault(fault) => Self { filter: Some(Filtered::Failure(fault.into())), transform: None },
        }
    }

    /// The call that broke the plugin, if one did: a fault that it did not give as its answer.
    pub(super) fn broken(&self) -> Option<(PluginRole, &Failure)> {
        let filter = match &self.filter {
            Some(Filtered::Failure(failure)) => Some((PluginRole::Filter, failure)),
            _ => None,
        };
        let transform = self.transform.as_ref().and_then(|made| made.as_ref().err());
        let transform = transform.map(|failure| (PluginRole::Transformer, failure));
        filter.or(transform).filter(|(_, failure)| failure.kind.is_plugins_own())
    }

    /// As JSON, with the transformer's data written in the way that `like` has it.
    pub(super) fn as_like(&self, like: &Value) -> Value {
        let wanted = like.get("transform");
        let has = |key: &str| wanted.is_some_and(|transform| transform.get(key).is_some());
        let way = match () {
            () if has("data") => Some(Way::Json),
            () if has("data_text") => Some(Way::Text),
            () if has("data_base64") => Some(Way::Base64),
            () => None,
        };
        self.to_json(way)
    }

    fn to_json(&self, way: Option<Way>) -> Value {
        let mut results = Map::new();
        if let Some(filter) = &self.filter {
            let filter = match filter {
                Filtered::Keep => json!({"keep": true}),
                Filtered::Drop(reason) => json!({"drop": reason}),
                Filtered::Failure(failure) => failure.to_json(),
            };
            results.insert("filter".to_owned(), filter);
        }
        if let Some(transform) = &self.transform {
            let transform = match transform {
                Ok(made) => outgoing(made, way.unwrap_or_else(|| best_way(&made.data))),
                Err(failure) => failure.to_json(),
            };
            results.insert("transform".to_owned(), transform);
        }
        Value::Object(results)
    }

    /// The text of a file of `expected`. JSON data stands there as the plugin wrote it, but set out over lines.
    pub(super) fn file(&self) -> serde_json::Result<String> {
        let mut value = self.to_json(None);
        let Some(data) = value.get_mut("transform").and_then(|transform| transform.get_mut("data")) else {
            return Ok(format!("{}\n", serde_json::to_string_pretty(&value)?));
        };
        // Through a value, numbers could change and keys would be sorted. So the text goes around it.
        const PLACE: &str = "\u{0}data\u{0}";
        *data = Value::String(PLACE.to_owned());
        let whole = serde_json::to_string_pretty(&value)?;
        let place = serde_json::to_string(PLACE)?;
        let written = self.transform.as_ref().and_then(|made| made.as_ref().ok()).map(|made| &made.data);
        let written = written.map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
        let set_out = crate::cli::show::indented(&written).unwrap_or(written);
        Ok(format!("{}\n", whole.replace(&place, &set_out.replace('\n', "\n    "))))
    }
}

/// Whether a file of `expected` asks for a plugin that breaks.
pub(super) fn expects_a_fault(wanted: &Value) -> bool {
    let kinds = || FaultKind::ALL.into_iter().filter(|kind| kind.is_plugins_own());
    ["filter", "transform"]
        .into_iter()
        .filter_map(|role| wanted.get(role)?.get("failure"))
        .any(|failure| kinds().any(|kind| failure.get(kind.as_str()).is_some()))
}

impl Failure {
    fn to_json(&self) -> Value {
        json!({"failure": {self.kind.as_str(): self.message}})
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        Self { kind: fault.kind, message: fault.message.clone() }
    }
}

fn outgoing(made: &Outgoing, way: Way) -> Value {
    let mut written = json!({"content_type": made.content_type, "headers": made.headers});
    let text = || String::from_utf8(made.data.to_vec());
    let (key, data) = match way {
        Way::Json => match serde_json::from_slice::<Value>(&made.data) {
            Ok(json) => ("data", json),
            Err(_) => return outgoing(made, best_way(&made.data)),
        },
        Way::Text => match text() {
            Ok(text) => ("data_text", Value::String(text)),
            Err(_) => return outgoing(made, Way::Base64),
        },
        Way::Base64 => ("data_base64", Value::String(BASE64.encode(&made.data))),
    };
    written[key] = data;
    written
}

/// JSON where nothing but blanks could get lost, else text where it is text.
fn best_way(data: &[u8]) -> Way {
    match std::str::from_utf8(data) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) if compact(json.get()) == text => Way::Json,
            _ => Way::Text,
        },
        Err(_) => Way::Base64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(data: &[u8]) -> Results {
        let made = Outgoing {
            content_type: "a/b".to_owned(),
            headers: vec![("x-a".to_owned(), "1".to_owned())],
            data: data.to_vec().into(),
        };
        Results { filter: Some(Filtered::Keep), transform: Some(Ok(made)) }
    }

    #[test]
    fn data_is_written_as_what_it_is() {
        for (data, key) in [
            (br#"{"a":1}"#.as_slice(), "data"),
            (br#"{"a": 1}"#, "data_text"),
            (b"hello", "data_text"),
            (b"", "data_text"),
            (b"\xff", "data_base64"),
        ] {
            let value = made(data).as_like(&Value::Null);
            assert!(value["transform"].get(key).is_some(), "{value}");
        }
    }

    #[test]
    fn data_is_compared_as_it_was_expected() {
        let like = |transform: Value| json!({"transform": transform});
        let spaced = made(br#"{"a": 1}"#);
        assert_eq!(spaced.as_like(&like(json!({"data": {}})))["transform"]["data"], json!({"a": 1}));
        assert_eq!(
            spaced.as_like(&like(json!({"data_base64": ""})))["transform"]["data_base64"],
            "eyJhIjogMX0="
        );
        assert_eq!(made(b"x").as_like(&like(json!({"data": {}})))["transform"]["data_text"], "x");
        assert_eq!(
            made(b"\xff").as_like(&like(json!({"data_text": ""})))["transform"]["data_base64"],
            "/w=="
        );
    }

    #[test]
    fn a_file_keeps_numbers_and_the_order_of_keys() {
        let text = made(br#"{"b":1.50,"a":[10000000000000000000001]}"#).file().unwrap();
        assert!(text.contains("\"b\": 1.50,\n      \"a\": [\n        10000000000000000000001\n"), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["filter"], json!({"keep": true}));
    }

    #[test]
    fn faults_are_told_from_answers() {
        for kind in FaultKind::ALL {
            let failure = || Failure { kind, message: "m".to_owned() };
            let filter = Results { filter: Some(Filtered::Failure(failure())), transform: None };
            let transform = Results { filter: Some(Filtered::Keep), transform: Some(Err(failure())) };
            for (results, role) in [(filter, PluginRole::Filter), (transform, PluginRole::Transformer)] {
                let broken = results.broken().map(|(role, failure)| (role, failure.kind));
                assert_eq!(broken, kind.is_plugins_own().then_some((role, kind)));
                assert_eq!(expects_a_fault(&results.as_like(&Value::Null)), kind.is_plugins_own());
            }
        }
        assert_eq!(made(b"{}").broken(), None);
        assert!(!expects_a_fault(
            &json!({"filter": {"drop": "trap"}, "transform": {"data": {"failure": {"trap": 1}}}})
        ));
    }

    #[test]
    fn failures_name_their_kind() {
        let failure = Failure { kind: FaultKind::Deadline, message: "too long".to_owned() };
        let results = Results { filter: Some(Filtered::Failure(failure)), transform: None };
        assert_eq!(results.as_like(&Value::Null), json!({"filter": {"failure": {"deadline": "too long"}}}));
        let dropped = Results { filter: Some(Filtered::Drop("small".to_owned())), transform: None };
        assert_eq!(dropped.file().unwrap(), "{\n  \"filter\": {\n    \"drop\": \"small\"\n  }\n}\n");
    }
}
