//! The gateway under measurement: `hookweir serve` as a child process with a configuration and a journal of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::load;
use super::scenario::{OWN, Secrets, Setup, configuration};
use super::stages::Reading;

/// Plugins are compiled at the start, each for a few seconds on a busy machine.
const START: Duration = Duration::from_secs(120);
/// For one answer of the admin listener.
const ANSWER: Duration = Duration::from_secs(30);

/// Killed when it is dropped, and its directory removed.
pub(super) struct Gateway {
    process: Child,
    pub(super) accept: SocketAddr,
    admin: SocketAddr,
    pub(super) secrets: Secrets,
    directory: TempDir,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("hookweir-bench-").context("no directory for the journal")?;
        let secrets = Secrets::random();
        let text = configuration(setup, &secrets);
        let file = directory.path().join("hookweir.toml");
        std::fs::write(&file, text)?;
        if let Some(component) = setup.own {
            std::fs::write(directory.path().join(OWN), component)?;
        }
        let log = directory.path().join("log");
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("the gateway did not start")?;
        let ready = tokio::time::timeout(START, ready(&mut process)).await;
        let (accept, admin) = ready
            .context("the gateway took too long to start")
            .flatten()
            .with_context(|| format!("the gateway is not ready; the end of its log:\n{}", tail(&log)))?;
        Ok(Self { process, accept, admin, secrets, directory })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.process
            .id()
            .with_context(|| format!("the gateway has ended; the end of its log:\n{}", self.log()))
    }

    /// What it says at `/metrics`.
    pub(super) async fn read_metrics(&self) -> anyhow::Result<Reading> {
        let (status, text) = ask(self.admin, Method::GET, "/metrics").await?;
        if status != StatusCode::OK {
            bail!("the gateway answered {status} to /metrics");
        }
        Ok(Reading::parse(&text))
    }

    /// Switches an endpoint on or off.
    pub(super) async fn switch(&self, tenant: &str, endpoint: &str, on: bool) -> anyhow::Result<()> {
        let verb = if on { "enable" } else { "disable" };
        let path = format!("/v1/tenants/{tenant}/endpoints/{endpoint}/{verb}");
        let (status, text) = ask(self.admin, Method::POST, &path).await?;
        ensure!(status.is_success(), "the gateway answered {status} to {path}: {text}");
        Ok(())
    }

    /// The end of its log, for when something went wrong.
    pub(super) fn log(&self) -> String {
        tail(&self.directory.path().join("log"))
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it without ceremony: nobody will read this journal.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("the gateway can't be stopped")?;
        self.directory.close().context("the directory of the journal can't be removed")
    }
}

/// Reads the addresses that the gateway prints, then asks until it says that it is ready.
async fn ready(process: &mut Child) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let stdout = process.stdout.take().context("the gateway has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let (mut accept, mut admin) = (None, None);
    let (accept, admin) = loop {
        let line = lines.next_line().await?.context("it ended")?;
        accept = accept.or_else(|| address(&line, "accept"));
        admin = admin.or_else(|| address(&line, "admin"));
        if let (Some(accept), Some(admin)) = (accept, admin) {
            break (accept, admin);
        }
    };
    // Whatever else it prints is read, so that a full pipe never stops it. This ends with the gateway's output.
    tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    while ask(admin, Method::GET, "/readyz").await?.0 != StatusCode::OK {
        poll.tick().await;
    }
    Ok((accept, admin))
}

/// The address in a line such as `accept listening on 127.0.0.1:40123`.
fn address(line: &str, listener: &str) -> Option<SocketAddr> {
    line.strip_prefix(listener)?.strip_prefix(" listening on ")?.trim_end().parse().ok()
}

async fn ask(address: SocketAddr, method: Method, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let exchange = async {
        let mut connection = load::connect(address).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .body(Full::new(Bytes::new()))?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(ANSWER, exchange).await.with_context(|| format!("no answer to {path}"))?
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_from_what_the_gateway_prints() {
        let expected = SocketAddr::from(([127, 0, 0, 1], 40123));
        for (line, listener, expected) in [
            ("accept listening on 127.0.0.1:40123", "accept", Some(expected)),
            ("admin listening on 127.0.0.1:40123\n", "admin", Some(expected)),
            ("admin listening on 127.0.0.1:40123", "accept", None),
            ("accept listening on nowhere", "accept", None),
            ("", "accept", None),
        ] {
            assert_eq!(address(line, listener), expected, "{line}");
        }
    }
}
