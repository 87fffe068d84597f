//! Real brokers, each in a process group and a folder of its own, on free ports of loopback; and the programs in Python
//! that read what they hold. Neither is ours: they judge what the gateway has delivered.

mod kinds;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use rustix::process::{Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

pub use self::kinds::{KAFKA, Kind, MQTT, NATS, RABBITMQ, REDIS, SQS, SQS_ON_DISK};
use self::kinds::{STORE, Site, python};
use crate::eventually::{eventually, within};
use crate::http::Client;
use crate::process::{halted, pid_of, processes_of};
use crate::script::run_for;
use crate::{Output, Relay, free_port, repository, tls};

/// Who may enter the brokers that ask.
pub const USER: &str = "gateway";
pub const PASSWORD: &str = "pass-word-of-the-gateway";

/// A reader has thousands of messages to read, and ends by itself where no more come.
const READING: Duration = Duration::from_secs(600);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    site: Site,
    child: Child,
    helper: Option<Child>,
    /// Reads all the time, where nobody keeps messages for those who come later.
    watcher: Option<Child>,
    /// What the gateway meets in the broker's place.
    relay: Option<Relay>,
    /// Who may enter, and with what.
    login: (String, String),
    /// Gone with the broker.
    _folder: TempDir,
}

impl Broker {
    pub async fn start(kind: Kind) -> Self {
        Self::launch(kind, free_port(), None).await
    }

    /// Starts it behind a relay, whose address is told as its own.
    pub async fn start_behind_relay(kind: Kind) -> Self {
        let port = free_port();
        Self::launch(kind, port, Some(Relay::start(port).await)).await
    }

    async fn launch(kind: Kind, port: u16, relay: Option<Relay>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the broker");
        let site = Site {
            folder: folder.path().to_owned(),
            port,
            told_port: relay.as_ref().map_or(port, |relay| relay.address().port()),
            spare: [free_port(), free_port()],
            tls: false,
            mechanism: None,
        };
        let helper = kind.helper.map(|helper| spawn(&site.folder, &mut helper(&site)));
        if helper.is_some() {
            listens(&site, site.spare[0]).await;
        }
        if kind.name == KAFKA.name {
            let store = Client::new(loopback(site.spare[0]));
            let made = store.call(Method::PUT, &format!("/{STORE}"), &[], Bytes::new()).await;
            made.expect("an answer of the object store").expect(200);
        }
        let child = spawn(&site.folder, &mut (kind.command)(&site));
        listens(&site, site.port).await;
        let login = (USER.to_owned(), PASSWORD.to_owned());
        Self { kind, site, child, helper, watcher: None, relay, login, _folder: folder }
    }

    /// Where the gateway finds it.
    pub fn address(&self) -> SocketAddr {
        loopback(self.site.told_port)
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// What it was started behind.
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a broker that was started behind a relay")
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub async fn kill9(&mut self) {
        signal(&self.child, Signal::KILL);
        within("the broker to end", self.child.wait()).await.expect("its exit status");
        // Its other processes may take a moment longer.
        eventually("the broker's port to be closed", async || {
            match TcpStream::connect(loopback(self.site.port)).await {
                Ok(_) => Err("it is open".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
    }

    /// Starts it again on the same port and the same data.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.site.folder, &mut (self.kind.command)(&self.site));
        listens(&self.site, self.site.port).await;
    }

    /// Starts it again, speaking TLS; answers the file of the authority that vouches for it.
    pub async fn start_again_with_tls(&mut self) -> PathBuf {
        tls::write(&self.site.folder);
        self.site.tls = true;
        self.start_again().await;
        self.site.folder.join("ca.pem")
    }

    /// Starts it again, speaking in clear text, as the readers do.
    pub async fn start_again_without_tls(&mut self) {
        self.site.tls = false;
        self.start_again().await;
    }

    /// Starts Kafka again, asking everybody who they are by a mechanism of SASL.
    pub async fn start_again_with_login(&mut self, mechanism: &'static str) {
        self.site.mechanism = Some(mechanism);
        self.start_again().await;
    }

    /// Has [`SQS`] verify every request from now on; answers the one access key that it knows, and its secret.
    pub async fn guard(&mut self) -> &(String, String) {
        let told = self.ask("guard", "", 0).await.expect(0).stdout;
        let key: Value = serde_json::from_str(&told).expect("the key, as JSON");
        let part = |name: &str| key[name].as_str().expect("a part of the key").to_owned();
        self.login = (part("id"), part("secret"));
        &self.login
    }

    /// Makes it fall silent, without closing a connection.
    pub async fn suspend(&self) {
        signal(&self.child, Signal::STOP);
        let group = pid_of(&self.child).expect("a broker that runs");
        halted(|| processes_of(group)).await;
    }

    pub fn resume(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Makes what is to be delivered to: a stream, a queue, a topic with somebody who reads it.
    pub async fn prepare(&mut self, place: &str) {
        if self.kind.name == MQTT.name {
            let output = std::fs::File::create(self.watched()).expect("a file for what is read");
            let mut watcher = self.reader("watch", place, 0);
            watcher.stdout(output).kill_on_drop(true);
            self.watcher = Some(watcher.spawn().expect("a reader"));
            eventually("the reader to subscribe", async || match self.watched_lines().is_empty() {
                true => Err("it has said nothing".to_owned()),
                false => Ok(()),
            })
            .await;
        } else {
            self.ask("prepare", place, 0).await.expect(0);
        }
    }

    /// Reads what is there until there are messages with `wanted` ids, or no more come.
    pub async fn read(&self, place: &str, wanted: usize) -> Vec<Message> {
        if self.watcher.is_none() {
            return messages(&self.ask("read", place, wanted).await.expect(0).stdout);
        }
        eventually(&format!("{wanted} messages"), async || {
            let messages = messages(&self.watched_lines());
            let ids: BTreeSet<&str> = messages.iter().map(|message| message.id.as_str()).collect();
            if ids.len() >= wanted { Ok(messages) } else { Err(format!("{} messages", ids.len())) }
        })
        .await
    }

    /// Whether what was not read is lost with the broker, although it was acknowledged.
    pub fn keeps_nothing(&self) -> bool {
        self.watcher.is_some()
    }

    /// Waits until the reader has all that the broker has acknowledged, while nobody sends: what is sent now comes last.
    pub async fn is_read(&self, place: &str) {
        let marks = || self.watched_lines().lines().filter(|line| line.is_empty()).count();
        let before = marks();
        self.ask("mark", place, 0).await.expect(0);
        eventually("the reader to catch up", async || {
            if marks() > before { Ok(()) } else { Err("the mark has not come".to_owned()) }
        })
        .await;
    }

    fn watched(&self) -> PathBuf {
        self.site.folder.join("watched")
    }

    /// The lines that the watcher has written to their end.
    fn watched_lines(&self) -> String {
        let mut text = std::fs::read_to_string(self.watched()).expect("what the reader has read");
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    }

    async fn ask(&self, verb: &str, place: &str, wanted: usize) -> Output {
        run_for(READING, &mut self.reader(verb, place, wanted), b"").await
    }

    fn reader(&self, verb: &str, place: &str, wanted: usize) -> Command {
        let script = repository().join("tests/peers/queues").join(format!("read_{}.py", self.kind.name));
        let mut command = python("python");
        command.arg(script).args([
            verb,
            &self.site.port.to_string(),
            &self.login.0,
            &self.login.1,
            place,
            &wanted.to_string(),
        ]);
        command.envs(self.site.mechanism.map(|mechanism| ("SASL_MECHANISM", mechanism)));
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

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn listens(site: &Site, port: u16) {
    eventually("the broker to listen", async || {
        TcpStream::connect(loopback(port)).await.map(drop).map_err(|error| {
            let log = std::fs::read_to_string(site.folder.join("output")).unwrap_or_default();
            let start = log.floor_char_boundary(log.len().saturating_sub(2000));
            format!("{error}\n{}", &log[start..])
        })
    })
    .await;
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
    lines.lines().filter(|line| !line.is_empty()).map(message).collect()
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
    if let Some(group) = pid_of(child) {
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }
}
