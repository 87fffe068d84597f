//! Crashes that really happen: a process of its own appends and settles, and is killed or loses its disk; what it had
//! been told is kept must be there.
//!
//! The child is this binary again, running [`child`]. It says on its standard output what the journal
//! acknowledged, after it did. Killing a process does not empty the page cache: these tests prove recovery, not power
//! loss.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, OnDamage, Options};
use hookweir_journal::{Appended, Damages as _, Error, Journal, Made, NewEvent, Next, Settled, Settlement};
use hookweir_model::{
    Attempt, DeliveryKey, Digest, EndpointId, EndpointKey, Epoch, Event, EventId, EventType, Outcome, Status,
    TenantId, Timestamp,
};

/// The directory of the journal, for the child.
const DIRECTORY: &str = "JOURNAL_CRASH_DIRECTORY";
/// What the child does: a round's number, or `until-it-fails`.
const TASK: &str = "JOURNAL_CRASH_TASK";
const SENDERS: usize = 64;
const ENDPOINTS: [&str; 2] = ["a", "b"];

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).expect("the journal opens")
}

fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn key(event: &EventId, endpoint: &str) -> DeliveryKey {
    DeliveryKey {
        tenant: tenant(),
        endpoint: EndpointId::new(endpoint).expect("a name"),
        event: event.clone(),
    }
}

/// The bytes of an event follow from its id, so that parent and child need not tell each other.
fn data(id: &EventId) -> Bytes {
    let digest = Digest::of(id.as_str().as_bytes());
    let bytes = digest.as_bytes();
    let length = usize::from(bytes[0]) * 16 + usize::from(bytes[1]);
    Bytes::from(bytes.iter().copied().cycle().take(length).collect::<Vec<u8>>())
}

fn new(id: &EventId, data: Bytes) -> NewEvent {
    NewEvent {
        fingerprint: Digest::of(&data),
        idempotency_key: Some(id.as_str().to_owned()),
        endpoints: ENDPOINTS.map(|name| EndpointId::new(name).expect("a name")).to_vec(),
        event: Arc::new(Event {
            tenant: tenant(),
            id: id.clone(),
            event_type: EventType::new("order.created").expect("a type"),
            source: "/crash".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: Timestamp::from_millis(1_700_000_000_000),
            content_type: "application/octet-stream".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data,
        }),
    }
}

fn say(line: &str) {
    // One write a line: what the parent reads up to a newline was said in full.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

/// Not a test: what the tests of this file run in a process of its own. Without their word it has nothing to do.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let task = std::env::var(TASK).expect("run by the tests of this file");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let journal = Arc::new(open(Path::new(&directory)));
    runtime.block_on(async {
        let epoch = journal.acquire_shards("node-1", Duration::ZERO).await.expect("leases")[0].epoch;
        if task == "until-it-fails" {
            append_until_it_fails(&journal).await;
            return;
        }
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send(Arc::clone(&journal), format!("{task}-{sender}"), epoch));
        }
        senders.join_all().await;
    });
}

/// Appends and settles for ever; every other event is delivered to `a`.
async fn send(journal: Arc<Embedded>, name: String, epoch: Epoch) {
    for number in 0_u32.. {
        let id = EventId::new(&format!("{name}-{number}")).expect("an id");
        let appended = journal.append(vec![new(&id, data(&id))]).await.expect("appended");
        let [Appended::Stored { seq }] = appended[..] else { panic!("{appended:?}") };
        say(&format!("kept {id} {}", seq.0));
        if number % 2 == 0 {
            let attempt = Attempt {
                number: 1,
                started: Timestamp::from_millis(1),
                duration_ms: 1,
                outcome: Outcome::Delivered,
                reason: None,
                answer: None,
                plugins: Vec::new(),
                exchange: None,
            };
            let settlement = Settlement {
                made: Made::default(),
                endpoint: EndpointKey::new(tenant(), key(&id, "a").endpoint),
                seq,
                epoch,
                attempt: Some(attempt),
                next: Next::Final { status: Status::Delivered, reason: None },
            };
            assert_eq!(journal.settle(vec![settlement]).await.expect("settled"), [Settled::Applied]);
            say(&format!("settled {id}"));
        }
    }
}

/// Appends large events until the operating system refuses a write, then says how the journal behaves.
async fn append_until_it_fails(journal: &Embedded) {
    let big = Bytes::from(vec![7; 100_000]);
    for number in 0_u64.. {
        let id = EventId::new(&format!("big-{number}")).expect("an id");
        match journal.append(vec![new(&id, big.clone())]).await {
            Ok(_) => say(&format!("kept {id} {number}")),
            Err(error) => {
                say(&format!("first {}", matches!(error, Error::Unknown(_))));
                break;
            }
        }
    }
    let id = EventId::new("small").expect("an id");
    let second = journal.append(vec![new(&id, Bytes::new())]).await;
    say(&format!("second {}", matches!(second, Err(Error::Unknown(_)))));
    let settled = journal.settle(Vec::new()).await;
    say(&format!("settle {}", matches!(settled, Err(Error::Unknown(_)))));
    say(&format!("health {}", journal.health().await.expect("reads go on").writable.is_err()));
    let first = EventId::new("big-0").expect("an id");
    say(&format!("read {}", journal.event(&tenant(), &first).await.expect("reads go on").is_some()));
}

fn start(directory: &Path, task: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "child", "--nocapture"]).stdout(Stdio::piped());
    command.env(DIRECTORY, directory).env(TASK, task).spawn().expect("the child starts")
}

/// What a child said.
#[derive(Default)]
struct Said {
    kept: BTreeMap<EventId, u64>,
    settled: BTreeSet<EventId>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["kept", id, seq] => {
                self.kept.insert(EventId::new(id).expect("an id"), seq.parse().expect("a number"));
            }
            ["settled", id] => {
                self.settled.insert(EventId::new(id).expect("an id"));
            }
            _ => {}
        }
    }
}

/// Runs a child until it has said this much, kills it, and hears out what it said before it died.
fn kill_after(directory: &Path, task: &str, events: usize) -> Said {
    let mut child = start(directory, task);
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let (mut said, mut line) = (Said::default(), String::new());
    let mut is_alive = true;
    loop {
        line.clear();
        let read = out.read_line(&mut line).expect("its output");
        // A line without its end was cut off by the kill.
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        said.hear(line.trim_end());
        if is_alive && said.kept.len() >= events {
            child.kill().expect("killed");
            is_alive = false;
        }
    }
    assert!(!is_alive, "the child ended by itself");
    child.wait().expect("it is gone");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    const ROUNDS: usize = 10;
    let directory = tempfile::tempdir().expect("a directory");
    let mut rng = fastrand::Rng::new();
    println!("round  killed after  kept before  settled before  kept in all  lost");
    let mut all = Said::default();
    for round in 0..ROUNDS {
        let after = rng.usize(1..3000);
        let said = kill_after(directory.path(), &format!("round-{round}"), after);
        let (kept, settled) = (said.kept.len(), said.settled.len());
        all.kept.extend(said.kept);
        all.settled.extend(said.settled);
        let journal = open(directory.path());
        let lost = lost(&journal, &all).await;
        println!("{round:5}  {after:12}  {kept:11}  {settled:14}  {:11}  {}", all.kept.len(), lost.len());
        assert_eq!(lost, Vec::<String>::new());
        let health = journal.health().await.expect("health");
        assert_eq!(health.writable, Ok(()), "the journal is whole");
        journal.close().await;
    }
}

/// What a journal should hold and does not, in words.
async fn lost(journal: &Embedded, said: &Said) -> Vec<String> {
    let mut lost = Vec::new();
    for id in said.kept.keys() {
        match journal.event(&tenant(), id).await {
            Ok(Some(event)) if event.data == data(id) => {}
            other => lost.push(format!("{id}: {other:?}")),
        }
        let deliveries = journal.deliveries_of(&tenant(), id).await.expect("read");
        if deliveries.len() != ENDPOINTS.len() {
            lost.push(format!("{id}: {deliveries:?}"));
        }
        if said.settled.contains(id) {
            let attempts = journal.attempts(&key(id, "a")).await.expect("read").len();
            if deliveries.first().map(|delivery| delivery.status) != Some(Status::Delivered) || attempts != 1
            {
                lost.push(format!("{id}: settled, but {deliveries:?} after {attempts} attempts"));
            }
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_log_loses_its_end_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = kill_after(directory.path(), "torn", 500);
    let wal = fs::read(directory.path().join("journal.db-wal")).expect("the log");
    assert!(wal.len() > 100_000, "what was written is in the log");
    type Harm = fn(&mut Vec<u8>);
    // The mark is not copied: a commit that was synced and answered is told by the one behind it.
    let harms: [(&str, bool, Harm); 5] = [
        ("cut by a byte", false, |log| log.truncate(log.len() - 1)),
        ("cut by a page and a half", false, |log| log.truncate(log.len() - 6000)),
        ("a bit turned in the last page", false, |log| *log.last_mut().expect("a byte") ^= 0x80),
        ("noise over the last 300 bytes", false, |log| {
            let start = log.len() - 300;
            log[start..].fill(0xa5);
        }),
        ("noise in the middle", true, |log| {
            let middle = log.len() / 2;
            log[middle..middle + 50].fill(0xa5);
        }),
    ];
    for (name, is_damage, harm) in harms {
        let copy = tempfile::tempdir().expect("a directory");
        fs::copy(directory.path().join("journal.db"), copy.path().join("journal.db")).expect("copied");
        let mut log = wal.clone();
        harm(&mut log);
        fs::write(copy.path().join("journal.db-wal"), log).expect("written");
        let refused = Embedded::open(copy.path(), Options::default()).map(drop).is_err();
        let options = Options { on_damage: OnDamage::Continue, ..Options::default() };
        let journal = Embedded::open(copy.path(), options).expect("it goes on with what is left");
        let damage = journal.damage_summary();
        println!("{name}: {damage:?}");
        assert_eq!(damage.records, u64::from(is_damage), "{name}");
        assert!(is_damage || !refused, "{name}: a torn end stops nobody");
        // Each event is there whole or not at all, and those that are gone are newer than all that are there.
        let (mut newest_there, mut oldest_gone) = (0, u64::MAX);
        for (id, seq) in &said.kept {
            match journal.event(&tenant(), id).await.expect("no damage shows") {
                Some(event) => {
                    assert_eq!(event.data, data(id), "{name}");
                    let deliveries = journal.deliveries_of(&tenant(), id).await.expect("read");
                    assert_eq!(deliveries.len(), ENDPOINTS.len(), "{name}");
                    newest_there = newest_there.max(*seq);
                }
                None => oldest_gone = oldest_gone.min(*seq),
            }
        }
        println!("{name}: there up to {newest_there}, gone from {oldest_gone}");
        assert!(newest_there < oldest_gone, "{name}");
    }
}

/// A limit on the size of files makes the operating system fail a write in earnest.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nothing_is_promised_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let itself = std::env::current_exe().expect("this binary");
    let mut shell = Command::new("sh");
    // Ignored, the signal of the limit leaves the error; the shell's ignoring is passed on to what it becomes.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" --exact child --nocapture"]);
    shell.arg(itself).env(DIRECTORY, directory.path()).env(TASK, "until-it-fails");
    let output = shell.output().expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut said = Said::default();
    text.lines().for_each(|line| said.hear(line));
    assert!(said.kept.len() > 5, "{text}");
    for wanted in ["first true", "second true", "settle true", "health true", "read true"] {
        assert!(text.lines().any(|line| line == wanted), "{wanted} in {text}");
    }
    let journal = open(directory.path());
    for id in said.kept.keys() {
        assert!(journal.event(&tenant(), id).await.expect("read").is_some(), "{id}");
    }
    let small = EventId::new("small").expect("an id");
    assert_eq!(journal.event(&tenant(), &small).await.expect("read"), None);
}
