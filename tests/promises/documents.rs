//! The command blocks of the documents run as they are written. `docs/cli.md` and `README.md` are typed by `reference`;
//! this module types the sessions of the other documents, and knows for each further command what runs it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use hookweir_tests::broker::{Broker, NATS, PASSWORD, USER};
use hookweir_tests::{binary, plugin, repository, run, run_for};
use tokio::process::Command;

use crate::reference::page::{Block, blocks};
use crate::reference::session::typed;

/// Far more than a benchmark with bounds of its own takes.
const LONG: Duration = Duration::from_secs(900);

/// What a block can hold. A block that names nothing else could be a command that nobody types.
const LANGUAGES: [&str; 10] =
    ["c", "caddy", "console", "json", "nginx", "rust", "sh", "text", "toml", "yaml"];

/// The documents whose sessions are typed, by which test.
const SESSIONS: [(&str, &str); 4] = [
    ("README.md", "reference::every_session_of_the_readme_prints_what_is_written"),
    ("docs/cli.md", "reference::every_session_of_the_reference_prints_what_is_written"),
    ("docs/queues.md", "documents::the_session_with_a_queue_prints_what_is_written"),
    ("examples/quickstart/README.md", "documents::the_session_of_the_quickstart_prints_what_is_written"),
];

/// What runs a command of a block without output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// A step of `tests/run`, which holds this text.
    Step(&'static str),
    /// `tests/run` installs the version that is written.
    Toolchains,
    /// `tests/run languages` types it, from the README of the language.
    Languages,
    /// The promise `examples` runs this file.
    Example,
    /// This module, with `HOOKWEIR_LONG` as it stands, since it takes minutes; else its arguments alone are read.
    Bench,
    /// This module, with `HOOKWEIR_LONG` alone: it builds a benchmark.
    CargoBench,
    /// This module.
    Compile,
}

/// What the step `build` of `tests/run` runs.
const BUILD: &str = "cargo build --release --locked --workspace --all-targets";

fn runner(command: &str) -> Option<Runner> {
    let known = [
        ("cargo run --release -- demo", Runner::Step(BUILD)),
        ("cargo run --release -- bench", Runner::Bench),
        ("cargo bench ", Runner::CargoBench),
        ("cargo build --locked --workspace --all-targets", Runner::Step(BUILD)),
        ("cargo test --locked --workspace ", Runner::Step("cargo test --release --locked --workspace ")),
        ("cargo fmt --all --check", Runner::Step("cargo fmt --all --check")),
        (
            "cargo clippy --locked --workspace --all-targets -- -D warnings",
            Runner::Step("cargo clippy --release --locked --workspace --all-targets -- -D warnings"),
        ),
        (
            "RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --workspace",
            Runner::Step("RUSTDOCFLAGS=-Dwarnings cargo doc --release --locked --no-deps --workspace"),
        ),
        ("cargo build --release", Runner::Step(BUILD)),
        ("tests/run languages", Runner::Step("languages()")),
        ("tests/run peers", Runner::Step("peers()")),
        ("tests/run", Runner::Step("step ")),
        ("plugins/build", Runner::Step("plugins/build target/plugins")),
        ("rustup target add wasm32-unknown-unknown", Runner::Step("plugins/build")),
        ("apt-get install prometheus", Runner::Step("missing+=(prometheus)")),
        ("pip install ", Runner::Toolchains),
        ("npm install --global ", Runner::Toolchains),
        ("hookweir plugin new ", Runner::Languages),
        ("hookweir plugin build ", Runner::Languages),
        ("hookweir plugin test ", Runner::Languages),
        ("hookweir plugin compile ", Runner::Compile),
        ("examples/", Runner::Example),
    ];
    let command = command.strip_prefix("HOOKWEIR_BIN=$PWD/target/debug/hookweir ").unwrap_or(command);
    known.iter().find(|(start, _)| command.starts_with(start)).map(|(_, runner)| *runner)
}

/// Every file of the repository, by its path from the root.
fn repository_files() -> Vec<String> {
    let root = repository();
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type().expect("a type").is_dir() {
                found.push(entry.path().strip_prefix(&root).expect("below the root").display().to_string());
            } else if !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Every document of the repository, by its path from the root, with its text.
fn documents() -> Vec<(String, String)> {
    let paths = repository_files().into_iter().filter(|path| path.ends_with(".md"));
    let found: Vec<_> = paths.map(|path| (path.clone(), document(&path))).collect();
    assert!(found.len() > 15, "{} documents were found", found.len());
    found
}

fn document(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("a document")
}

/// The commands of a block without output: a line each, without its comment.
fn commands<'a>(block: &Block<'a>) -> Vec<&'a str> {
    let lines = block.lines.iter().map(|line| line.split("  #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_block_of_the_documents_says_what_it_holds() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for block in blocks(&text) {
            if !LANGUAGES.contains(&block.language) {
                wrong.push(format!("{path}:{} holds {:?}", block.number, block.language));
            }
            if block.language == "text" && block.lines.iter().any(|line| line.starts_with("$ ")) {
                wrong.push(format!("{path}:{} is a session, and says that it is text", block.number));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_command_of_the_documents_is_run_by_a_test() {
    let script = document("tests/run");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in documents() {
        for block in blocks(&text) {
            let place = format!("{path}:{}", block.number);
            if block.language == "console" {
                seen.insert(path.clone());
                if !SESSIONS.iter().any(|(document, _)| *document == path) {
                    wrong.push(format!("{place}: no test types this session"));
                }
            }
            if block.language != "sh" {
                continue;
            }
            for command in commands(&block) {
                match runner(command) {
                    Some(Runner::Step(text)) if script.contains(text) => {}
                    Some(Runner::Toolchains) if is_installed(command, &script) => {}
                    Some(Runner::Languages) if is_typed_by_languages(command) => {}
                    Some(Runner::Example) if example_is_run(command) => {}
                    Some(Runner::Bench | Runner::CargoBench | Runner::Compile) => {}
                    other => wrong.push(format!("{place}: nothing runs `{command}` ({other:?})")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let sessions: BTreeSet<String> = SESSIONS.iter().map(|(document, _)| (*document).to_owned()).collect();
    assert_eq!(seen, sessions, "the documents with sessions");
}

/// Whether `tests/run` reads this very version from the README of a language and installs it.
fn is_installed(command: &str, script: &str) -> bool {
    let pinned = command.split_whitespace().last().unwrap_or_default();
    let end = pinned.find(|c: char| c.is_ascii_digit()).unwrap_or(pinned.len());
    script.contains(&format!("pinned {} {}", language_of(pinned), &pinned[..end]))
}

fn language_of(pinned: &str) -> &'static str {
    match pinned.split(['@', '=']).next() {
        Some("componentize-qjs") => "javascript",
        Some("componentize-py") => "python",
        Some("ziglang") => "c",
        _ => "no language",
    }
}

/// Whether a README of a language holds this command, from which `tests/run languages` types it.
fn is_typed_by_languages(command: &str) -> bool {
    let readmes =
        ["rust", "javascript", "python", "c"].map(|language| format!("examples/{language}/README.md"));
    readmes.iter().any(|readme| document(readme).lines().any(|line| line == command))
}

fn example_is_run(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let run = words.next().unwrap_or_default();
    let name = run.trim_start_matches("examples/").trim_end_matches("/run");
    let tests = document("tests/promises/examples.rs");
    repository().join(run).is_file()
        && (tests.contains(&format!("example(\"{name}\")"))
            || tests.contains(&format!("example_of(\"{name}\"")))
}

/// The text of a document without its blocks.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The files that a document links to, relative to its own folder.
fn links(prose: &str) -> Vec<&str> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// The paths that a document names as code. One with a placeholder stands for several.
fn named_paths(prose: &str) -> Vec<&str> {
    let spans = prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let roots = ["docs/", "examples/", "gateway/", "plugins/", "tests/", "wit/"];
    let is_path = |span: &&str| {
        let is_plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
        let is_placeholder = span
            .split(['/', '.', '_'])
            .any(|part| part.len() > 2 && part.chars().all(|c| c.is_ascii_uppercase()) && part != "README");
        is_plain
            && !is_placeholder
            && (span.ends_with(".rs") || roots.iter().any(|root| span.starts_with(root)))
    };
    spans.filter(is_path).collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut known: BTreeSet<String> = repository_files().into_iter().collect();
    let folders: Vec<String> = known
        .iter()
        .flat_map(|path| Path::new(path).ancestors().skip(1).map(|folder| folder.display().to_string()))
        .collect();
    known.extend(folders);
    let mut count = 0;
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let prose = prose(&text);
        for link in links(&prose) {
            count += 1;
            let target = Path::new(&path).parent().expect("a folder").join(link);
            if !repository().join(&target).exists() {
                wrong.push(format!("{path} links to {link}"));
            }
        }
        for named in named_paths(&prose) {
            count += 1;
            let named = named.trim_end_matches('/');
            let below = format!("/{named}");
            if !known.iter().any(|known| known == named || known.ends_with(&below)) {
                wrong.push(format!("{path} names `{named}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 100, "{count} paths were found");
}

/// The configuration blocks, each of which `hookweir check` takes in a folder with the files that it names.
#[tokio::test]
async fn every_configuration_of_the_documents_is_taken() {
    let mut count = 0;
    for (path, text) in documents() {
        for block in blocks(&text).iter().filter(|block| block.language == "toml") {
            let shown = block.lines.join("\n");
            // A manifest of Cargo.
            if shown.starts_with("[package]") {
                continue;
            }
            let folder = tempfile::tempdir().expect("a folder");
            files(folder.path(), &shown);
            // Most show an endpoint alone, and say nothing of what stands above it.
            let whole = if shown.contains("[journal]") { shown } else { format!("{}{shown}", above(&shown)) };
            fs::write(folder.path().join("hookweir.toml"), &whole).expect("a file");
            let mut check = Command::new(binary());
            check.env_clear().arg("check").current_dir(folder.path());
            for name in variables(&whole) {
                check.env(name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
            }
            let checked = run(&mut check, b"").await;
            assert_eq!(checked.code, Some(0), "{path}:{}\n{}\n{whole}", block.number, checked.stderr);
            count += 1;
        }
    }
    assert!(count >= 12, "{count} configurations were found");
}

/// The tables that a part of a configuration leaves out.
fn above(shown: &str) -> String {
    let tenant = shown.split("[tenants.").nth(1).and_then(|rest| rest.split('.').next()).expect("a tenant");
    format!(
        "[accept]\nlisten = \"127.0.0.1:8080\"\n[admin]\nlisten = \"127.0.0.1:9080\"\n\
         [journal]\npath = \"data\"\n[tenants.{tenant}]\nkeys = [{{ env = \"KEY\" }}]\n[egress]\nallow_ports = []\n"
    )
}

/// The variables that a configuration reads.
fn variables(text: &str) -> Vec<&str> {
    text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Puts the files into a folder that a configuration names.
fn files(folder: &Path, text: &str) {
    let named = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for name in named.flat_map(|line| line.split('"').skip(1).step_by(2)) {
        let path = folder.join(name);
        let make = |bytes: &[u8]| {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, bytes).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        };
        match name.rsplit('.').next() {
            Some("wasm") => make(&fs::read(plugin("keep-above")).expect("a plugin")),
            Some("json") => make(br#"{"event": {"type": "order.created", "data": {"total": 20000}}}"#),
            Some("secret" | "key") | None => make(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            _ if name == "billing-secret" => make(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_session_of_the_quickstart_prints_what_is_written() {
    let page = format!(
        "```toml\n{}```\n{}",
        document("examples/quickstart/hookweir.toml"),
        document("examples/quickstart/README.md")
    );
    let wrong = typed(&page).await;
    assert!(wrong.is_empty(), "examples/quickstart/README.md is wrong:\n\n{}", wrong.join("\n\n"));
}

/// With a broker and the configuration that the page describes.
#[tokio::test]
async fn the_session_with_a_queue_prints_what_is_written() {
    let mut broker = Broker::start(NATS).await;
    broker.prepare("HOOKS").await;
    let address = broker.address();
    let page = format!(
        r#"```toml
[accept]
listen = "127.0.0.1:8080"

[admin]
listen = "127.0.0.1:9080"

[journal]
path = "data"

[egress]
allow_cidrs = ["127.0.0.0/8"]
allow_ports = [{}]

[tenants.acme]
keys = [{{ env = "HOOKWEIR_KEY" }}]

[tenants.acme.endpoints.orders]
kind = "nats"
servers = ["nats://{address}"]
subject = "HOOKS.{{tenant}}.{{type}}"
stream = "HOOKS"
user = "{USER}"
password = {{ env = "NATS_PASSWORD" }}
```

```console
$ export HOOKWEIR_KEY=key-of-acme-0123456789 NATS_PASSWORD={PASSWORD}
$ hookweir serve 2>serve.log &
accept listening on 127.0.0.1:8080
admin listening on 127.0.0.1:9080
```

{}"#,
        address.port(),
        document("docs/queues.md").replace("```toml", "```text"),
    );
    let wrong = typed(&page).await;
    assert!(wrong.is_empty(), "docs/queues.md is wrong:\n\n{}", wrong.join("\n\n"));
}

/// The commands of `sh` blocks that one runner is for.
fn commands_of(wanted: Runner) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for block in blocks(&text).iter().filter(|block| block.language == "sh") {
            let own = commands(block).into_iter().filter(|command| runner(command) == Some(wanted));
            found.extend(own.map(|command| (format!("{path}:{}", block.number), command.to_owned())));
        }
    }
    assert!(!found.is_empty(), "no command for {wanted:?}");
    found
}

#[tokio::test]
async fn a_plugin_is_compiled_as_written() {
    for (place, command) in commands_of(Runner::Compile) {
        let folder = tempfile::tempdir().expect("a folder");
        files(folder.path(), "\"plugins/keep.wasm\"");
        let output = run(&mut shell(folder.path(), &command), b"").await;
        assert_eq!(output.code, Some(0), "{place}: `{command}`\n{}", output.stderr);
        let made = fs::read_dir(folder.path().join("out/plugins")).expect("what was compiled").count();
        assert!(made > 0, "{place}: `{command}`\n{}", output.stdout);
    }
}

#[tokio::test]
async fn a_bench_takes_the_arguments_that_are_written() {
    let is_long = env::var_os("HOOKWEIR_LONG").is_some();
    for (place, command) in commands_of(Runner::Bench) {
        let folder = tempfile::tempdir().expect("a folder");
        let command = command.replace("cargo run --release --", "hookweir");
        // Whole, the longest takes half an hour: of the arguments that are not tried it is asked whether they are known.
        let command =
            if is_long && command.contains("--seconds") { command } else { format!("{command} --help") };
        let output = run_for(LONG, &mut shell(folder.path(), &command), b"").await;
        assert_eq!(output.code, Some(0), "{place}: `{command}`\n{}", output.stderr);
    }
}

#[tokio::test]
async fn a_benchmark_that_cargo_builds_is_in_the_workspace() {
    for (place, command) in commands_of(Runner::CargoBench) {
        let named = command.split(" --bench ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let named = named.unwrap_or_else(|| panic!("{place}: `{command}` names no benchmark"));
        let manifests = ["gateway/server", "gateway/host", "gateway/journal", "gateway/delivery"];
        let has =
            |folder: &&str| repository().join(folder).join("benches").join(named).join("main.rs").is_file();
        assert!(manifests.iter().any(has), "{place}: there is no benchmark {named}");
        if env::var_os("HOOKWEIR_LONG").is_some() {
            let mut built = Command::new("bash");
            let output = run_for(LONG, built.args(["-c", &command]).current_dir(repository()), b"").await;
            assert_eq!(output.code, Some(0), "{place}: `{command}`\n{}", output.stderr);
        }
    }
}

/// A shell that finds the binary as `hookweir`.
fn shell(folder: &Path, command: &str) -> Command {
    let bin = folder.join(".bin");
    if fs::create_dir(&bin).is_ok() {
        symlink(binary(), bin.join("hookweir")).expect("a link to the binary");
    }
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(bin).chain(env::split_paths(&inherited)));
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(folder).env("PATH", path.expect("a PATH"));
    shell
}
