//! Other programs: the command line under test, and the peers written in other languages.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::eventually::{DEADLINE, within_time};
use crate::places::{repository, target};

/// How a program ended, and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output, if the program ended with `code`; a panic that shows it where it did not.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "another exit code was expected\n--- stdout ---\n{}\n--- stderr ---\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Runs `command` to its end, with `input` on its standard input.
pub async fn run(command: &mut Command, input: &[u8]) -> Output {
    run_for(DEADLINE, command, input).await
}

/// The same for a program that has much to do.
pub async fn run_for(limit: Duration, command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    let mut stdin = child.stdin.take().expect("a piped standard input");
    let feed = async {
        // A program that ends early closes its input, and its exit code tells why.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let ((), output) = within_time(limit, &format!("{command:?} to end"), async {
        tokio::join!(feed, child.wait_with_output())
    })
    .await;
    let output = output.expect("the program's output");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The folder with the libraries that the peers need: `HOOKWEIR_PEERS`, or the one that `tests/run` makes.
pub fn peers() -> PathBuf {
    let folder = env::var_os("HOOKWEIR_PEERS").map_or_else(|| target().join("peers"), PathBuf::from);
    assert!(
        folder.is_dir(),
        "there are no peer libraries in {}: `tests/run` installs them (or `tests/run peers` alone)",
        folder.display()
    );
    folder
}

/// Runs a peer of `tests/peers` with `program` and feeds it `questions`, one JSON text a line; answers what it
/// answered, a line each.
pub async fn peer(program: impl AsRef<OsStr>, script: &str, questions: &[Value]) -> Vec<Value> {
    let script: &Path = &repository().join("tests").join("peers").join(script);
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let output = run(Command::new(program).arg(script).env("HOOKWEIR_PEERS", peers()), lines.as_bytes())
        .await
        .expect(0);
    let answers: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{script:?} said {line:?}: {error}"))
        })
        .collect();
    assert_eq!(answers.len(), questions.len(), "{script:?} must answer every question:\n{}", output.stderr);
    answers
}
