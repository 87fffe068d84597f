//! The lines of the log that are documented are those that the gateway writes.

use std::fs;
use std::path::{Path, PathBuf};

use hookweir_tests::{Gateway, KEY, repository, tenant};
use serde_json::Value;

use super::{table, words};

/// The source that a target names: `hookweir::app` is `app.rs`, `hookweir::dispatch` is `dispatch/mod.rs`.
fn source(target: &str) -> PathBuf {
    let target = if target == "hookweir::audit" { "hookweir::admin::audit" } else { target };
    let parts = target.strip_prefix("hookweir::").expect("a target of the gateway").split("::");
    let path = parts.fold(repository().join("gateway/server/src"), |path, part| path.join(part));
    let file = path.with_extension("rs");
    if file.is_file() { file } else { path.join("mod.rs") }
}

/// The call that writes `message`: from its macro's name to the end of its arguments.
fn call(path: &Path, message: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = text.find(&format!("\"{message}\""));
    let at = found.unwrap_or_else(|| panic!("{} does not write {message:?}", path.display()));
    let start =
        ["debug!(", "info!(", "warn!(", "error!("].iter().filter_map(|name| text[..at].rfind(name)).max();
    text[start.expect("a call before the message")..at].to_owned()
}

#[test]
fn every_documented_line_is_written_with_its_level_and_fields() {
    let rows = table("message");
    assert!(rows.len() > 10, "the table is there: {rows:?}");
    for cells in rows {
        let [message, level, fields, target] = <[String; 4]>::try_from(cells).expect("four cells");
        let (message, target) = (words(&message).concat(), words(&target).concat());
        let call = call(&source(&target), &message);
        assert!(call.starts_with(&format!("{level}!(")), "{message} is not at {level}: {call}");
        for field in words(&fields) {
            let is_field = call.split([' ', ',', '(', '\n', '%']).any(|word| word == field);
            assert!(is_field, "{message} has no {field}: {call}");
        }
        let named = call.contains("target: ");
        assert_eq!(named, target == "hookweir::audit", "{message} names its target: {call}");
    }
}

#[tokio::test]
async fn a_line_is_a_json_object_with_its_fields_beside_what_every_line_has() {
    let gateway = Gateway::start(tenant("acme", KEY)).await;
    gateway.admin().post("/v1/tenants/acme/endpoints/none/disable", "").await.expect(404);
    let read = async |message: &str| -> Value {
        let line = gateway.logged(&[&format!("\"message\":\"{message}\"")]).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let started = read("admin listening").await;
    assert_eq!(
        (&started["level"], &started["target"], started["addr"].as_str()),
        (&"INFO".into(), &"hookweir::app".into(), Some(gateway.admin_address().to_string().as_str()))
    );
    let timestamp = started["timestamp"].as_str().expect("a timestamp");
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    let steered = read("steered").await;
    let shown = ["target", "caller", "method", "path", "status"].map(|field| steered[field].clone());
    let wanted: [Value; 5] = [
        "hookweir::audit".into(),
        "local".into(),
        "POST".into(),
        "/v1/tenants/acme/endpoints/none/disable".into(),
        404.into(),
    ];
    assert_eq!(shown, wanted);
}
