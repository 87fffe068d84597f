//! Plugins that loop, grab memory, overflow, trap, lie or ask for what they may not have.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use hookweir_tests::{
    Config, Gateway, KEY, NotStarted, Receiver, Reply, binary, endpoint, eventually, eventually_by, plugin,
    run, tenant,
};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::guests::{filter, install, transformer};

const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";
/// How far memory may be from where it was, after hundreds of bad calls.
const MEMORY_SLACK: u64 = 16 << 20;

/// A plugin that does harm when it is called, and a word of the reason that its deliveries fail with.
struct Hostile {
    name: &'static str,
    role: &'static str,
    wasm: Vec<u8>,
    reason: &'static str,
}

fn hostile() -> Vec<Hostile> {
    let drop_with = |text: &str, length: &str| {
        format!(
            "(i32.store8 (i32.const 1024) (i32.const 0)) (i32.store8 (i32.const 1028) (i32.const 1)) \
             (i32.store (i32.const 1032) {text}) (i32.store (i32.const 1036) {length}) (i32.const 1024)"
        )
    };
    // The result of a transformer: content type at 512, then headers and data as given.
    let outgoing = |headers: &str, data: &str| {
        format!(
            "(i32.store8 (i32.const 1024) (i32.const 0)) \
             (i32.store (i32.const 1028) (i32.const 512)) (i32.store (i32.const 1032) (i32.const 16)) {headers} {data} \
             (i32.const 1024)"
        )
    };
    let no_headers = "(i32.store (i32.const 1036) (i32.const 0)) (i32.store (i32.const 1040) (i32.const 0))";
    let one_header = "(i32.store (i32.const 2048) (i32.const 544)) (i32.store (i32.const 2052) (i32.const 4)) \
                      (i32.store (i32.const 2056) (i32.const 552)) (i32.store (i32.const 2060) (i32.const 9)) \
                      (i32.store (i32.const 1036) (i32.const 2048)) (i32.store (i32.const 1040) (i32.const 1))";
    let no_data = "(i32.store (i32.const 1044) (i32.const 0)) (i32.store (i32.const 1048) (i32.const 0))";
    let three_mebibytes = "(drop (memory.grow (i32.const 64))) \
                           (i32.store (i32.const 1044) (i32.const 65536)) (i32.store (i32.const 1048) (i32.const 3145728))";
    let out_of_bounds =
        "(i32.store (i32.const 1044) (i32.const 65536)) (i32.store (i32.const 1048) (i32.const 2147483647))";
    [
        ("loop", "filters", filter("(loop $on (br $on)) (unreachable)"), "processor time"),
        (
            "memory-bomb",
            "filters",
            filter("(loop $on (drop (memory.grow (i32.const 16))) (br $on)) (unreachable)"),
            "memory",
        ),
        ("recursion", "filters", filter("(call $again (local.get $event))"), "stack"),
        ("trap", "filters", filter("(unreachable)"), "trap"),
        (
            "bad-verdict",
            "filters",
            filter("(i32.store8 (i32.const 1024) (i32.const 77)) (i32.const 1024)"),
            "",
        ),
        ("bad-pointer", "filters", filter("(i32.const 2147483644)"), ""),
        ("not-text", "filters", filter(&drop_with("(i32.const 568)", "(i32.const 2)")), ""),
        (
            "oversized",
            "transformers",
            transformer(&outgoing(no_headers, three_mebibytes)),
            "more than 2097152 bytes",
        ),
        ("out-of-bounds", "transformers", transformer(&outgoing(no_headers, out_of_bounds)), ""),
        ("stolen-header", "transformers", transformer(&outgoing(one_header, no_data)), "host"),
    ]
    .map(|(name, role, wasm, reason)| Hostile { name, role, wasm, reason })
    .into()
}

#[tokio::test]
async fn a_plugin_that_does_harm_fails_its_own_deliveries_alone() {
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let hostile = hostile();
    let mut config = tenant("acme", KEY);
    for Hostile { name, role, wasm, .. } in &hostile {
        config += &install(folder.path(), "acme", name, wasm);
        config += &endpoint("acme", name, &receiver.url("/hostile"), &format!("{role} = [\"{name}\"]"));
    }
    let keep_above = std::fs::read(plugin("keep-above")).expect("the shipped plugin");
    config += &tenant("globex", OTHER_KEY);
    config += &install(folder.path(), "globex", "keep-above", &keep_above);
    config += "config = { field = \"amount\", minimum = 100 }\n";
    config += &endpoint("globex", "hook", &receiver.url("/good"), "filters = [\"keep-above\"]");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();

    let mut before = 0;
    for round in 0..20 {
        let bad = gateway.sender().event("a.b", r#"{"amount":1}"#).await;
        let good = gateway.sender_of("globex", OTHER_KEY).event("a.b", r#"{"amount":100}"#).await;
        admin.delivery("globex", &good, "hook", "delivered").await;
        for Hostile { name, wasm, reason, .. } in &hostile {
            let detail = admin.delivery("acme", &bad, name, "failed").await;
            let told =
                detail["delivery"]["reason"].as_str().unwrap_or_else(|| panic!("no reason in {detail}"));
            assert!(told.contains(name) && told.contains(reason), "{name}: {told}");
            let digest = Sha256::digest(wasm).iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            let call = &detail["attempts"][0]["plugins"][0];
            assert_eq!(call["digest"], digest, "{name}: {detail}");
            if round == 0 {
                println!("{name}: {told}");
            }
        }
        if round % 4 == 3 {
            // Five failures in a row would pause them, and these calls are to be made.
            for Hostile { name, .. } in &hostile {
                admin.post(&format!("/v1/tenants/acme/plugins/{name}/resume"), "").await.expect(200);
            }
        }
        if round == 0 {
            // From here on all plugins are compiled and all pools are warm.
            before = gateway.resident();
        }
    }
    assert!(
        receiver.requests().iter().all(|request| request.path == "/good"),
        "nothing is sent past a failed plugin"
    );
    eventually("memory to be where it was", async || match gateway.resident() {
        now if now <= before + MEMORY_SLACK => {
            println!("{} MiB resident before, {} MiB after", before >> 20, now >> 20);
            Ok(())
        }
        now => Err(format!("{} MiB, {} MiB before", now >> 20, before >> 20)),
    })
    .await;
    let failures = admin.get("/metrics").await.expect(200).text();
    assert!(
        failures.contains(
            "hookweir_plugin_failures_total{tenant=\"acme\",plugin=\"loop\",reason=\"deadline\"} 20"
        )
    );
}

#[tokio::test]
async fn a_tenant_whose_plugins_hang_does_not_hold_up_another() {
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY)
        + &install(folder.path(), "acme", "loop", &filter("(loop $on (br $on)) (unreachable)"))
        + &endpoint("acme", "hook", &receiver.url("/never"), "filters = [\"loop\"]")
        + &tenant("globex", OTHER_KEY)
        + &install(folder.path(), "globex", "keeps", &filter("(i32.const 1040)"))
        + &endpoint("globex", "hook", &receiver.url("/good"), "filters = [\"keeps\"]");
    // A deadline that a hundred stuck calls make minutes of.
    let config = Config { plugins: "deadline = \"100ms\"".to_owned(), ..Config::new(config) };
    let gateway = Gateway::start(config).await;
    let mut stuck = Vec::new();
    for _ in 0..200 {
        stuck.push(gateway.sender().event("a.b", "1").await);
    }
    for _ in 0..50 {
        gateway.admin().post("/v1/tenants/acme/plugins/loop/resume", "").await.expect(200);
        let good = gateway.sender_of("globex", OTHER_KEY).event("a.b", "1").await;
        receiver.wait_for_event(&good).await;
    }
    let waiting = gateway.admin().count("acme", "hook", "pending").await;
    println!("{waiting} of {} stuck deliveries still wait while the other tenant's are done", stuck.len());
    assert!(receiver.requests().iter().all(|request| request.path == "/good"));
    // Five in a row pause the plugin; each resume has five more of them fail.
    // That is twenty seconds of processor time, on a thread that everything else comes before.
    eventually_by(Duration::from_secs(600), "every stuck delivery to have failed", async || {
        gateway.admin().post("/v1/tenants/acme/plugins/loop/resume", "").await.expect(200);
        let failed = gateway.admin().count("acme", "hook", "failed").await;
        if failed == stuck.len() as u64 { Ok(()) } else { Err(format!("{failed} of {}", stuck.len())) }
    })
    .await;
}

/// What is refused when it is loaded, and words that the refusal must have.
fn unloadable() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let wat = |text: &str| wat::parse_str(text).expect("WebAssembly text");
    vec![
        (
            "wants-wasi",
            wat(
                r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func)))))"#,
            ),
            &["wasi:cli/environment@0.2.0"],
        ),
        (
            "wants-network",
            wat(r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "connect" (func)))))"#),
            &["wasi:sockets/tcp@0.2.0"],
        ),
        ("wants-function", wat(r#"(component (import "read-secret" (func)))"#), &["read-secret"]),
        ("core-module", wat(r#"(module (func (export "filter")))"#), &["component"]),
        ("exports-nothing", wat("(component)"), &["filter"]),
        ("text-file", b"(component)".to_vec(), &[]),
        ("garbage", b"\0asm\x0d\0\x01\0 and then something else".to_vec(), &[]),
        ("cut-off", filter("(i32.const 1040)").into_iter().take(300).collect(), &[]),
        ("transformer", transformer("(unreachable)"), &["filter"]),
    ]
}

/// One function of very many branches and variables: small enough to be taken, and far too much for a compiler in its
/// limits.
fn compile_bomb() -> Vec<u8> {
    const VARIABLES: usize = 20_000;
    const BLOCKS: usize = 400;
    let mut body = format!("(local {})", "i32 ".repeat(VARIABLES));
    body += &"block ".repeat(BLOCKS);
    for step in 0..60_000 {
        let variable = |factor: usize| 1 + step * factor % VARIABLES;
        let _ = write!(
            body,
            "local.get {} br_if {} local.get {} local.get {} i32.add local.set {} ",
            variable(1),
            step % BLOCKS,
            variable(13),
            variable(31),
            variable(7),
        );
    }
    body += &"end ".repeat(BLOCKS);
    filter(&(body + "i32.const 1040"))
}

/// A configuration with one plugin, and the port of its accept listener is never bound.
fn with_filter(folder: &Path, name: &str, wasm: &[u8]) -> String {
    tenant("acme", KEY)
        + &install(folder, "acme", name, wasm)
        + &endpoint("acme", "hook", "http://127.0.0.1:9/", &format!("filters = [\"{name}\"]"))
}

#[tokio::test]
async fn what_may_not_or_cannot_run_is_refused_when_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder for plugins");
    for (name, wasm, words) in unloadable() {
        let plugins = "compile_deadline = \"5s\"".to_owned();
        let config = Config { plugins, ..Config::new(with_filter(folder.path(), name, &wasm)) };
        let NotStarted { code, stderr } = match Gateway::try_start(config.clone()).await {
            Err(refused) => refused,
            Ok(_) => panic!("{name}: the gateway started with it"),
        };
        assert_eq!(code, Some(78), "{name}: {stderr}");
        println!("{name}: {}", stderr.trim());
        for word in words.iter().copied().chain([name]) {
            assert!(stderr.contains(word), "{name}: no {word:?} in {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");

        let path = folder.path().join("hookweir.toml");
        std::fs::write(&path, config.text()).expect("the configuration to be written");
        let checked =
            run(Command::new(binary()).arg("check").arg("--config").arg(&path), b"").await.expect(78);
        assert!(checked.stderr.contains(name), "{name}: {}", checked.stderr);
    }
}

#[tokio::test]
async fn a_plugin_that_can_not_be_compiled_makes_its_endpoints_wait_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = with_filter(folder.path(), "compile-bomb", &compile_bomb())
        + &endpoint("acme", "other", &receiver.url("/other"), "");
    let plugins = "compile_deadline = \"5s\"".to_owned();
    let config = Config { plugins, ..Config::new(config) };
    let gateway = Gateway::start(config.clone()).await;
    gateway.logged(&["ERROR", "compile-bomb", "compil", "a part of the configuration can't be used"]).await;
    let event = gateway.sender().event("a.b", "1").await;
    let admin = gateway.admin();
    admin.delivery("acme", &event, "other", "delivered").await;
    let endpoint = admin.json("/v1/tenants/acme/endpoints/hook").await;
    let waits = endpoint["waits"].as_str().unwrap_or_default();
    assert!(waits.contains("compile-bomb") && waits.contains("compil"), "{endpoint}");
    admin.delivery("acme", &event, "hook", "pending").await;
    let path = folder.path().join("hookweir.toml");
    std::fs::write(&path, config.text()).expect("the configuration to be written");
    let checked = run(Command::new(binary()).arg("check").arg("--config").arg(&path), b"").await.expect(78);
    assert!(checked.stderr.contains("compil"), "{}", checked.stderr);
}

#[tokio::test]
async fn a_bad_plugin_in_a_reload_leaves_the_old_one_in_force() {
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let with = |file: &str, wasm: &[u8]| {
        tenant("acme", KEY)
            + &install(folder.path(), "acme", file, wasm)
            + &endpoint("acme", "hook", &receiver.url("/hook"), &format!("filters = [\"{file}\"]"))
    };
    let gateway = Gateway::start(with("keeps", &filter("(i32.const 1040)"))).await;
    gateway.reconfigure(with(
        "wants-function",
        &wat::parse_str(r#"(component (import "read-secret" (func)))"#).expect("text"),
    ));
    gateway.reload();
    gateway.logged(&["wants-function", "read-secret", "stays in force"]).await;
    let event = gateway.sender().event("a.b", "1").await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
}
