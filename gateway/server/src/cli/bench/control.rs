//! How the bench speaks with the load, the receiver and the relay: a line of JSON is a command on the child's standard
//! input, a line of JSON on its standard output the answer to it.
//!
//! A child whose standard input ends is done. So none outlives a bench that was killed, and no key or payload stands
//! in a process list.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Role;

/// Answers commands until there are no more: the child's side.
pub(super) async fn obey<C, A>(mut answer: impl AsyncFnMut(C) -> anyhow::Result<A>) -> anyhow::Result<()>
where
    C: DeserializeOwned,
    A: Serialize,
{
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut answers = tokio::io::stdout();
    while let Some(line) = commands.next_line().await? {
        let command = serde_json::from_str(&line).context("the command of the bench is not understood")?;
        let answer: Result<A, String> = answer(command).await.map_err(|error| format!("{error:#}"));
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        answers.write_all(&line).await?;
        answers.flush().await?;
    }
    Ok(())
}

/// A child of the bench that obeys: the parent's side. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Servant {
    role: Role,
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Servant {
    /// Starts this executable once more, in the given role.
    pub(super) fn start(role: Role) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this executable is not known")?;
        let mut process = Command::new(program)
            .args(["bench", "--role", role.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the {role} did not start"))?;
        let commands = process.stdin.take().context("a child has no standard input")?;
        let answers = process.stdout.take().context("a child has no standard output")?;
        Ok(Self { role, process, commands, answers: BufReader::new(answers).lines() })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("the {} has ended", self.role))
    }

    /// Gives a command and waits for the answer.
    pub(super) async fn ask<C, A>(&mut self, command: &C, within: Duration) -> anyhow::Result<A>
    where
        C: Serialize,
        A: DeserializeOwned,
    {
        let role = self.role;
        let exchange = async {
            let mut line = serde_json::to_vec(command)?;
            line.push(b'\n');
            self.commands.write_all(&line).await?;
            let line = self.answers.next_line().await?.context("it ended")?;
            let answer: Result<A, String> = serde_json::from_str(&line)?;
            answer.map_err(|error| anyhow!(error))
        };
        tokio::time::timeout(within, exchange)
            .await
            .with_context(|| format!("the {role} did not answer within {} s", within.as_secs()))?
            .with_context(|| format!("the {role} failed"))
    }
}
