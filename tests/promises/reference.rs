//! The reference of the command line, `docs/cli.md`: each command's help, as the binary prints it, and sessions with what
//! each command in them prints. A command that is not in it, has no session, or says something else by now, fails here.
//! `UPDATE_GOLDEN=1` writes each help anew and leaves the rest of the page as it is.

pub(crate) mod page;
mod pattern;
mod ports;
pub(crate) mod session;
mod shell;

use std::fs;
use std::path::PathBuf;

use hookweir_tests::{binary, repository, run};
use tokio::process::Command;

use page::{Page, Section};

/// What `hookweir WORDS --help` prints, for a terminal of no particular width.
async fn help(words: &[String]) -> String {
    let mut command = Command::new(binary());
    command.env_clear().args(words).arg("--help");
    run(&mut command, b"").await.expect(0).stdout
}

/// The names of the commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let names = listed.lines().take_while(|line| line.starts_with("  "));
    // A description that is wrapped goes on further to the right.
    let names = names.filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// A command that the binary has.
struct Known {
    /// `hookweir event send`
    name: String,
    help: String,
    /// Whether others stand below it, so that it does nothing itself.
    has_commands: bool,
}

/// Every command of the binary, in the order in which help lists them.
async fn every_command() -> Vec<Known> {
    let mut known = Vec::new();
    let mut ahead = vec![Vec::new()];
    while let Some(words) = ahead.pop() {
        let help = help(&words).await.trim_end().to_owned();
        let inner = commands(&help);
        let name =
            std::iter::once("hookweir").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        known.push(Known { name, help, has_commands: !inner.is_empty() });
        ahead.extend(inner.into_iter().rev().map(|name| [words.clone(), vec![name]].concat()));
    }
    assert!(known.len() > 30, "{} commands were found", known.len());
    known
}

/// Whether the page is being written.
fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn file() -> PathBuf {
    repository().join("docs/cli.md")
}

fn page() -> Page {
    Page::read(&fs::read_to_string(file()).expect("docs/cli.md"))
}

#[tokio::test]
async fn the_reference_says_what_each_command_says_of_itself() {
    let mut page = page();
    let before = page.text();
    let mut kept = std::mem::take(&mut page.sections);
    for Known { name, help, .. } in every_command().await {
        let rest = kept.iter_mut().find(|section| section.name == name);
        let rest = rest.map(|section| std::mem::take(&mut section.rest)).unwrap_or_default();
        page.sections.push(Section { name, help, rest });
    }
    let made = page.text();
    if update() {
        // Another test may read it at this moment: it finds the old one or the new one whole.
        let draft = file().with_extension("draft");
        fs::write(&draft, &made).expect("a reference that can be written");
        fs::rename(&draft, file()).expect("a reference that can be replaced");
    } else {
        assert!(before == made, "docs/cli.md is behind the binary: UPDATE_GOLDEN=1 writes each help anew");
    }
}

#[tokio::test]
async fn every_command_has_a_session_in_the_reference() {
    let page = page();
    let mut without = Vec::new();
    for Known { name, has_commands, .. } in every_command().await {
        let section = page.sections.iter().find(|section| section.name == name);
        let steps = section.map(Section::steps).unwrap_or_default();
        if !has_commands && !steps.iter().any(|step| step.types(&name)) {
            without.push(name);
        }
    }
    assert!(without.is_empty(), "docs/cli.md shows no session of {without:?} below its help");
}

#[tokio::test]
async fn every_session_of_the_reference_prints_what_is_written() {
    let wrong = session::typed(&page().text()).await;
    assert!(wrong.is_empty(), "docs/cli.md is wrong in {} places:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// The README's five minutes: an empty folder, the binary, and what is written there.
#[tokio::test]
async fn every_session_of_the_readme_prints_what_is_written() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let shown =
        page::blocks(&readme).into_iter().find(|block| block.language == "toml").expect("a configuration");
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new(binary()).env_clear().arg("init").arg(folder.path()), b"").await.expect(0);
    let made =
        fs::read_to_string(folder.path().join("hookweir.toml")).expect("the configuration that init writes");
    assert_eq!(shown.lines.join("\n"), made.trim_end(), "README.md shows what init writes");

    let wrong = session::typed(&readme).await;
    assert!(wrong.is_empty(), "README.md is wrong in {} places:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test]
async fn shells_and_man_know_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    let written = run(Command::new(binary()).env_clear().arg("man").arg(&pages), b"").await.expect(0);
    assert_eq!(written.stdout, format!("the pages are in {}\n", pages.display()));
    for page in ["hookweir.1", "hookweir-serve.1", "hookweir-delivery-list.1", "hookweir-tail.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(!pages.join("hookweir-compile-plugin.1").exists(), "what is hidden has no page");
    for shell in ["bash", "zsh", "fish"] {
        let script =
            run(Command::new(binary()).env_clear().args(["completions", shell]), b"").await.expect(0);
        assert!(script.stdout.contains("exhausted") && script.stdout.contains("tail"), "{shell}");
    }
    // Bash reads it, and completes from it what was begun.
    let script = r#"source <("$0" completions bash); COMP_WORDS=(hookweir delivery li); COMP_CWORD=2; _hookweir hookweir li delivery; echo "${COMPREPLY[@]}""#;
    let completed = run(Command::new("bash").args(["-c", script]).arg(binary()), b"").await.expect(0);
    assert_eq!(completed.stdout.trim(), "list", "{}", completed.stderr);
}
