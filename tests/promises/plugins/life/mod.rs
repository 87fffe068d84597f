//! A plugin's life in a gateway: uploaded, tried, in force, replaced under load, rolled back, paused and resumed.

mod dry_run;
mod pause;
mod swap;
mod upload;

use hookweir_tests::{Admin, Answer, KEY, endpoint, tenant};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::guests::{filter, plugin as both, transformer};

/// A plugin of tenant `acme` that is managed by upload.
fn uploaded(name: &str, lines: &str) -> String {
    format!("[tenants.acme.plugins.{name}]\n{lines}\n")
}

/// The tenant, a plugin `p` that is uploaded, and an endpoint `hook` that uses it.
fn acme(url: &str, lines: &str) -> String {
    tenant("acme", KEY) + &uploaded("p", "") + &endpoint("acme", "hook", url, lines)
}

/// A filter that keeps everything; `n` tells one from another.
fn keeps(n: u32) -> Vec<u8> {
    filter(&format!("(drop (i32.const {n})) (i32.const 1040)"))
}

/// A filter that drops everything, for the reason "elsewhere".
fn drops() -> Vec<u8> {
    filter(
        "(i32.store8 (i32.const 1028) (i32.const 1)) \
         (i32.store (i32.const 1032) (i32.const 552)) (i32.store (i32.const 1036) (i32.const 9)) (i32.const 1024)",
    )
}

/// A plugin that keeps everything as a filter, and traps as a transformer.
fn keeps_and_traps() -> Vec<u8> {
    both("(i32.const 1040)", "(unreachable)")
}

/// A filter that traps on data that starts with `0` and keeps all else.
fn picky() -> Vec<u8> {
    // The event's last field is its data: address and length after fifteen words.
    filter(
        "(if (i32.eq (i32.load8_u (i32.load offset=60 (local.get $event))) (i32.const 48)) (then (unreachable))) \
         (i32.const 1040)",
    )
}

/// A transformer that makes the same body of everything: `host` or `elsewhere`.
fn says(word: &str) -> Vec<u8> {
    transformer(&making(word))
}

/// The body of a call that makes this of an event.
fn making(word: &str) -> String {
    let (at, length) = match word {
        "host" => (544, 4),
        "elsewhere" => (552, 9),
        other => panic!("no guest says {other:?}"),
    };
    format!(
        "(i32.store (i32.const 1028) (i32.const 512)) (i32.store (i32.const 1032) (i32.const 16)) \
         (i32.store (i32.const 1044) (i32.const {at})) (i32.store (i32.const 1048) (i32.const {length})) \
         (i32.const 1024)"
    )
}

fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

const PLUGIN: &str = "/v1/tenants/acme/plugins/p";

async fn put(admin: &Admin, wasm: &[u8]) -> Answer {
    admin.put(PLUGIN, wasm.to_vec()).await
}

async fn post(admin: &Admin, verb: &str) -> Answer {
    admin.post(&format!("{PLUGIN}/{verb}"), "").await
}

/// The sentence of a refusal.
fn detail(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer}");
    answer.json()["detail"].as_str().expect("a detail").to_owned()
}

async fn plugin(admin: &Admin) -> Value {
    admin.json(PLUGIN).await
}
