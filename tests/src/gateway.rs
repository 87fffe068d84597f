//! A gateway: the real binary in a process of its own, with its own folder for configuration and journal.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::eventually::{eventually, within};
use crate::process::{halted, pid_of};
use crate::{Admin, Clock, Config, Consumer, KEY, Sender, binary};

/// How many of the last lines of the log are kept for a failed test.
const LOG_LINES: usize = 400;

/// The part of a gateway's folder that it sees as `/etc`, where there is one.
const ETC: &str = "etc";

pub struct Gateway {
    folder: TempDir,
    child: Child,
    accept: SocketAddr,
    admin: SocketAddr,
    log: Log,
    /// More of its environment.
    environment: Vec<(String, String)>,
    stderr: Stderr,
}

/// Where a gateway's standard error goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stderr {
    /// It is read, and its last lines are kept.
    #[default]
    Read,
    /// A pipe that nobody reads.
    Unread,
    /// A file in the gateway's folder.
    File(&'static str),
}

/// A gateway ended before it was ready.
#[derive(Debug)]
pub struct NotStarted {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    pub async fn start(config: impl Into<Config>) -> Self {
        match Self::try_start(config).await {
            Ok(gateway) => gateway,
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts a gateway for which `/etc` holds these files and no others. It takes root, for a mount namespace.
    pub async fn start_with_etc(config: impl Into<Config>, etc: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        Self::write_etc(folder.path(), etc);
        Self::try_start_in(folder, config).await.expect("the gateway to start")
    }

    /// Has a gateway that is started in this folder find these files in `/etc`, and no others.
    pub fn write_etc(folder: &Path, etc: &[(&str, &str)]) {
        std::fs::create_dir(folder.join(ETC)).expect("a folder for /etc");
        for (name, text) in etc {
            std::fs::write(folder.join(ETC).join(name), text).expect("a file of /etc to be written");
        }
    }

    /// Puts another file in the place of one of its `/etc`, as programs that keep such files do.
    pub fn replace_etc(&self, name: &str, text: &str) {
        let (path, new) = (self.folder.path().join(ETC).join(name), self.folder.path().join("new"));
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, path))
            .expect("a file of /etc to be replaced");
    }

    /// Starts a gateway whose clocks these are, and waits until it is ready.
    pub async fn start_by(clock: &Clock, config: impl Into<Config>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        match Self::try_start_with(folder, config, clock.environment().to_vec()).await {
            Ok(gateway) => gateway,
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts a gateway with these variables beside those of the test, and waits until it is ready.
    pub async fn start_with_environment(config: impl Into<Config>, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match Self::try_start_with(folder, config, variables.collect()).await {
            Ok(gateway) => gateway,
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts a gateway in a folder with its `hookweir.toml` and whatever else it is to find there, and waits until it is
    /// ready. These are its clocks, and its standard error goes there, over restarts too.
    pub async fn start_prepared(folder: TempDir, clock: &Clock, stderr: Stderr) -> Self {
        let (log, environment) = (Log::default(), clock.environment().to_vec());
        let (child, accept, admin) =
            spawn(folder.path(), &log, &environment, stderr).await.expect("the gateway to start");
        let gateway = Self { folder, child, accept, admin, log, environment, stderr };
        gateway.ready().await;
        gateway
    }

    /// Sends its standard error elsewhere from its next start on.
    pub fn log_to(&mut self, stderr: Stderr) {
        self.stderr = stderr;
    }

    /// Starts a gateway that may refuse to.
    pub async fn try_start(config: impl Into<Config>) -> Result<Self, NotStarted> {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        Self::try_start_in(folder, config).await
    }

    /// The same in a folder that the test has prepared.
    pub async fn try_start_in(folder: TempDir, config: impl Into<Config>) -> Result<Self, NotStarted> {
        Self::try_start_with(folder, config, Vec::new()).await
    }

    async fn try_start_with(
        folder: TempDir,
        config: impl Into<Config>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, NotStarted> {
        let gateway = Self::listen_with(folder, config, environment).await?;
        gateway.ready().await;
        Ok(gateway)
    }

    /// Starts a gateway in a folder that the test has prepared, and waits until it listens: it may never be ready.
    pub async fn listen_in(folder: TempDir, config: impl Into<Config>) -> Result<Self, NotStarted> {
        Self::listen_with(folder, config, Vec::new()).await
    }

    async fn listen_with(
        folder: TempDir,
        config: impl Into<Config>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, NotStarted> {
        std::fs::write(folder.path().join("hookweir.toml"), config.into().text())
            .expect("the configuration to be written");
        let log = Log::default();
        let (child, accept, admin) = spawn(folder.path(), &log, &environment, Stderr::Read).await?;
        Ok(Self { folder, child, accept, admin, log, environment, stderr: Stderr::Read })
    }

    /// Starts a gateway on a configuration as it is, with further files beside it.
    pub async fn start_with_files(text: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        let all = files.iter().copied().chain([("hookweir.toml", text)]);
        for (name, text) in all {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the file");
            std::fs::write(path, text).expect("the file to be written");
        }
        let log = Log::default();
        match spawn(folder.path(), &log, &[], Stderr::Read).await {
            Ok((child, accept, admin)) => {
                let environment = Vec::new();
                let gateway = Self { folder, child, accept, admin, log, environment, stderr: Stderr::Read };
                gateway.ready().await;
                gateway
            }
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts a gateway whose journal lies on a file system of its own in memory, of so many MiB. It goes with the process.
    /// Nobody waits until it takes events: it may have no room for any.
    pub async fn start_on_small_disk(config: impl Into<Config>, mib: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        std::fs::write(folder.path().join("hookweir.toml"), config.into().text())
            .expect("the configuration to be written");
        std::fs::create_dir(folder.path().join("data")).expect("a folder to mount on");
        let script =
            "mount -t tmpfs -o size=\"$1\"m,mode=700 none data && exec \"$0\" serve --config hookweir.toml";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(binary()).arg(mib.to_string());
        let log = Log::default();
        match run(command, folder.path(), &log, Stderr::Read).await {
            Ok((child, accept, admin)) => {
                Self { folder, child, accept, admin, log, environment: Vec::new(), stderr: Stderr::Read }
            }
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts a gateway that may have only so many descriptors. It is not started again.
    pub async fn start_with_descriptors(config: impl Into<Config>, most: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        std::fs::write(folder.path().join("hookweir.toml"), config.into().text())
            .expect("the configuration to be written");
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(binary());
        command.args(["serve", "--config", "hookweir.toml"]);
        let log = Log::default();
        match run(command, folder.path(), &log, Stderr::Read).await {
            Ok((child, accept, admin)) => {
                let gateway =
                    Self { folder, child, accept, admin, log, environment: Vec::new(), stderr: Stderr::Read };
                gateway.ready().await;
                gateway
            }
            Err(NotStarted { code, stderr }) => panic!("the gateway ended at once with {code:?}:\n{stderr}"),
        }
    }

    /// Starts the gateway anew on the same journal, after it was killed or has ended. Its ports are new ones.
    pub async fn start_again(&mut self) {
        self.try_start_again().await.unwrap_or_else(|ended| {
            panic!("the gateway did not start again, it ended with {:?}:\n{}", ended.code, ended.stderr)
        });
    }

    /// The same of a gateway that may refuse to.
    pub async fn try_start_again(&mut self) -> Result<(), NotStarted> {
        self.try_listen_again().await?;
        self.ready().await;
        Ok(())
    }

    /// The same; nobody waits until it takes events, since it may have no room for any.
    pub async fn try_listen_again(&mut self) -> Result<(), NotStarted> {
        let started = spawn(self.folder.path(), &self.log, &self.environment, self.stderr).await?;
        (self.child, self.accept, self.admin) = started;
        Ok(())
    }

    /// Waits until it takes events.
    pub async fn ready(&self) {
        let admin = self.admin();
        eventually("/readyz to answer 200", async || match admin.try_get("/readyz").await? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.to_string()),
        })
        .await;
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.exited().await;
    }

    /// Asks it to end and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exited().await
    }

    pub async fn exited(&mut self) -> ExitStatus {
        within("the gateway to end", self.child.wait()).await.expect("its exit status")
    }

    /// Writes another configuration; nothing happens before [`Self::reload`].
    pub fn reconfigure(&self, config: impl Into<Config>) {
        std::fs::write(self.folder.path().join("hookweir.toml"), config.into().text())
            .expect("the configuration to be written");
    }

    /// Asks it to read its configuration anew.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Has it stand still, so that nothing goes in or out.
    pub async fn suspend(&self) {
        self.signal(Signal::STOP);
        halted(|| vec![self.pid()]).await;
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the gateway to take a signal");
    }

    /// The first tenant's sender.
    pub fn sender(&self) -> Sender {
        Sender::new(self.accept, "acme", KEY)
    }

    pub fn sender_of(&self, tenant: &str, key: &str) -> Sender {
        Sender::new(self.accept, tenant, key)
    }

    /// A consumer of a queue of the first tenant.
    pub fn consumer(&self, queue: &str) -> Consumer {
        Consumer::new(self.accept, "acme", KEY, queue)
    }

    pub fn admin(&self) -> Admin {
        Admin::new(self.admin)
    }

    /// The address of the accept listener.
    pub fn accept_address(&self) -> SocketAddr {
        self.accept
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The folder that holds `hookweir.toml` and the journal.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The most bytes of memory that the process has had resident so far.
    pub fn most_resident(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Bytes of memory that the process has resident.
    pub fn resident(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()))
            .expect("the state of the gateway's process");
        let kib: Option<u64> =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB")?.trim().parse().ok());
        1024 * kib.unwrap_or_else(|| panic!("no {name} in\n{status}"))
    }

    /// Waits until the log has a line with all of `words`, and answers it.
    pub async fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("a line with {words:?} in the log"), async || {
            let lines = self.log.lines();
            let found = lines.iter().find(|line| words.iter().all(|word| line.contains(word)));
            found.cloned().ok_or_else(|| self.log.text())
        })
        .await
    }

    /// The last lines that it wrote to standard error; all of them where that is a file.
    pub fn log(&self) -> String {
        match self.stderr {
            Stderr::File(name) => {
                let text = std::fs::read_to_string(self.folder.path().join(name));
                // A test that fails shows it, and must not fail once more for it.
                text.unwrap_or_else(|error| format!("the log can't be read: {error}"))
            }
            Stderr::Read | Stderr::Unread => self.log.text(),
        }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the gateway to run")
    }

    fn pid(&self) -> Pid {
        pid_of(&self.child).expect("the gateway to run")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}\n---", self.log());
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("accept", &self.accept)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// The process, and the addresses that it prints once it listens.
async fn spawn(
    folder: &Path,
    log: &Log,
    environment: &[(String, String)],
    stderr: Stderr,
) -> Result<(Child, SocketAddr, SocketAddr), NotStarted> {
    let mut command = if folder.join(ETC).is_dir() {
        let mut command = Command::new("unshare");
        let script = format!("mount --bind {ETC} /etc && exec \"$@\"");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(binary());
        command
    } else {
        Command::new(binary())
    };
    command.args(["serve", "--config", "hookweir.toml"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    run(command, folder, log, stderr).await
}

async fn run(
    mut command: Command,
    folder: &Path,
    log: &Log,
    stderr: Stderr,
) -> Result<(Child, SocketAddr, SocketAddr), NotStarted> {
    let output = match stderr {
        Stderr::Read | Stderr::Unread => Stdio::piped(),
        Stderr::File(name) => {
            let file = std::fs::File::options().create(true).append(true).open(folder.join(name));
            file.expect("a file for the log").into()
        }
    };
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway to be run");
    let stdout = child.stdout.take().expect("a piped standard output");
    // What nobody reads stays open, in the child's handle.
    let read = if stderr == Stderr::Read { child.stderr.take() } else { None };
    let logging = read.map(|pipe| tokio::spawn(log.clone().follow(pipe)));
    let (found, addresses) = oneshot::channel();
    tokio::spawn(follow_stdout(stdout, found));
    match within("the gateway to print its addresses", addresses).await {
        Ok((accept, admin)) => Ok((child, accept, admin)),
        Err(_) => {
            let status = within("the gateway to end", child.wait()).await.expect("its exit status");
            if let Some(logging) = logging {
                within("the end of its log", logging).await.expect("the log to be read");
            }
            Err(NotStarted { code: status.code(), stderr: log.text() })
        }
    }
}

/// Reads standard output to its end, so that the gateway never blocks on it, and picks the addresses.
async fn follow_stdout(stdout: impl AsyncRead + Unpin, found: oneshot::Sender<(SocketAddr, SocketAddr)>) {
    let mut lines = BufReader::new(stdout).lines();
    let (mut accept, mut admin, mut found) = (None, None, Some(found));
    while let Ok(Some(line)) = lines.next_line().await {
        let address = |prefix| line.strip_prefix(prefix).and_then(|rest: &str| rest.trim().parse().ok());
        accept = accept.or_else(|| address("accept listening on "));
        admin = admin.or_else(|| address("admin listening on "));
        if let (Some(accept), Some(admin)) = (accept, admin)
            && let Some(found) = found.take()
        {
            // Nobody waits any more: the test is over.
            let _ = found.send((accept, admin));
        }
    }
}

/// The last lines of standard error.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    async fn follow(self, stderr: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }
}
