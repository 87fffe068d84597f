//! The shipped plugins against their golden events: `plugins/<name>/golden/<case>.json`, each one event with what the
//! plugin must make of it.
//!
//! The components are taken from `plugins/dist`, or from the folder that `HOOKWEIR_PLUGINS` names, so that freshly
//! built ones are held to the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::{FaultKind, Job, Plugin, Step, Verdict};
use hookweir_model::{Event, EventId, EventType, PluginRole, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::setup::{Setup, step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    event: GoldenEvent,
    config: Option<Box<RawValue>>,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenEvent {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    subject: Option<String>,
    time: String,
    content_type: String,
    attributes: Vec<(String, String)>,
    /// Sent as compact JSON, its numbers and the order of its keys as they stand in the file.
    data: Option<Box<RawValue>>,
    /// Sent as it is.
    data_text: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Expected {
    Verdict(Kept),
    Outgoing(Made),
    Failure(Failed),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Kept {
    Keep(bool),
    Drop(String),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    content_type: String,
    headers: Vec<(String, String)>,
    data: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Failed {
    Invalid(String),
    Unavailable(String),
}

fn plugins_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

fn components_dir() -> PathBuf {
    // A relative path is meant from where the tests were started, which is not where cargo runs them.
    let named = std::env::var_os("HOOKWEIR_PLUGINS").map(PathBuf::from);
    named.map_or_else(
        || plugins_dir().join("dist"),
        |dir| if dir.is_absolute() { dir } else { plugins_dir().join("..").join(dir) },
    )
}

/// The golden files by plugin, in order.
fn golden_files() -> Vec<(String, Vec<PathBuf>)> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    list(&plugins_dir())
        .into_iter()
        .filter(|plugin| plugin.join("golden").is_dir())
        .map(|plugin| {
            let name = plugin.file_name().unwrap().to_str().unwrap().to_owned();
            (name, list(&plugin.join("golden")))
        })
        .collect()
}

/// Leaves out the white space between the tokens of a JSON text.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in json.chars() {
        if in_string || !letter.is_ascii_whitespace() {
            out.push(letter);
        }
        in_string ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    out
}

fn event(golden: GoldenEvent, tenant: &TenantId) -> Event {
    let data = match (golden.data, golden.data_text) {
        (Some(json), None) => compact(json.get()),
        (None, Some(text)) => text,
        _ => panic!("an event has either data or data_text"),
    };
    Event {
        tenant: tenant.clone(),
        id: EventId::new(&golden.id).unwrap(),
        event_type: EventType::new(&golden.event_type).unwrap(),
        source: golden.source,
        subject: golden.subject,
        time: golden.time,
        received: Timestamp::from_millis(0),
        content_type: golden.content_type,
        attributes: golden.attributes,
        ordering_key: None,
        data: Bytes::from(data),
    }
}

fn role(expected: &Expected, plugin: &Plugin) -> PluginRole {
    match expected {
        Expected::Verdict(_) => PluginRole::Filter,
        Expected::Outgoing(_) => PluginRole::Transformer,
        Expected::Failure(_) if plugin.exports().filter => PluginRole::Filter,
        Expected::Failure(_) => PluginRole::Transformer,
    }
}

fn outcome(verdict: Verdict, role: PluginRole) -> Result<Expected, String> {
    match (verdict, role) {
        (Verdict::Keep(None), PluginRole::Filter) => Ok(Expected::Verdict(Kept::Keep(true))),
        (Verdict::Drop { reason, .. }, _) => Ok(Expected::Verdict(Kept::Drop(reason))),
        (Verdict::Keep(Some(made)), _) => Ok(Expected::Outgoing(Made {
            content_type: made.content_type,
            headers: made.headers,
            data: serde_json::from_slice(&made.data).map_err(|error| error.to_string())?,
        })),
        (Verdict::Fault(fault), _) => match fault.kind {
            FaultKind::Invalid => Ok(Expected::Failure(Failed::Invalid(fault.message))),
            FaultKind::Unavailable => Ok(Expected::Failure(Failed::Unavailable(fault.message))),
            kind => Err(format!("{kind:?}: {}", fault.message)),
        },
        (other, _) => Err(format!("{other:?}")),
    }
}

async fn run(setup: &Setup, name: &str, plugin: &Arc<Plugin>, file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).unwrap();
    let case: Case = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let role = role(&case.expected, plugin);
    let config = case.config.map_or_else(|| "{}".to_owned(), |config| compact(config.get()));
    let step = Step { config: config.into(), ..step(name, role, plugin) };
    let tenant = TenantId::new("golden").unwrap();
    let job = Job { event: Arc::new(event(case.event, &tenant)), tenant, steps: vec![step].into() };
    let found = outcome(setup.host.run(job).await.verdict, role)?;
    if found == case.expected {
        Ok(())
    } else {
        Err(format!("expected {:#?}\nfound {found:#?}", case.expected))
    }
}

#[tokio::test]
async fn golden_events() {
    let setup = Setup::new(2).await;
    let (mut ran, mut wrong) = (0, Vec::new());
    for (name, files) in golden_files() {
        let component = components_dir().join(format!("{name}.wasm"));
        let wasm = fs::read(&component)
            .unwrap_or_else(|error| panic!("{}: {error}; run plugins/build", component.display()));
        let plugin = setup.load(wasm.into()).await;
        for file in files {
            ran += 1;
            if let Err(error) = run(&setup, &name, &plugin, &file).await {
                wrong.push(format!("{}: {error}", file.display()));
            }
        }
    }
    assert!(ran > 0, "there are no golden events in {}", plugins_dir().display());
    assert!(wrong.is_empty(), "{} of {ran} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn golden_json_is_compacted_outside_strings_only() {
    for (json, compacted) in [
        ("{ \"a\" : [ 1.50 , \"b c\" ] }\n", r#"{"a":[1.50,"b c"]}"#),
        (r#"{ "q\" \\" : " \\\" " }"#, r#"{"q\" \\":" \\\" "}"#),
    ] {
        assert_eq!(compact(json), compacted);
    }
}
