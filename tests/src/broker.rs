//! Real brokers, each in a process group and a folder of its own, on free ports of loopback; and the programs in Python
//! that read what they hold. Neither is ours: they judge what the gateway has delivered.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::eventually::{eventually, within};
use crate::script::{peers, run};
use crate::{Output, free_port, repository};

/// Who may enter the brokers that ask.
pub const USER: &str = "gateway";
pub const PASSWORD: &str = "pass-word-of-the-gateway";

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    kind: &'static str,
    folder: TempDir,
    /// Where it listens.
    port: u16,
    command: fn(&Path, u16) -> Command,
    child: Child,
    /// Programs that it needs beside it.
    helper: Option<Child>,
}

impl Broker {
    /// NATS with JetStream, which syncs before it acknowledges.
    pub async fn nats() -> Self {
        Self::start("nats", |folder, port| {
            let config = format!(
                "listen: \"127.0.0.1:{port}\"\nmax_payload: 524288\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
                 authorization {{ user: {USER}, password: {PASSWORD:?} }}\n",
                folder.join("store").display()
            );
            std::fs::write(folder.join("nats.conf"), config).expect("the configuration of NATS");
            let mut command = python("nats-server");
            command.arg("-c").arg(folder.join("nats.conf"));
            command
        })
        .await
    }

    /// Redis, which syncs before it answers.
    pub async fn redis() -> Self {
        Self::start("redis", |folder, port| {
            let mut command = Command::new("redis-server");
            command
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                ])
                .args(["--appendfsync", "always", "--requirepass", PASSWORD, "--dir"])
                .arg(folder);
            command
        })
        .await
    }

    /// RabbitMQ, with the user [`USER`].
    pub async fn rabbitmq() -> Self {
        Self::start("rabbitmq", |folder, port| {
            let config = format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n\
                 loopback_users = none\nmax_message_size = 500000\n"
            );
            std::fs::write(folder.join("rabbitmq.conf"), config).expect("the configuration of RabbitMQ");
            std::fs::write(folder.join("plugins"), "[].").expect("the list of plugins of RabbitMQ");
            let epmd = read_port(folder, "epmd");
            let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
            command
                .env("HOME", folder)
                .env("RABBITMQ_NODENAME", format!("test{port}@localhost"))
                .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
                .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
                .env("RABBITMQ_LOG_BASE", folder.join("log"))
                .env("RABBITMQ_DIST_PORT", read_port(folder, "dist").to_string())
                .env("ERL_EPMD_PORT", epmd.to_string())
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
            command
        })
        .await
    }

    /// Moto, which answers as Amazon's SQS does, and keeps nothing over a kill.
    pub async fn sqs() -> Self {
        Self::start("sqs", |_, port| {
            let mut command = python("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
        .await
    }

    async fn start(kind: &'static str, command: fn(&Path, u16) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the broker");
        let port = free_port();
        // What RabbitMQ calls its port mapper would leave its process group.
        let helper = (kind == "rabbitmq").then(|| {
            for name in ["epmd", "dist"] {
                std::fs::write(folder.path().join(name), free_port().to_string())
                    .expect("a port to be noted");
            }
            let port = read_port(folder.path(), "epmd").to_string();
            spawn(folder.path(), Command::new("epmd").args(["-address", "127.0.0.1", "-port", &port]))
        });
        let child = spawn(folder.path(), &mut command(folder.path(), port));
        let broker = Self { kind, folder, port, command, child, helper };
        broker.answers().await;
        broker
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub async fn kill9(&mut self) {
        signal(&self.child, Signal::KILL);
        within("the broker to end", self.child.wait()).await.expect("its exit status");
    }

    /// Starts it again on the same port and the same data.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), &mut (self.command)(self.folder.path(), self.port));
        self.answers().await;
    }

    /// Makes it fall silent, without closing a connection.
    pub fn suspend(&self) {
        signal(&self.child, Signal::STOP);
    }

    pub fn resume(&self) {
        signal(&self.child, Signal::CONT);
    }

    async fn answers(&self) {
        eventually(&format!("{} to listen", self.kind), async || {
            TcpStream::connect(self.address()).await.map(drop).map_err(|error| {
                let log = std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default();
                let start = log.floor_char_boundary(log.len().saturating_sub(2000));
                format!("{error}\n{}", &log[start..])
            })
        })
        .await;
    }

    /// Makes what is to be delivered to: a stream, a queue, a topic.
    pub async fn prepare(&self, place: &str) {
        self.ask("prepare", place, 0).await.expect(0);
    }

    /// Reads what is there until there are messages with `wanted` ids, or no more come.
    pub async fn read(&self, place: &str, wanted: usize) -> Vec<Message> {
        messages(&self.ask("read", place, wanted).await.expect(0).stdout)
    }

    async fn ask(&self, verb: &str, place: &str, wanted: usize) -> Output {
        run(&mut self.reader(verb, place, wanted), b"").await
    }

    fn reader(&self, verb: &str, place: &str, wanted: usize) -> Command {
        let script = repository().join("tests/peers/queues").join(format!("read_{}.py", self.kind));
        let mut command = python("python");
        command.arg(script).args([verb, &self.port.to_string(), USER, PASSWORD, place, &wanted.to_string()]);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for child in std::iter::once(&self.child).chain(&self.helper) {
            signal(child, Signal::KILL);
        }
    }
}

/// What a foreign reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event's id, from wherever the broker's protocol has a place for it.
    pub id: String,
    pub body: Vec<u8>,
    /// What else the reader tells.
    pub more: Value,
}

fn messages(lines: &str) -> Vec<Message> {
    let message = |line: &str| {
        let more: Value = serde_json::from_str(line).expect("a line of JSON from the reader");
        let text =
            |name: &str| more[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
        let hex = text("body");
        let body = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(pair, 16).expect("hex digits")
        });
        Message { id: text("id"), body: body.collect(), more }
    };
    lines.lines().map(message).collect()
}

/// A program that `tests/run peers` has installed.
fn python(name: &str) -> Command {
    let program: PathBuf = peers().join("venv/bin").join(name);
    assert!(program.is_file(), "there is no {}: `tests/run peers` installs it", program.display());
    Command::new(program)
}

/// A process group of its own, so that all of it can be ended.
fn spawn(folder: &Path, command: &mut Command) -> Child {
    let output = std::fs::File::options().create(true).append(true).open(folder.join("output"));
    let output = output.expect("a file for the broker's output");
    let second = output.try_clone().expect("a second handle of it");
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(second)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} can't be run ({error}): `tests/run` installs it"))
}

fn signal(child: &Child, signal: Signal) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }
}

fn read_port(folder: &Path, name: &str) -> u16 {
    let text = std::fs::read_to_string(folder.join(name)).expect("a noted port");
    text.parse().expect("a port")
}
