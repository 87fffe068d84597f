//! Damage anywhere in the files: the journal opens, and every event that was answered for is delivered, or listed as damaged.
//!
//! The places are drawn by a seed from all pages of all tables and indexes. An ordinary run takes some of them,
//! `HOOKWEIR_LONG=1` all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, OnDamage, Options};
use hookweir_journal::{
    Amount, Appended, DamageKind, Damages as _, DueDelivery, Journal, Made, NewEvent, Next, Queues as _, Seq,
    Settlement,
};
use hookweir_model::{
    Attempt, Digest, EndpointId, EndpointKey, Epoch, Event, EventId, EventType, Outcome, PluginId, PluginKey,
    PluginState, Shaped, Status, TenantId, Timestamp, Upload,
};
use hookweir_tests::eventually;
use rusqlite::Connection;

const PAGE: u64 = 4096;
const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);

fn key(tenant: &str, endpoint: &str) -> EndpointKey {
    EndpointKey::new(TenantId::new(tenant).expect("a name"), EndpointId::new(endpoint).expect("a name"))
}

/// The bytes of an event follow from its id.
fn data(id: &str) -> Bytes {
    let digest = Digest::of(id.as_bytes());
    let length = 40 + usize::from(digest.as_bytes()[0]) * if id.ends_with('7') { 40 } else { 3 };
    Bytes::from(digest.as_bytes().iter().copied().cycle().take(length).collect::<Vec<u8>>())
}

fn new(tenant: &str, id: &str, endpoints: &[&str]) -> NewEvent {
    let data = data(id);
    NewEvent {
        fingerprint: Digest::of(&data),
        idempotency_key: id.ends_with('3').then(|| format!("key-{id}")),
        endpoints: endpoints.iter().map(|name| EndpointId::new(name).expect("a name")).collect(),
        event: Arc::new(Event {
            tenant: TenantId::new(tenant).expect("a name"),
            id: EventId::new(id).expect("an id"),
            event_type: EventType::new("order.created").expect("a type"),
            source: "/damage".to_owned(),
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

/// What the journal answered for.
#[derive(Debug, Clone)]
struct Kept {
    tenant: &'static str,
    id: String,
    seq: Seq,
    /// By endpoint, how it was left.
    deliveries: BTreeMap<&'static str, Status>,
}

fn settlement(of: &EndpointKey, seq: Seq, epoch: Epoch, number: u32, next: Next) -> Settlement {
    let outcome = match &next {
        Next::Final { status: Status::Delivered, .. } => Outcome::Delivered,
        _ => Outcome::Retry,
    };
    let shaped = matches!(next, Next::RetryAt { .. }).then(|| Shaped {
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
        body: Bytes::from(format!("shaped-{}", seq.0)),
    });
    let attempt = Attempt {
        number,
        started: Timestamp::from_millis(1),
        duration_ms: 1,
        outcome,
        reason: None,
        answer: None,
        plugins: Vec::new(),
        exchange: None,
    };
    Settlement {
        endpoint: of.clone(),
        seq,
        epoch,
        attempt: Some(attempt),
        next,
        made: Made { shaped, calls: Vec::new() },
    }
}

/// A journal with something in every table: two tenants, and deliveries of every kind.
async fn fill(journal: &Embedded, events: usize) -> Vec<Kept> {
    let epoch = journal.acquire_shards("node-1", Duration::ZERO).await.expect("leases")[0].epoch;
    let mut kept = Vec::new();
    for start in (0..events).step_by(100) {
        let names: Vec<(&'static str, String, &'static [&'static str])> = (start..events.min(start + 100))
            .map(|number| match number % 3 {
                0 => ("other", format!("other-{number}"), &["c"][..]),
                _ => ("acme", format!("acme-{number}"), &["a", "b"][..]),
            })
            .collect();
        let batch = names.iter().map(|(tenant, id, to)| new(tenant, id, to)).collect();
        let appended = journal.append(batch).await.expect("kept");
        for ((tenant, id, to), appended) in names.into_iter().zip(appended) {
            let Appended::Stored { seq } = appended else { panic!("{appended:?}") };
            let deliveries = to.iter().map(|to| (*to, Status::Pending)).collect();
            kept.push(Kept { tenant, id, seq, deliveries });
        }
    }
    let mut settlements = Vec::new();
    for event in &mut kept {
        for (to, status) in &mut event.deliveries {
            let ended = |status| Next::Final { status, reason: None };
            let next = match event.seq.0 % 8 {
                0..4 => ended(Status::Delivered),
                4 => {
                    Next::RetryAt { due: Timestamp::from_millis(5 + event.seq.0.cast_signed()), reason: None }
                }
                5 => ended(Status::Exhausted),
                _ => continue,
            };
            *status = match &next {
                Next::Final { status, .. } => *status,
                _ => Status::Pending,
            };
            settlements.push(settlement(&key(event.tenant, to), event.seq, epoch, 1, next));
        }
    }
    journal.settle(settlements).await.expect("settled");
    let current = journal.put_blob(Bytes::from(vec![7; 20_000])).await.expect("kept");
    let upload = Upload { current, previous: None, at: Timestamp::from_millis(3) };
    let plugin =
        PluginKey::new(TenantId::new("acme").expect("a name"), PluginId::new("filter").expect("a name"));
    journal
        .put_plugin_state(&plugin, &PluginState { upload: Some(upload), paused: None })
        .await
        .expect("kept");
    journal.enqueue(&key("other", "c"), vec![crate::message("queued", "body")]).await.expect("kept");
    kept
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Bit,
    Byte,
    ZeroedSector,
    NoisySector,
    ZeroedPage,
    NoisyPage,
    Cut,
}

const HARMS: [Harm; 7] = [
    Harm::Bit,
    Harm::Byte,
    Harm::ZeroedSector,
    Harm::NoisySector,
    Harm::ZeroedPage,
    Harm::NoisyPage,
    Harm::Cut,
];

impl Harm {
    /// Harms a page of a file at this place.
    fn apply(self, path: &Path, page: u64, rng: &mut fastrand::Rng) {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file");
        let mut bytes = vec![0; PAGE as usize];
        let at = page * PAGE;
        file.read_exact_at(&mut bytes, at).expect("a page");
        let place = rng.usize(0..bytes.len());
        let sector = place / 512 * 512;
        match self {
            Self::Bit => bytes[place] ^= 1 << rng.u32(0..8),
            Self::Byte => bytes[place] = bytes[place].wrapping_add(rng.u8(1..)),
            Self::ZeroedSector => bytes[sector..sector + 512].fill(0),
            Self::NoisySector => rng.fill(&mut bytes[sector..sector + 512]),
            Self::ZeroedPage => bytes.fill(0),
            Self::NoisyPage => rng.fill(&mut bytes),
            Self::Cut => {
                // The end of the file is lost, with at most a few pages.
                let length = file.metadata().expect("its length").len();
                let cut = rng.u64(1..4 * PAGE).min(length - PAGE);
                return file.set_len(length - cut).expect("cut");
            }
        }
        file.write_all_at(&bytes, at).expect("written");
    }
}

fn copy(from: &Path, to: &Path) {
    for name in ["journal.db", "journal.db-wal", "journal.mark", "journal.roots"] {
        if from.join(name).is_file() {
            fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }
}

/// The pages of each table and index, counted from 0.
fn pages(directory: &Path) -> BTreeMap<String, Vec<u64>> {
    let connection = Connection::open(directory.join("journal.db")).expect("the file");
    let mut statement = connection.prepare("SELECT name, pageno FROM dbstat").expect("dbstat");
    let mut pages: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).expect("rows");
    for row in rows {
        let (name, page) = row.expect("a row");
        pages.entry(name).or_default().push(page.unsigned_abs() - 1);
    }
    pages
}

async fn swept(journal: &Embedded) {
    eventually("the sweep to end", async || match journal.is_swept() {
        true => Ok(()),
        false => Err("it goes on".to_owned()),
    })
    .await;
    // Everything that it found is written before what comes in now.
    journal
        .put_endpoint_state(&key("other", "c"), &hookweir_model::EndpointState::default())
        .await
        .expect("written");
}

/// What is due of a lane next; nothing where all of it has ended.
async fn next_due(journal: &Embedded, lane: &EndpointKey) -> Result<Option<Vec<DueDelivery>>, String> {
    let due = journal.due(lane, END_OF_TIME, &[], Amount::of(200)).await;
    let due = due.map_err(|error| error.to_string())?.deliveries;
    if !due.is_empty() {
        return Ok(Some(due));
    }
    match journal.next_due(lane, &[]).await {
        Ok(None) => Ok(None),
        other => Err(format!("nothing is due, and next is {other:?}")),
    }
}

/// Delivers all that is due, as the lanes do, and answers what that was.
async fn deliver(journal: &Embedded) -> Vec<(EndpointKey, DueDelivery)> {
    let epoch = journal.acquire_shards("node-1", Duration::ZERO).await.expect("leases")[0].epoch;
    let mut delivered = Vec::new();
    for lane in [key("acme", "a"), key("acme", "b"), key("other", "c")] {
        // The journal ends what is damaged, or mends the file, and then answers the rest.
        while let Some(due) =
            eventually(&format!("{lane} to be read"), async || next_due(journal, &lane).await).await
        {
            let ended = Next::Final { status: Status::Delivered, reason: None };
            let settle =
                due.iter().map(|due| settlement(&lane, due.seq, epoch, due.attempts + 1, ended.clone()));
            journal.settle(settle.collect()).await.expect("a settlement is never refused for damage");
            delivered.extend(due.into_iter().map(|due| (lane.clone(), due)));
        }
    }
    delivered
}

/// What came of a journal that was damaged.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sum {
    /// Deliveries that are `failed`, with a reason that says damage.
    failed: usize,
    /// Deliveries whose event is listed by its number alone, or by a range.
    by_range: usize,
    /// Delivered again although they had been.
    doubled: usize,
    was_rebuilt: bool,
}

/// Opens a damaged journal and holds it to the promise.
async fn judge(directory: &Path, options: Options, kept: &[Kept], place: &str) -> Sum {
    let journal = Embedded::open(directory, options).unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut delivered = deliver(&journal).await;
    swept(&journal).await;
    delivered.extend(deliver(&journal).await);
    let mut outcome = Sum::default();
    let mut sent = BTreeSet::new();
    for (lane, due) in &delivered {
        let event = &due.event;
        assert_eq!(event.data, data(event.id.as_str()), "{place}: other bytes than were kept");
        let known =
            kept.iter().find(|kept| kept.seq == due.seq).unwrap_or_else(|| panic!("{place}: {due:?}"));
        assert_eq!((known.tenant, known.id.as_str()), (lane.tenant.as_str(), event.id.as_str()), "{place}");
        let endpoint = lane.endpoint.as_str();
        let was =
            known.deliveries.get(endpoint).unwrap_or_else(|| panic!("{place}: {endpoint} never wanted it"));
        let is_again = !sent.insert((due.seq, endpoint.to_owned()));
        outcome.doubled += usize::from(is_again || *was == Status::Delivered);
    }
    let records = journal.damage(None, 10_000).await.expect("read");
    outcome.was_rebuilt = records.iter().any(|record| record.damage.kind == DamageKind::File);
    let in_range = |seq: Seq| {
        records
            .iter()
            .any(|record| record.damage.events.is_some_and(|(first, last)| (first..=last).contains(&seq)))
    };
    for event in kept {
        let tenant = TenantId::new(event.tenant).expect("a name");
        let id = EventId::new(&event.id).expect("an id");
        let deliveries =
            journal.deliveries_of(&tenant, &id).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        for (endpoint, was) in &event.deliveries {
            let now = deliveries.iter().find(|delivery| delivery.key.endpoint.as_str() == *endpoint);
            let is_sent = sent.contains(&(event.seq, (*endpoint).to_owned()));
            match now.map(|delivery| (delivery.status, delivery.reason.as_deref().unwrap_or_default())) {
                Some((Status::Delivered, _)) if *was == Status::Delivered || is_sent => {}
                Some((Status::Exhausted, _)) if *was == Status::Exhausted => {}
                Some((Status::Failed, reason)) if reason.contains("damaged") => outcome.failed += 1,
                _ if in_range(event.seq) => outcome.by_range += 1,
                other => {
                    panic!("{place}: {} to {endpoint}, {was}, is lost: {other:?}\n{records:#?}", event.id)
                }
            }
        }
    }
    // All tenants go on.
    for (tenant, endpoint) in [("acme", "a"), ("other", "c")] {
        let id = format!("after-{tenant}");
        let appended = journal.append(vec![new(tenant, &id, &[endpoint])]).await;
        assert!(matches!(appended.as_deref(), Ok([Appended::Stored { .. }])), "{place}: {appended:?}");
    }
    let after = deliver(&journal).await;
    assert_eq!(after.len(), 2, "{place}");
    assert_eq!(journal.health().await.expect("health").writable, Ok(()), "{place}");
    journal.close().await;
    let examined = Embedded::examine(directory).unwrap_or_else(|error| panic!("{place}: {error}"));
    let left: Vec<_> = examined.damage.iter().filter(|damage| damage.kind != DamageKind::Event).collect();
    assert!(left.iter().all(|damage| damage.kind == DamageKind::Blob), "{place}: {left:#?}");
    outcome
}

/// The name of the log among those of tables and indexes.
const LOG: &str = "(log)";

/// How many places an ordinary run takes.
const SOME: usize = 70;
const ALL: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_costs_what_lies_there() {
    let places = if std::env::var_os("HOOKWEIR_LONG").is_some() { ALL } else { SOME };
    let base = tempfile::tempdir().expect("a directory");
    let journal = Embedded::open(base.path(), Options::default()).expect("opens");
    let kept = fill(&journal, 900).await;
    swept(&journal).await;
    let killed = tempfile::tempdir().expect("a directory");
    copy(base.path(), killed.path());
    journal.close().await;
    let by_table = pages(base.path());
    let names: Vec<&String> = by_table.keys().collect();
    let (kept, mut failed) = (Arc::new(kept), Vec::new());
    let mut ledger: BTreeMap<(String, bool), (usize, Sum)> = BTreeMap::new();
    for seed in 0..places as u64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        // One place in six lies in the log, which an orderly stop leaves empty.
        let is_log = seed % 6 == 0;
        let name = if is_log { LOG } else { names[seed as usize % names.len()].as_str() };
        let is_killed = is_log || rng.bool();
        let harm = HARMS[rng.usize(0..HARMS.len())];
        let directory = tempfile::tempdir().expect("a directory");
        copy(if is_killed { killed.path() } else { base.path() }, directory.path());
        let file = directory.path().join(if is_log { "journal.db-wal" } else { "journal.db" });
        let pages = fs::metadata(&file).expect("the file").len() / PAGE;
        let page = match by_table.get(name) {
            Some(of_name) => of_name[rng.usize(0..of_name.len())],
            None => rng.u64(0..pages),
        };
        harm.apply(&file, page.min(pages - 1), &mut rng);
        let place = format!("seed {seed}: {harm:?} in page {} of {name}, killed: {is_killed}", page + 1);
        // What a log has lost is lost for good: an operator says whether to go on. The rest is no reason to stop.
        let on_damage = if is_log { OnDamage::Continue } else { OnDamage::default() };
        let options = Options { on_damage, ..Options::default() };
        // All places are tried, so that one run tells of all that fail.
        let (kept, path) = (Arc::clone(&kept), directory.path().to_owned());
        let local = tokio::task::LocalSet::new();
        let judged = local.spawn_local(async move { judge(&path, options, &kept, &place).await });
        let Ok(outcome) = local.run_until(judged).await else {
            failed.push(seed);
            continue;
        };
        let (count, sum) = ledger.entry((name.to_owned(), outcome.was_rebuilt)).or_default();
        *count += 1;
        sum.failed += outcome.failed;
        sum.by_range += outcome.by_range;
        sum.doubled += outcome.doubled;
    }
    println!("{:28} rebuilt  places  failed  by range  doubled", "table or index");
    for ((name, was_rebuilt), (count, sum)) in ledger {
        println!(
            "{name:28} {was_rebuilt:7}  {count:6}  {:6}  {:8}  {:7}",
            sum.failed, sum.by_range, sum.doubled
        );
    }
    assert_eq!(failed, [0_u64; 0], "of {places} places; the seeds that failed");
}
