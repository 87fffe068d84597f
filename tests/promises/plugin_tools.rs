//! `hookweir plugin`: from an empty folder to a tested plugin, and what each command says when something is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use hookweir_tests::{Output, binary, languages, plugin, repository, run};
use serde_json::{Value, json};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::process::Command;

use crate::plugins::guests::filter;

const LANGUAGES: [&str; 4] = ["rust", "javascript", "python", "c"];

/// A folder to work in, with a cache of its own.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, typed: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg("plugin").args(typed.split(' ')).current_dir(self.folder.path());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    async fn plugin(&self, typed: &str) -> Output {
        run(&mut self.command(typed), b"").await
    }

    /// A plugin's folder: the cases and settings of one in the repository, with this component.
    fn with_cases_of(&self, folder: &Path, component: &Path) {
        for part in ["events", "expected"] {
            let to = self.path(part);
            fs::create_dir_all(&to).expect("a folder");
            for entry in fs::read_dir(folder.join(part)).expect("the cases") {
                let entry = entry.expect("a case");
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
        let settings = fs::read_to_string(folder.join("plugin.toml")).expect("plugin.toml");
        let component_line = format!("component = {:?}", component.display().to_string());
        let settings: Vec<&str> = settings
            .lines()
            .map(|line| if line.starts_with("component") { component_line.as_str() } else { line })
            .collect();
        fs::write(self.path("plugin.toml"), settings.join("\n")).expect("plugin.toml");
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

#[tokio::test]
async fn the_shipped_plugins_do_what_they_are_expected_to() {
    for (name, least) in [("keep-above", 20), ("to-slack", 20)] {
        let desk = Desk::new();
        desk.with_cases_of(
            &repository().join("plugins").join(name),
            &fs::canonicalize(plugin(name)).expect("a plugin"),
        );
        let output = desk.plugin("test . --json").await.expect(0);
        let report = json_of(&output);
        assert_eq!(report["failed"], 0, "{report}");
        assert!(report["passed"].as_u64() >= Some(least), "{report}");
    }
}

/// The golden suite: the same events through the same plugin in four languages, built from source.
#[tokio::test]
async fn four_languages_give_the_same_bytes() {
    let mut reports = Vec::new();
    for language in LANGUAGES {
        let desk = Desk::new();
        desk.with_cases_of(&repository().join("examples").join(language), &languages(language));
        // An interpreter takes longer on a slow machine; its bytes are what counts here.
        let settings = fs::read_to_string(desk.path("plugin.toml")).expect("plugin.toml");
        desk.write("plugin.toml", &format!("{settings}\n[limits]\ndeadline = \"100ms\"\n"));
        let report = json_of(&desk.plugin("test . --json").await.expect(0));
        assert_eq!(
            (&report["world"], &report["failed"]),
            (&json!("plugin"), &json!(0)),
            "{language}: {report}"
        );
        reports.push(report["cases"].as_array().expect("cases").clone());
    }
    let cases = reports[0].len();
    assert!(cases >= 30, "{cases} cases");
    let mut made = 0;
    for index in 0..cases {
        let of = |key: &str| -> Vec<&Value> { reports.iter().map(|cases| &cases[index][key]).collect() };
        for key in ["name", "results", "made"] {
            assert!(of(key).windows(2).all(|pair| pair[0] == pair[1]), "{:?}", of(key));
        }
        let logs: Vec<Vec<&Value>> = reports
            .iter()
            .map(|cases| {
                cases[index]["calls"].as_array().expect("calls").iter().map(|call| &call["log"]).collect()
            })
            .collect();
        assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "{logs:?}");
        made += usize::from(of("made")[0]["sha256"].is_string());
    }
    assert!(made >= 10, "only {made} of {cases} cases came to an outgoing message");
}

#[tokio::test]
async fn a_new_folder_is_whole_and_bears_its_name() {
    let desk = Desk::new();
    for language in LANGUAGES {
        let name = format!("big-{language}");
        let output = desk.plugin(&format!("new --lang {language} {name}")).await.expect(0);
        assert!(output.stdout.contains(&format!("hookweir plugin build {name}")), "{}", output.stdout);
        let settings = fs::read_to_string(desk.path(&name).join("plugin.toml")).expect("plugin.toml");
        assert!(settings.contains(&format!("name = \"{name}\"")), "{settings}");
        for file in ["README.md", "wit/worlds.wit", "events/kept.json", "expected/kept.json"] {
            assert!(desk.path(&name).join(file).is_file(), "{name}/{file}");
        }
        let again = desk.plugin(&format!("new --lang {language} {name}")).await.expect(2);
        assert!(again.stderr.contains("is there already"), "{}", again.stderr);
        let built = desk.plugin(&format!("test {name}")).await.expect(2);
        assert!(built.stderr.contains(&format!("hookweir plugin build {name}")), "{}", built.stderr);
    }
    let named = desk.plugin("new --lang c 1st").await.expect(2);
    assert!(named.stderr.contains("small letters"), "{}", named.stderr);
    desk.plugin("new --lang perl p").await.expect(2);
}

#[tokio::test]
async fn a_missing_toolchain_is_named_with_its_command() {
    let desk = Desk::new();
    for (language, install) in [
        ("rust", "https://sh.rustup.rs"),
        ("javascript", "npm install --global componentize-qjs"),
        ("python", "pip install componentize-py"),
        ("c", "pip install ziglang"),
    ] {
        desk.plugin(&format!("new --lang {language} {language}-one")).await.expect(0);
        let mut command = desk.command(&format!("build {language}-one"));
        command.env("PATH", "").env_remove("VIRTUAL_ENV").env_remove("RUSTC");
        let output = run(&mut command, b"").await.expect(1);
        assert!(output.stderr.contains(install), "{}", output.stderr);
    }
}

#[tokio::test]
async fn a_failed_case_shows_the_difference_and_update_takes_it() {
    let desk = Desk::new();
    desk.with_cases_of(
        &repository().join("plugins/keep-above"),
        &fs::canonicalize(plugin("keep-above")).expect("a plugin"),
    );
    desk.write("expected/above.json", r#"{"filter": {"drop": "never"}}"#);
    fs::remove_file(desk.path("expected/below.json")).expect("a case");
    let output = desk.plugin("test").await.expect(1);
    for part in ["-    \"drop\": \"never\"", "+    \"keep\": true", "--update", "2 FAILED", "16.0 MiB"] {
        assert!(output.stdout.contains(part), "{part:?} in {}", output.stdout);
    }
    let one = desk.plugin("test --case above").await.expect(1);
    assert!(one.stdout.contains("0 passed, 1 FAILED"), "{}", one.stdout);
    desk.plugin("test --case nowhere").await.expect(1);
    desk.plugin("test --update").await.expect(0);
    let output = desk.plugin("test").await.expect(0);
    assert!(output.stdout.contains(" passed") && !output.stdout.contains("FAILED"), "{}", output.stdout);
    let kept = fs::read_to_string(desk.path("expected/above.json")).expect("a case");
    assert_eq!(kept, "{\n  \"filter\": {\n    \"keep\": true\n  }\n}\n");
}

#[tokio::test]
async fn a_fault_is_never_an_expected_result() {
    let desk = Desk::new();
    let traps_on_zeros = filter(
        "(if (i32.eq (i32.load8_u (i32.load offset=60 (local.get $event))) (i32.const 48)) (then (unreachable))) \
         (i32.const 1040)",
    );
    fs::write(desk.path("p.wasm"), traps_on_zeros).expect("a component");
    desk.write("plugin.toml", "name = 'p'\nlanguage = 'rust'\ncomponent = 'p.wasm'");
    desk.write("events/zero.json", r#"{"event": {"type": "a.b", "data": 0}}"#);
    desk.write("events/one.json", r#"{"event": {"type": "a.b", "data": 1}}"#);
    let written = |case: &str| fs::read_to_string(desk.path(&format!("expected/{case}.json")));

    let output = desk.plugin("test --update").await.expect(1);
    for part in [
        "it broke as a filter (trap): it gave up",
        "a fault is never what is expected: mend the plugin, or its `config` or `limits`",
        "nothing was written to ./expected/zero.json",
        "1 written, 1 FAILED",
    ] {
        assert!(output.stdout.contains(part), "{part:?} in {}", output.stdout);
    }
    assert!(written("one").is_ok() && written("zero").is_err(), "{}", output.stdout);

    // A file that holds the very fault, as it was written before or by hand.
    let trap = r#"{"filter": {"failure": {"trap": "it gave up (it reached an `unreachable` instruction, as a panic or a failed allocation does)"}}}"#;
    desk.write("expected/zero.json", trap);
    let output = desk.plugin("test").await.expect(1);
    assert!(output.stdout.contains("./expected/zero.json expects such a fault"), "{}", output.stdout);
    assert!(output.stdout.contains("1 passed, 1 FAILED"), "{}", output.stdout);
    desk.plugin("test --update").await.expect(1);
    assert_eq!(written("zero").expect("the file as it was"), trap);
    desk.write("expected/one.json", r#"{"filter": {"failure": {"deadline": "it took long"}}}"#);
    let output = desk.plugin("test --case one").await.expect(1);
    assert!(output.stdout.contains("expects a fault, which is never a result"), "{}", output.stdout);

    // An answer may well be expected.
    desk.write("events/zero.json", r#"{"event": {"type": "a.b", "data": 2}}"#);
    desk.plugin("test --update").await.expect(0);
    desk.plugin("test").await.expect(0);
}

/// Small events say little of the limits.
#[tokio::test]
async fn a_test_asks_for_a_larger_event() {
    let desk = Desk::new();
    let component = fs::canonicalize(plugin("to-slack")).expect("a plugin");
    desk.write("plugin.toml", &format!("name = 'p'\nlanguage = 'rust'\ncomponent = {component:?}"));
    let event = |text: &str| format!(r#"{{"event": {{"type": "a.b", "data": {{"text": "{text}"}}}}}}"#);
    desk.write("events/one.json", &event("x"));
    let asks = "the largest event here has 12 B of data; a larger one takes more time and memory";
    let output = desk.plugin("test --update").await.expect(0);
    assert!(output.stdout.contains(asks), "{}", output.stdout);
    desk.write("events/two.json", &event(&"x".repeat(60_000)));
    desk.plugin("test --update").await.expect(0);
    let output = desk.plugin("test").await.expect(0);
    assert!(!output.stdout.contains("the largest event here"), "{}", output.stdout);
    let output = desk.plugin("test --case one").await.expect(0);
    assert!(output.stdout.contains(asks), "{}", output.stdout);
}

#[tokio::test]
async fn limits_of_the_folder_are_those_of_the_calls() {
    let desk = Desk::new();
    let component = fs::canonicalize(plugin("to-slack")).expect("a plugin");
    desk.write(
        "plugin.toml",
        &format!("name = 'p'\nlanguage = 'rust'\ncomponent = {component:?}\n[limits]\noutput = '20B'"),
    );
    desk.write("events/one.json", r#"{"event": {"type": "a.b", "data": {"total": 1}}}"#);
    let output = desk.plugin("test").await.expect(1);
    let sentence = "it broke as a transformer (output): it handed over more than 20 bytes";
    assert!(output.stdout.contains(sentence), "{}", output.stdout);
    desk.write(
        "plugin.toml",
        "name = 'p'\nlanguage = 'rust'\ncomponent = 'p.wasm'\n[limits]\noutptu = '20B'",
    );
    let output = desk.plugin("test").await.expect(1);
    assert!(output.stderr.contains("did you mean `output`?"), "{}", output.stderr);
    desk.write("plugin.toml", &format!("name = 'p'\nlanguage = 'rust'\ncomponent = {component:?}"));
    desk.write("events/one.json", r#"{"event": {"typ": "a.b"}}"#);
    let output = desk.plugin("test").await.expect(1);
    assert!(
        output.stderr.contains("events/one.json") && output.stderr.contains("`typ`"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn inspect_says_what_a_component_is_and_why_it_is_refused() {
    let desk = Desk::new();
    let component = fs::canonicalize(plugin("keep-above")).expect("a plugin");
    let output = desk.plugin(&format!("inspect {} --json", component.display())).await.expect(0);
    let report = json_of(&output);
    assert_eq!((&report["world"], &report["refused"]), (&json!("filter-plugin"), &Value::Null), "{report}");
    let digest = sha2::Sha256::digest(fs::read(&component).expect("a plugin"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(report["digest"], digest);
    let languages: Vec<_> =
        report["producers"].as_array().expect("producers").iter().map(|made| &made["name"]).collect();
    assert!(languages.contains(&&json!("wit-bindgen-rust")), "{report}");

    let wasi = wat::parse_str(r#"(component (import "wasi:filesystem/types@0.2.3" (instance)))"#)
        .expect("a component");
    fs::write(desk.path("wasi.wasm"), wasi).expect("a file");
    let output = desk.plugin("inspect wasi.wasm").await.expect(1);
    for part in ["refused", "wasi:filesystem/types@0.2.3", "does not grant", "--stub-wasi"] {
        assert!(output.stdout.contains(part), "{part} in {}", output.stdout);
    }
    desk.write("text.wasm", "hello");
    let output = desk.plugin("inspect text.wasm").await.expect(1);
    assert!(output.stderr.contains("not WebAssembly"), "{}", output.stderr);
}

#[tokio::test]
async fn bench_measures_fresh_and_reused_calls() {
    let desk = Desk::new();
    let component = fs::canonicalize(plugin("to-slack")).expect("a plugin");
    let path = component.display();
    let report = json_of(&desk.plugin(&format!("bench {path} --seconds 0.2 --json")).await.expect(0));
    for instance in ["fresh", "reused"] {
        let figures = &report[instance];
        assert!(
            figures["filter"].is_null() && figures["transformer"]["calls"].as_u64() > Some(0),
            "{report}"
        );
        assert!(
            figures["whole_event"]["p99_ns"].as_u64() >= figures["whole_event"]["p50_ns"].as_u64(),
            "{report}"
        );
    }
    let output = desk.plugin(&format!("bench {path} --seconds 0.2")).await.expect(0);
    for part in ["whole event, fresh", "whole event, reused", "P99", "####"] {
        assert!(output.stdout.contains(part), "{part} in {}", output.stdout);
    }
}
