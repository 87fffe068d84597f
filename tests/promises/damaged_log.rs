//! A write-ahead log that lost something is not taken for a shorter one: what was answered and is gone is told, by the
//! range of its numbers, and the gateway goes on only where its configuration says so.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookweir_tests::{Admin, Config, Gateway, Receiver, Reply, binary, one_endpoint, run};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::ledger::{Ledger, Load, drained};

const SENDERS: usize = 64;
/// Acknowledged events before the gateway is killed.
const EVENTS: usize = 700;
/// How many places an ordinary run damages, and a long one.
const PLACES: (u64, u64) = (6, 100);

/// A gateway that was killed under load.
struct Crashed {
    gateway: Gateway,
    receiver: Receiver,
    acknowledged: HashSet<String>,
    /// The journal as the kill left it.
    copy: tempfile::TempDir,
    config: Config,
}

impl Crashed {
    async fn new() -> Self {
        let receiver = Receiver::always(Reply::Status(200)).await;
        let config = Config::new(one_endpoint(&receiver.url("/hook"), ""));
        let mut gateway = Gateway::start(config.clone()).await;
        let ledger = Arc::new(Ledger::default());
        let load = Load::start(gateway.accept_address(), SENDERS, &ledger);
        ledger.wait_for(EVENTS).await;
        gateway.kill9().await;
        load.ended().await;
        let copy = tempfile::tempdir().expect("a folder");
        copy_files(&gateway.folder().join("data"), copy.path());
        let acknowledged = ledger.acknowledged().into_iter().collect();
        Self { gateway, receiver, acknowledged, copy, config }
    }

    fn wal(&self) -> PathBuf {
        self.gateway.folder().join("data/journal.db-wal")
    }

    fn mark(&self) -> PathBuf {
        self.gateway.folder().join("data/journal.mark")
    }

    /// Puts the journal back as the kill left it.
    fn restore(&self) {
        let data = self.gateway.folder().join("data");
        for entry in fs::read_dir(&data).expect("the data") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::remove_file(path).expect("removed");
            }
        }
        copy_files(self.copy.path(), &data);
    }

    fn on_damage(&self, word: &str) {
        let journal = format!("on_damage = \"{word}\"");
        self.gateway.reconfigure(Config { journal, ..self.config.clone() });
    }

    /// Acknowledged events that have not arrived, before the kill or since.
    fn not_arrived(&self) -> usize {
        let arrived: HashSet<String> =
            self.receiver.requests().iter().map(|request| request.event().to_owned()).collect();
        self.acknowledged.difference(&arrived).count()
    }

    /// Starts as the configuration says by default, and then so that it goes on whatever was found. Answers what
    /// `/readyz` says of damage.
    async fn start(&mut self) -> Value {
        self.on_damage("stop");
        let before = files(&self.gateway.folder().join("data"));
        if let Err(refused) = self.gateway.try_start_again().await {
            assert_eq!(refused.code, Some(1), "{}", refused.stderr);
            let said = refused.stderr;
            for word in ["the journal is damaged", "The start is refused", "on_damage = \"continue\""] {
                assert!(said.contains(word), "{word} in {said}");
            }
            assert!(
                before == files(&self.gateway.folder().join("data")),
                "a start that is refused changes nothing"
            );
            self.on_damage("continue");
            self.gateway.start_again().await;
            let ready = self.gateway.admin().json("/readyz").await;
            assert_eq!(ready["ready"], true, "{ready}");
            assert!(ready["damage"].is_object(), "{ready}");
        }
        self.gateway.admin().json("/readyz").await["damage"].clone()
    }
}

/// The journal's own files; SQLite's shared memory holds nothing that lasts.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let names = ["journal.db", "journal.db-wal", "journal.mark"];
    names.iter().filter_map(|name| Some(((*name).to_owned(), fs::read(directory.join(name)).ok()?))).collect()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("the file");
    file.write_all_at(bytes, at).expect("written");
}

async fn records(admin: &Admin) -> Vec<Value> {
    admin.json("/v1/damage").await["data"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_delivered_or_in_the_range_whatever_sector_is_damaged() {
    let mut crashed = Crashed::new().await;
    let length = fs::metadata(crashed.wal()).expect("a log").len();
    assert!(length > 100_000, "what was written is in the log");
    let is_long = std::env::var_os("HOOKWEIR_LONG").is_some();
    println!(
        "seed   sector  damage                                      missing of {}",
        crashed.acknowledged.len()
    );
    for seed in 0..if is_long { PLACES.1 } else { PLACES.0 } {
        let mut rng = fastrand::Rng::with_seed(seed);
        // The first is the one in the middle.
        let sector = if seed == 0 { length / 1024 } else { rng.u64(0..length / 512) };
        let mut garbage = [0; 512];
        garbage.iter_mut().for_each(|byte| *byte = rng.u8(..));
        crashed.restore();
        overwrite(&crashed.wal(), sector * 512, &garbage);
        let damage = crashed.start().await;
        drained(&crashed.gateway.admin(), "hook").await;
        let listed = damage["events"].as_u64().unwrap_or(0);
        let missing = missing(&crashed).await;
        println!("{seed:4}  {sector:7}  {:42}  {missing}", damage.to_string());
        assert!(missing <= listed, "{missing} acknowledged events are gone, and {listed} are told: {damage}");
        crashed.gateway.kill9().await;
    }
}

/// Acknowledged events that the journal does not have.
async fn missing(crashed: &Crashed) -> u64 {
    let admin = crashed.gateway.admin();
    let mut there = HashSet::new();
    let mut path = "/v1/tenants/acme/events?limit=500".to_owned();
    loop {
        let page = admin.json(&path).await;
        for event in page["data"].as_array().expect("a list") {
            there.insert(event["id"].as_str().expect("an id").to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/tenants/acme/events?limit=500&cursor={next}");
    }
    crashed.acknowledged.iter().filter(|id| !there.contains(*id)).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_shown_over_restarts_until_it_is_acknowledged() {
    let mut crashed = Crashed::new().await;
    let length = fs::metadata(crashed.wal()).expect("a log").len();
    fs::File::options().write(true).open(crashed.wal()).expect("the log").set_len(length / 3).expect("cut");
    let damage = crashed.start().await;
    let range = damage["range"].clone();
    assert!(
        damage["events"].as_u64() > Some(0) && range["first"].as_u64() <= range["last"].as_u64(),
        "{damage}"
    );
    assert!(missing(&crashed).await <= damage["events"].as_u64().expect("a number"));
    crashed.gateway.logged(&["ERROR", "is damaged", "were answered and are missing"]).await;
    let aside = fs::read_dir(crashed.gateway.folder().join("data")).expect("the data");
    let aside = aside.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with("journal.db-wal.damaged-")
    });
    assert_eq!(aside.count(), 1, "the damaged log is kept");

    crashed.gateway.sender().event("after.damage", r#"{"a":1}"#).await;
    crashed.on_damage("stop");
    for _ in 0..2 {
        crashed.gateway.terminate().await;
        crashed.gateway.start_again().await;
        let admin = crashed.gateway.admin();
        assert_eq!(admin.json("/readyz").await["damage"], damage, "it is shown after an orderly stop too");
        let metrics = admin.get("/metrics").await.expect(200).text();
        assert!(metrics.lines().any(|line| line == "hookweir_journal_damage_records 1"), "{metrics}");
        let events = format!("hookweir_journal_damage_events {}", damage["events"]);
        assert!(metrics.lines().any(|line| line == events), "{events} in {metrics}");
    }
    let admin = crashed.gateway.admin();
    let listed = records(&admin).await;
    assert_eq!(
        (listed.len(), &listed[0]["kind"], &listed[0]["events"]),
        (1, &json!("log"), &range),
        "{listed:?}"
    );
    let number = listed[0]["number"].to_string();
    let hookweir = async |words: &[&str]| {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .args(words)
            .args(["--admin", &format!("http://{}", crashed.gateway.admin_address())]);
        run(&mut command, b"").await.expect(0).stdout
    };
    let shown = hookweir(&["damage", "list"]).await;
    let row: Vec<&str> = shown.lines().nth(1).expect("a row").split_whitespace().take(3).collect();
    let numbers = format!("{}-{}", range["first"], range["last"]);
    let one = range["first"].to_string();
    assert_eq!(
        row,
        [number.as_str(), "log", if range["first"] == range["last"] { &one } else { &numbers }],
        "{shown}"
    );
    let answer = hookweir(&["damage", "acknowledge", &number]).await;
    assert_eq!(answer, "1 record is acknowledged\n");
    let answer = hookweir(&["damage", "acknowledge", &number, "--json"]).await;
    assert_eq!(answer, "{\"records\":0}\n");
    assert_eq!(admin.json("/readyz").await["damage"], Value::Null);
    assert!(records(&admin).await[0]["acknowledged"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_nothing_that_was_answered_stays_quiet() {
    let mut crashed = Crashed::new().await;
    let length = fs::metadata(crashed.wal()).expect("a log").len();
    type Harm = fn(&Crashed, u64);
    let harms: [(&str, Harm); 4] = [
        ("nothing", |_, _| {}),
        ("garbage behind the end, as a write that was cut off leaves it", |crashed, length| {
            overwrite(&crashed.wal(), length, &[0xa5; 3000]);
        }),
        ("garbage in the shared memory", |crashed, _| {
            fs::write(crashed.wal().with_extension("db-shm"), [0xa5; 32768]).expect("written");
        }),
        ("no mark, as an earlier version leaves it", |crashed, _| {
            fs::remove_file(crashed.mark()).expect("removed");
        }),
    ];
    for (name, harm) in harms {
        crashed.restore();
        harm(&crashed, length);
        crashed.on_damage("stop");
        crashed.gateway.start_again().await;
        assert_eq!(crashed.gateway.admin().json("/readyz").await["damage"], Value::Null, "{name}");
        assert_eq!(missing(&crashed).await, 0, "{name}");
        drained(&crashed.gateway.admin(), "hook").await;
        crashed.gateway.kill9().await;
    }
    assert_eq!(crashed.not_arrived(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_or_a_journal_that_is_gone_is_told() {
    let mut crashed = Crashed::new().await;
    type Harm = fn(&Crashed);
    let harms: [(&str, Harm); 3] = [
        ("the log is gone", |crashed| fs::remove_file(crashed.wal()).expect("removed")),
        ("the log is empty", |crashed| fs::write(crashed.wal(), "").expect("emptied")),
        ("the journal is gone, its mark is there", |crashed| {
            fs::remove_file(crashed.wal().with_extension("db")).expect("removed");
            fs::remove_file(crashed.wal()).expect("removed");
        }),
    ];
    for (name, harm) in harms {
        crashed.restore();
        harm(&crashed);
        let damage = crashed.start().await;
        let (missing, told) = (missing(&crashed).await, damage["events"].as_u64().unwrap_or(0));
        println!("{name}: {missing} missing, {damage}");
        assert!(missing > 0 && missing <= told, "{name}: {missing} missing, {damage}");
        crashed.gateway.kill9().await;
    }
}
