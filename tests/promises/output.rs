//! Standard output and standard error neither stop nor end anything: not read, closed, or on a full disk.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use hookweir_tests::{
    Admin, Config, KEY, Receiver, Reply, Sender, binary, eventually, free_port, one_endpoint, pid_of, run,
    within,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A configuration whose ports are known before the gateway says them.
struct Ports {
    accept: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn take() -> Self {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { accept: address(), admin: address() }
    }

    fn config(&self, tenants: String) -> String {
        let text = Config::new(tenants).text();
        let text = text.replacen("127.0.0.1:0", &self.accept.to_string(), 1);
        text.replacen("127.0.0.1:0", &self.admin.to_string(), 1)
    }

    fn admin(&self) -> Admin {
        Admin::new(self.admin)
    }

    fn sender(&self) -> Sender {
        Sender::new(self.accept, "acme", KEY)
    }

    async fn ready(&self) {
        eventually("/readyz to answer 200", async || match self.admin().try_get("/readyz").await? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.to_string()),
        })
        .await;
    }

    /// Has so many long lines logged: each request that would change something is one.
    async fn log_lines(&self, count: usize) {
        let path = format!("/v1/tenants/acme/endpoints/{}/disable", "x".repeat(2000));
        for _ in 0..count {
            self.admin().post(&path, "").await.expect(404);
        }
    }

    async fn dropped(&self) -> u64 {
        self.admin().metric("hookweir_log_lines_dropped_total").await
    }

    /// Events are taken and delivered, endpoints switched, and health answered, one after the other and at once.
    async fn serves(&self, receiver: &Receiver) {
        let before = receiver.count();
        let path = |which: &str| format!("/v1/tenants/acme/endpoints/hook/{which}");
        self.admin().post(&path("disable"), "").await.expect(200);
        self.admin().post(&path("enable"), "").await.expect(200);
        let at_once = (0..4).map(|_| {
            let admin = self.admin();
            let path = path("enable");
            tokio::spawn(async move { admin.post(&path, "").await.expect(200) })
        });
        for switched in at_once.collect::<Vec<_>>() {
            switched.await.expect("an answer");
        }
        self.sender().event("a.b", "1").await;
        receiver.wait_for(before + 1).await;
        self.admin().get("/healthz").await.expect(200);
    }
}

/// A gateway whose outputs are the test's to choose.
struct Bare {
    ports: Ports,
    receiver: Receiver,
    child: Child,
    _folder: TempDir,
}

impl Bare {
    async fn start(stdout: Stdio, stderr: Stdio) -> Self {
        let (ports, receiver) = (Ports::take(), Receiver::always(Reply::Status(200)).await);
        let folder = tempfile::tempdir().expect("a folder for the gateway");
        let config = ports.config(one_endpoint(&receiver.url("/hook"), ""));
        std::fs::write(folder.path().join("hookweir.toml"), config).expect("the configuration to be written");
        let mut command = Command::new(binary());
        command.arg("serve").current_dir(folder.path()).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let gateway = Self { ports, receiver, child: child.expect("the gateway to run"), _folder: folder };
        gateway.ports.ready().await;
        gateway
    }

    async fn serves(&self) {
        self.ports.serves(&self.receiver).await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid_of(&self.child).expect("the gateway to run"), signal).expect("it to take a signal");
    }

    async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        within("the gateway to end", self.child.wait()).await.expect("its exit status")
    }
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into()
}

/// The write side of a pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// The next line with all of `words`.
pub(crate) async fn line_with(output: impl AsyncRead + Unpin, words: &[&str]) -> String {
    let mut lines = BufReader::new(output).lines();
    within(&format!("a line with {words:?}"), async {
        while let Some(line) = lines.next_line().await.expect("the log to be text") {
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
        panic!("the log ended without a line that has {words:?}");
    })
    .await
}

#[tokio::test]
async fn a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    let mut gateway = Bare::start(Stdio::null(), Stdio::piped()).await;
    // More than the pipe and the gateway's own queue hold.
    eventually("lines to be dropped", async || {
        gateway.ports.log_lines(50).await;
        match gateway.ports.dropped().await {
            0 => Err("none is".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    gateway.serves().await;
    gateway.signal(Signal::HUP);
    gateway.serves().await;
    let dropped = gateway.ports.dropped().await;

    // Whoever reads again is told.
    let mut log = gateway.child.stderr.take().expect("the log");
    let told = line_with(&mut log, &["lines of the log were dropped", "\"level\":\"WARN\""]).await;
    let counted = told.split_once("\"dropped\":").and_then(|(_, rest)| rest.split([',', '}']).next());
    let counted: u64 = counted.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(counted >= dropped, "{counted} of {dropped}");
    gateway.ports.log_lines(1).await;
    line_with(&mut log, &["steered"]).await;
    assert_eq!(gateway.ports.dropped().await, counted, "nothing is dropped while it is read");

    gateway.ports.log_lines(300).await;
    assert!(gateway.ports.dropped().await > counted, "nobody reads any more");
    assert_eq!(gateway.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_ends_nothing() {
    let mut gateway = Bare::start(Stdio::null(), Stdio::piped()).await;
    drop(gateway.child.stderr.take());
    gateway.serves().await;
    gateway.signal(Signal::HUP);
    gateway.serves().await;
    assert!(gateway.ports.dropped().await > 0);
    assert_eq!(gateway.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn outputs_that_take_nothing_end_nothing() {
    type Make = fn() -> Stdio;
    let (full, closed): (Make, Make) = (full, closed);
    for (stdout, stderr) in [(full, full), (closed, closed), (full, closed), (closed, full)] {
        let mut gateway = Bare::start(stdout(), stderr()).await;
        gateway.serves().await;
        assert_eq!(gateway.terminate().await.code(), Some(0));
    }
}

/// A standard error that was full before the gateway began: by another program that shares the pipe, for one.
#[tokio::test]
async fn a_log_that_is_full_at_the_start_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("the pipe's flags");
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK)
        .expect("a pipe that does not block");
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    for flags in [flags, flags | rustix::fs::OFlags::NONBLOCK] {
        rustix::fs::fcntl_setfl(&writer, flags).expect("flags for the pipe");
        let output = || writer.try_clone().expect("the pipe once more");
        let mut gateway = Bare::start(output().into(), output().into()).await;
        gateway.serves().await;
        assert_eq!(gateway.terminate().await.code(), Some(0));
    }
    drop(reader);
}

/// A tmpfs in a mount namespace of its own, with a gateway whose journal and log lie there.
struct Small {
    shell: Child,
    commands: ChildStdin,
    answers: tokio::io::Lines<BufReader<ChildStdout>>,
    gateway: Pid,
}

const SMALL: &str = r#"
    set -e
    mount -t tmpfs -o size=288m tmpfs "$1"
    cp "$2" "$1/hookweir.toml"
    cd "$1"
    "$3" serve 2>log >/dev/null &
    gateway=$!
    echo "$gateway"
    while read -r command; do
        case $command in
            # To the last byte: with what is left of the last pages of the files that are there.
            fill) dd if=/dev/zero of=filler bs=64k 2>/dev/null || dd if=/dev/zero bs=1 count=9000 >>filler 2>/dev/null || : ;;
            clear) rm filler ;;
            log) grep -c "$(printf 'lines of the log were dropped')" log || : ;;
            end) break ;;
        esac
        [ "$command" = log ] || echo done
    done
    kill -TERM "$gateway"
    code=0; wait "$gateway" || code=$?
    echo "$code"
"#;

impl Small {
    async fn start(folder: &TempDir, config: &str) -> Self {
        let file = folder.path().join("hookweir.toml");
        std::fs::write(&file, config).expect("the configuration to be written");
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).expect("a place for the file system");
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", SMALL, "sh"]).args([&disk, &file, &binary()]);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare of util-linux");
        let commands = shell.stdin.take().expect("a piped standard input");
        let mut answers = BufReader::new(shell.stdout.take().expect("a piped standard output")).lines();
        let number = within("the gateway's number", answers.next_line()).await.expect("a line");
        let number = number.expect("a tmpfs: this takes root, or namespaces for everybody");
        let gateway = Pid::from_raw(number.parse().expect("a number")).expect("a number");
        Self { shell, commands, answers, gateway }
    }

    async fn ask(&mut self, command: &str) -> String {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("the shell to listen");
        let answer = within(command, self.answers.next_line()).await.expect("the shell's answer");
        answer.unwrap_or_else(|| panic!("the shell ended at {command:?}"))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The shell is killed, and its child with it where the test has failed.
        if self.shell.id().is_some() {
            let _ = kill_process(self.gateway, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_full_disk_under_journal_and_log_refuses_events_and_ends_nothing() {
    let (ports, receiver) = (Ports::take(), Receiver::always(Reply::Status(200)).await);
    let folder = tempfile::tempdir().expect("a folder");
    let config = ports.config(one_endpoint(&receiver.url("/hook"), ""));
    let mut small = Small::start(&folder, &config).await;
    ports.ready().await;
    ports.serves(&receiver).await;

    small.ask("fill").await;
    // The log has a thread of its own, which counts them a moment later.
    eventually("lines to find no room", async || {
        ports.log_lines(1).await;
        match ports.dropped().await {
            0 => Err("none was dropped".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    // What fits into the journal's own files is taken yet; nothing else is answered than that and 503.
    let large = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(500_000));
    let mut taken = 0;
    eventually("events to be refused", async || {
        match ports.sender().try_post(&[], large.clone()).await?.status {
            503 => Ok(()),
            202 => {
                taken += 1;
                Err(format!("{taken} were taken"))
            }
            other => panic!("{other}"),
        }
    })
    .await;
    ports.log_lines(3).await;
    ports.admin().get("/healthz").await.expect(200);

    small.ask("clear").await;
    eventually("events to be taken again", async || {
        match ports.sender().try_post(&[], r#"{"type":"a.b","data":1}"#).await? {
            answer if answer.status == 202 => Ok(()),
            answer => Err(answer.to_string()),
        }
    })
    .await;
    receiver.wait_for(taken + 2).await;
    ports.log_lines(1).await;
    eventually("the log to say what is missing", async || match small.ask("log").await.as_str() {
        "0" => Err("it does not".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!(small.ask("end").await, "0", "the exit code");
    within("the shell to end", small.shell.wait()).await.expect("its exit status");
}

/// What each command says when it can't print: `head` has seen enough, and a full disk is an error.
#[tokio::test]
async fn commands_whose_output_is_closed_end_in_silence() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.toml");
    std::fs::write(&good, Config::new(one_endpoint("https://example.com/", "")).text()).expect("a file");
    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "nonsense = 1\n").expect("a file");
    let path = |file: &PathBuf| file.to_str().expect("text").to_owned();
    let (good, bad) = (path(&good), path(&bad));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for args in [
        &["demo", "--once"][..],
        &["check", "--config", &good],
        &["check", "--config", &good, "--json"],
        &["sign", "--secret", secret, "--id", "msg_1"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let mut command = Command::new(binary());
        command.env_clear().args(args).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.stdout(closed()).stderr(Stdio::piped()).spawn().expect("the command to run");
        let ended = within("it to end", child.wait_with_output()).await.expect("its output");
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    for stdout in [closed as fn() -> Stdio, full] {
        let mut command = Command::new(binary());
        command.args(["check", "--json", "--config", &bad]).kill_on_drop(true);
        let ended = within("it to end", command.stdout(stdout()).status()).await.expect("its exit status");
        assert_eq!(ended.code(), Some(78));
    }
    // What has gone wrong is told by the code, where nothing else can be.
    for stderr in [closed as fn() -> Stdio, full] {
        for (args, code) in [
            (&["check", "--config", bad.as_str()][..], 78),
            (&["serve", "--config", bad.as_str()], 78),
            (&["serve", "--config", "none.toml"], 78),
            (&["check", "--wrong"], 2),
            (&["tail", "--admin", "http://127.0.0.1:1", "--tenant", "acme"], 1),
        ] {
            let mut command = Command::new(binary());
            command.env_clear().args(args).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
            let mut child =
                command.stdout(Stdio::null()).stderr(stderr()).spawn().expect("the command to run");
            let ended = within("it to end", child.wait()).await.expect("its exit status");
            assert_eq!(ended.code(), Some(code), "{args:?}");
        }
    }
    let mut pipe = Command::new("sh");
    pipe.args(["-c", r#""$0" demo --once | head -n 3; echo end"#]).arg(binary());
    let demo = run(&mut pipe, b"");
    let demo = demo.await.expect(0);
    assert_eq!((demo.stdout.lines().count(), demo.stderr.as_str()), (4, ""), "{}", demo.stdout);
}
