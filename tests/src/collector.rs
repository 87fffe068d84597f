//! A collector of traces and logs, which reads OTLP with OpenTelemetry's own classes for Python.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::eventually::{eventually, within};
use crate::places::repository;
use crate::script::peers;
use crate::tls;

#[derive(Debug)]
pub struct Collector {
    url: String,
    lines: Arc<Mutex<Vec<Value>>>,
    _child: Child,
}

impl Collector {
    pub async fn start() -> Self {
        Self::start_with("http", &[]).await
    }

    /// One that speaks TLS, with a certificate in this folder; `ca.pem` beside it is the authority that vouches for it.
    pub async fn start_with_tls(folder: &Path) -> Self {
        tls::write(folder);
        Self::start_with("https", &[folder.join("cert.pem"), folder.join("key.pem")]).await
    }

    async fn start_with(scheme: &str, certificate: &[PathBuf]) -> Self {
        let mut child = Command::new(peers().join("venv/bin/python"))
            .arg(repository().join("tests/peers/otlp.py"))
            .args(certificate)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("the collector can't be run ({error}): `tests/run peers` installs it")
            });
        let output = child.stdout.take().expect("a piped standard output");
        let mut output = BufReader::new(output).lines();
        let address = within("the collector's address", output.next_line()).await.expect("its output");
        let url = format!("{scheme}://{}", address.expect("an address"));
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let line = serde_json::from_str(&line).expect("a line of JSON from the collector");
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { url, lines, _child: child }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What has come in so far: spans have a `span`, log records a `log`.
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let faults: Vec<_> =
            lines.iter().filter(|line| line.get("span").is_none() && line.get("log").is_none()).collect();
        assert!(faults.is_empty(), "the collector was sent what is no OTLP: {faults:?}");
        lines
    }

    /// Waits until there are so many spans of a trace, and answers them.
    pub async fn trace(&self, trace: &str, wanted: usize) -> Vec<Value> {
        eventually(&format!("{wanted} spans of {trace}"), async || {
            let spans: Vec<_> = self.lines().into_iter().filter(|line| line["trace"] == trace).collect();
            if spans.len() >= wanted { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await
    }

    /// Waits for a log record with this message, and answers the first.
    pub async fn log(&self, message: &str) -> Value {
        eventually(&format!("a log record {message:?}"), async || {
            let found = self.lines().into_iter().find(|line| line["log"] == message);
            found.ok_or_else(|| format!("{} lines without it", self.lines().len()))
        })
        .await
    }
}
