//! Components of earlier days. A plugin that a tenant built against a released version of the contract must load and
//! run for ever, so the files in `tests/fixtures/<version>` are never built again: where a test here fails, it is the
//! gateway that has to change.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, LoadError, Outgoing, Step, Verdict};
use hookweir_model::Digest;
use hookweir_model::PluginRole::{self, Filter, Transformer};
use serde_json::{Value, json};

use crate::guest;
use crate::setup::{Setup, job, step};

const KEEP_ABOVE: &str = "99d9f73aee92c416278a5c32ed92ac35214d36004e31dd6f9cb22b6f643e959f";
const TO_SLACK: &str = "8c0e53db24d3fb45651a4a9e303a765625afc93d63689e2851479bb3c7d7d998";

/// A component of version 0.1.0, which must be the very file that was put there.
fn frozen(name: &str, digest: &str) -> Bytes {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/0.1.0");
    let wasm = std::fs::read(dir.join(name)).unwrap();
    assert_eq!(Digest::of(&wasm), Digest::parse(digest).unwrap(), "{name} is never built again");
    wasm.into()
}

/// What one component makes of some data, under a config.
async fn run(setup: &Setup, wasm: Bytes, role: PluginRole, config: &Value, data: &Value) -> Verdict {
    let plugin = setup.load(wasm).await;
    let step = Step { config: config.to_string().into(), ..step("frozen", role, &plugin) };
    setup.host.run(job("a", data.to_string().as_bytes(), vec![step])).await.verdict
}

#[tokio::test]
async fn a_filter_of_version_0_1_0() {
    let setup = Setup::new(1).await;
    let filter = frozen("keep-above.wasm", KEEP_ABOVE);
    let config = json!({"field": "amount", "minimum": 100});
    let kept = run(&setup, filter.clone(), Filter, &config, &json!({"amount": 250})).await;
    assert_eq!(kept, Verdict::Keep(None));
    let dropped = run(&setup, filter, Filter, &config, &json!({"amount": 99})).await;
    let Verdict::Drop { reason, .. } = dropped else { panic!("{dropped:?}") };
    assert_eq!(reason, "`amount` is 99, below the minimum of 100");
}

#[tokio::test]
async fn a_transformer_of_version_0_1_0() {
    let setup = Setup::new(1).await;
    let config = json!({"title": "Order", "fields": ["order.id"]});
    let transformer = frozen("to-slack.wasm", TO_SLACK);
    let made = run(&setup, transformer, Transformer, &config, &json!({"order": {"id": "A-7"}})).await;
    let Verdict::Keep(Some(Outgoing { content_type, headers, data })) = made else { panic!("{made:?}") };
    assert_eq!((content_type.as_str(), headers), ("application/json", Vec::new()));
    let message: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(message["text"], "Order\norder.id: A-7");
    assert_eq!(message["blocks"][1]["fields"][0]["text"], "*order.id*\nA-7");
}

/// The echoing filter, as a toolchain would build it from a package of another version.
fn of_version(version: &str) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let rename = |text: String| text.replace("@0.1.0", &format!("@{version}"));
    for file in std::fs::read_dir(guest::wit_dir()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "wit") {
            let text = rename(std::fs::read_to_string(&file).unwrap());
            std::fs::write(dir.path().join(file.file_name().unwrap()), text).unwrap();
        }
    }
    let module = wat::parse_str(rename(guest::echo_module())).unwrap();
    guest::wrap_for(dir.path(), "filter-plugin", module)
}

#[tokio::test]
async fn versions_that_fit_are_loaded_and_others_are_refused() {
    let setup = Setup::new(1).await;
    for version in ["0.1.0", "0.1.1", "0.1.12"] {
        let plugin = setup.load(of_version(version)).await;
        let steps = vec![step("echo", Filter, &Arc::clone(&plugin))];
        let ran = setup.host.run(job("a", b"hello", steps)).await;
        let echoed = matches!(&ran.verdict, Verdict::Drop { reason, .. } if reason == "hello");
        assert!(echoed, "{version}: {:?}", ran.verdict);
    }
    for version in ["0.2.0", "0.10.0", "1.0.0"] {
        let error = setup
            .host
            .load(of_version(version), COMPILE_DEADLINE)
            .await
            .map(|plugin| plugin.digest())
            .unwrap_err();
        assert!(matches!(error, LoadError::Import { .. } | LoadError::NoExport { .. }), "{version}: {error}");
        assert!(error.to_string().contains(version), "{error}");
    }
}
