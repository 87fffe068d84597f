//! The reference of the command line, `docs/cli.md`: each command's help, as the binary prints it. A command that is not in
//! it, or that says something else by now, fails here; `UPDATE_GOLDEN=1` writes the file anew.

use std::fs;

use hookweir_tests::{binary, repository, run};
use tokio::process::Command;

const HEAD: &str = "\
# Command line

Every command with its help, as `hookweir COMMAND --help` prints it. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong
configuration. Lists take `--json`; `list`, `get` and `stats` take `--watch`.
";

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

#[tokio::test]
async fn the_reference_says_what_each_command_says_of_itself() {
    let mut made = HEAD.to_owned();
    let mut ahead = vec![Vec::new()];
    let mut count = 0;
    while let Some(words) = ahead.pop() {
        let text = help(&words).await;
        let inner = commands(&text);
        let name =
            std::iter::once("hookweir").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        made.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", text.trim_end()));
        count += 1;
        ahead.extend(inner.into_iter().rev().map(|name| [words.clone(), vec![name]].concat()));
    }
    assert!(count > 30, "{count} commands were found");
    let file = repository().join("docs/cli.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &made).expect("a reference that can be written");
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == made, "docs/cli.md is behind the binary: UPDATE_GOLDEN=1 writes it anew");
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
