//! Plugins in JavaScript and Python, built as their READMEs say: what is wrong in one is said with its place, in the
//! delivery's reason and in the plugin's log.

mod mistakes;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use hookweir_tests::{
    Admin, Gateway, KEY, Output, Receiver, Reply, binary, endpoint, run_for, tenant, toolchains,
};
use mistakes::{JAVASCRIPT, Language, PYTHON};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{PATIENCE, gateway_of};

/// A folder with a plugin of a language, made and built by the commands of its README.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    async fn new(language: &Language) -> Self {
        let workshop = Self { folder: tempfile::tempdir().expect("a folder") };
        workshop.plugin(&["new", "--lang", language.name, "p"]).await.expect(0);
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("p").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn set_world(&self, world: &str) {
        let settings = fs::read_to_string(self.path("plugin.toml")).expect("plugin.toml");
        self.write("plugin.toml", &format!("world = {world:?}\n{settings}"));
    }

    async fn plugin(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("plugin").args(words).current_dir(self.folder.path()).env("PATH", path());
        command.env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        run_for(PATIENCE, &mut command, b"").await
    }

    /// Builds the component.
    async fn built(&self) -> PathBuf {
        self.plugin(&["build", "p"]).await.expect(0);
        self.path("p.wasm")
    }
}

/// Where programs are looked for: the tools that build plugins first.
fn path() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(toolchains().into_iter().chain(std::env::split_paths(&inherited)))
        .expect("folders that can be looked in")
}

/// A gateway whose tenant has the component as filter and transformer of an endpoint `hook`.
async fn gateway(receiver: &Receiver, component: &Path) -> Gateway {
    let tenants = tenant("acme", KEY)
        + &format!("[tenants.acme.plugins.p]\nfile = \"{}\"\n", component.display())
        + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"p\"]\ntransformers = [\"p\"]");
    gateway_of(tenants, &[component]).await
}

/// What the failing call of a delivery logged.
fn log(delivery: &Value) -> &str {
    let calls = delivery["attempts"][0]["plugins"].as_array().and_then(|calls| calls.last());
    calls.and_then(|call| call["log"].as_str()).unwrap_or_else(|| panic!("no call's log in {delivery}"))
}

async fn sent(gateway: &Gateway, role: &str, number: Option<usize>, status: &str) -> Value {
    let data = json!({ "role": role, "number": number }).to_string();
    let event = gateway.sender().event("a.b", &data).await;
    gateway.admin().delivery("acme", &event, "hook", status).await
}

/// Each mistake, and after it an event without one: five failures in a row would pause the plugin.
async fn each_is_told(language: &Language) {
    let workshop = Workshop::new(language).await;
    workshop.write(language.file, &language.source());
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = gateway(&receiver, &workshop.built().await).await;
    for (role, mistakes) in [("filter", language.filter), ("transformer", language.transformer)] {
        for (number, mistake) in mistakes.iter().enumerate() {
            let delivery = sent(&gateway, role, Some(number), "failed").await;
            let told = language.told(role, number);
            let reason = delivery["delivery"]["reason"].as_str().expect("a reason");
            println!("{}\n    {reason}", mistake.code);
            assert!(reason.starts_with("plugin p (sha256 "), "{}: {reason}", mistake.code);
            let said = reason.split_once("): ").map_or("", |(_, said)| said);
            assert!(
                said.starts_with(&format!("it gave up: {told}")),
                "{}: {reason} and not {told}",
                mistake.code
            );
            let log = log(&delivery);
            let last = log.lines().last().unwrap_or_default();
            assert!(last.starts_with(&format!("error: {told}")), "{}: {log:?} and not {told}", mistake.code);
            sent(&gateway, role, None, "delivered").await;
        }
    }
    what_is_written_is_logged(&gateway.admin(), &gateway, language).await;
    a_long_text_is_cut(&gateway, language).await;
}

/// What the language writes elsewhere, such as to standard output, is in the log of a delivery that was made.
async fn what_is_written_is_logged(admin: &Admin, gateway: &Gateway, language: &Language) {
    let data = json!({ "role": "writes" }).to_string();
    let event = gateway.sender().event("a.b", &data).await;
    let delivery = admin.delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(delivery["attempts"][0]["plugins"][0]["log"], language.written, "{delivery}");
}

async fn a_long_text_is_cut(gateway: &Gateway, language: &Language) {
    let data = json!({ "role": "long" }).to_string();
    let event = gateway.sender().event("a.b", &data).await;
    let delivery = gateway.admin().delivery("acme", &event, "hook", "failed").await;
    let reason = delivery["delivery"]["reason"].as_str().expect("a reason");
    let (kept, log) = (reason.split_once("it gave up: ").map_or("", |(_, said)| said), log(&delivery));
    assert_eq!(kept.len(), 1 << 10, "{}: {reason}", language.name);
    assert!(kept.ends_with("xx…") && log.ends_with("xx…") && log.len() <= 1 << 10, "{log}");
}

#[tokio::test]
async fn mistakes_in_javascript_say_what_and_where() {
    each_is_told(&JAVASCRIPT).await;
}

#[tokio::test]
async fn mistakes_in_python_say_what_and_where() {
    each_is_told(&PYTHON).await;
}

/// Builds what a world or a language wants and the plugin's source has not.
#[tokio::test]
async fn a_build_says_what_the_source_lacks() {
    for (language, filter, lacking, top, at_top) in [
        (
            &JAVASCRIPT,
            "export const filter = { filter() { return { tag: \"keep\" }; } };\n",
            "plugin.js has no `export const transformer = { transform(event) { ... } }`",
            "console.log(\"too early\");\n",
            "there is no log while the plugin is built",
        ),
        (
            &PYTHON,
            "from wit_world.exports.filter import Verdict_Keep\nclass Filter:\n    def filter(self, event):\n        return Verdict_Keep()\n",
            "app.py has no class Transformer with a method transform",
            "import requests\n",
            "No module named 'requests': a plugin has no network",
        ),
    ] {
        let workshop = Workshop::new(language).await;
        workshop.write(language.file, filter);
        let refused = workshop.plugin(&["build", "p"]).await.expect(1);
        assert!(refused.stderr.contains(lacking), "{}: {}", language.name, refused.stderr);
        workshop.set_world("filter-plugin");
        let built = workshop.plugin(&["build", "p"]).await.expect(0);
        assert!(built.stdout.contains("world     filter-plugin"), "{}: {}", language.name, built.stdout);
        workshop.write(language.file, &format!("{top}{filter}"));
        let refused = workshop.plugin(&["build", "p"]).await.expect(1);
        assert!(refused.stderr.contains(at_top), "{}: {}", language.name, refused.stderr);
    }
}
