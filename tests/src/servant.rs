//! A process of the bench, `hookweir bench --role`: its load or its receiver, for measurements that the bench does not make.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::binary;

/// Takes commands, a line of JSON each. It is killed when this is dropped.
#[derive(Debug)]
pub struct Servant {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Servant {
    pub fn start(role: &str) -> Self {
        let mut child = Command::new(binary())
            .args(["bench", "--role", role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process of the bench");
        let commands = child.stdin.take().expect("a piped standard input");
        let answers = BufReader::new(child.stdout.take().expect("a piped standard output")).lines();
        Self { _child: child, commands, answers }
    }

    /// A receiver, and the address where it answers all that it is sent.
    pub async fn receiver() -> (Self, SocketAddr) {
        let mut receiver = Self::start("receiver");
        let addresses = receiver.ask(&json!("Addresses")).await;
        let receives = addresses["Addresses"]["answering"].as_str().and_then(|text| text.parse().ok());
        receiver.ask(&json!("Begin")).await;
        let receives = receives.unwrap_or_else(|| panic!("no address in {addresses}"));
        (receiver, receives)
    }

    pub async fn ask(&mut self, command: &Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it to listen");
        let line = self.answers.next_line().await.expect("an answer").expect("an answer before its end");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        answer.get("Ok").cloned().unwrap_or_else(|| panic!("{answer}"))
    }
}
