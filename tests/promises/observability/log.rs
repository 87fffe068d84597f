//! The lines of the log that are documented are those that the gateway writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hookweir_tests::{Gateway, KEY, repository, tenant};
use serde_json::Value;

use super::{table, words};

/// The macros that write a line.
const MACROS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];

/// A call that writes a line of the log.
struct Call {
    file: String,
    level: &'static str,
    /// Its arguments as they are written.
    arguments: String,
}

impl Call {
    fn target(&self) -> Option<&str> {
        self.arguments.trim_start().strip_prefix("target: \"")?.split('"').next()
    }
}

/// Every call of the gateway's crates that writes a line.
fn calls() -> Vec<Call> {
    let mut folders: Vec<PathBuf> = fs::read_dir(repository().join("gateway"))
        .expect("the crates")
        .map(|entry| entry.expect("a crate").path().join("src"))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                found.extend(calls_in(&text).map(|(level, arguments)| Call {
                    file: path.display().to_string(),
                    level,
                    arguments: arguments.to_owned(),
                }));
            }
        }
    }
    assert!(found.len() > 100, "{} calls were found", found.len());
    found
}

/// The calls in one source: the level, and what stands between the parentheses.
fn calls_in(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    MACROS.iter().flat_map(move |name| {
        let starts = text.match_indices(name).filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        starts.map(|(at, _)| (&name[..name.len() - 2], arguments(&text[at + name.len()..])))
    })
}

/// Up to the parenthesis that closes the call. Those in texts don't count.
fn arguments(text: &str) -> &str {
    let (mut depth, mut in_text, mut is_escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text && depth == 0 => return &text[..at],
            ')' if !in_text => depth -= 1,
            _ => {}
        }
    }
    text
}

#[test]
fn a_call_is_read_to_its_end() {
    let text = r#"fn f() { warn!(target: "a", x = g(1), "a ) \" b"); my_info!("no"); tracing::info!("c"); }"#;
    let mut found: Vec<_> = calls_in(text).collect();
    found.sort_unstable();
    assert_eq!(found, [("info", r#""c""#), ("warn", r#"target: "a", x = g(1), "a ) \" b""#)]);
}

/// A file may get another name, and who filters or watches the log by targets notices nothing.
#[test]
fn every_line_names_a_documented_target() {
    let documented: Vec<String> = table("target").iter().flat_map(|cells| words(&cells[0])).collect();
    let mut used = BTreeSet::new();
    for call in calls() {
        let target = call.target();
        let target = target.unwrap_or_else(|| panic!("{}: no target in {}", call.file, call.arguments));
        assert!(documented.iter().any(|known| known == target), "{}: {target} is not documented", call.file);
        used.insert(target.to_owned());
    }
    let documented: BTreeSet<String> = documented.into_iter().collect();
    assert_eq!(used, documented, "the targets that are used, and those that are documented");
}

#[test]
fn every_documented_line_is_written_with_its_level_and_fields() {
    let rows = table("message");
    assert!(rows.len() > 10, "the table is there: {rows:?}");
    let calls = calls();
    for cells in rows {
        let [message, level, fields, target] = <[String; 4]>::try_from(cells).expect("four cells");
        let (message, target) = (words(&message).concat(), words(&target).concat());
        let written = format!("\"{message}\"");
        let call = calls.iter().find(|call| call.arguments.contains(&written));
        let call = call.unwrap_or_else(|| panic!("nothing writes {message:?}"));
        assert_eq!((call.level, call.target()), (level.as_str(), Some(target.as_str())), "{message}");
        for field in words(&fields) {
            let is_field = call.arguments.split([' ', ',', '(', '\n', '%']).any(|word| word == field);
            assert!(is_field, "{message} has no {field}: {}", call.arguments);
        }
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
        (&"INFO".into(), &"hookweir::listener".into(), Some(gateway.admin_address().to_string().as_str()))
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
