//! How fast the embedded engine is here, beside the least that a durable append can cost: a file that is written and
//! synced, with the same senders and the same gathering.
//!
//! `cargo run --release -p hookweir-journal --example append [EVENTS] [DIRECTORY]`
//!
//! Each event has 1 KiB of data and one delivery, which is settled with its attempt: one in a hundred as failed, the
//! others as delivered. The run ends when all are settled; then lists are read from what it left.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::{Amount, Appended, DeliveryFilter, EventFilter, Journal, NewEvent, Next, Settlement};
use hookweir_model::{
    Attempt, Digest, EndpointId, EndpointKey, Epoch, Event, EventId, EventType, Outcome, Status, TenantId,
    Timestamp,
};
use tokio::sync::oneshot;

const ENDPOINTS: usize = 8;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let events: usize =
        arguments.next().map_or(Ok(100_000), |text| text.parse()).context("EVENTS is a number")?;
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!(
        "tasks  engine   appends/s  of raw  CPU us/event  events/commit  ms/commit  wait p50 ms  p99 ms"
    );
    for tasks in [64, 512] {
        let directory = tempfile::tempdir_in(&parent)?;
        let raw = runtime.block_on(raw(directory.path(), tasks, events))?;
        println!("{tasks:5}  {}", raw.line("raw", &raw));
        let journal = runtime.block_on(embedded(directory.path(), tasks, events))?;
        println!("{tasks:5}  {}", journal.line("sqlite", &raw));
    }
    Ok(())
}

/// What a run took.
struct Run {
    events: usize,
    wall: Duration,
    cpu: Duration,
    commits: u64,
    syncing: Duration,
    waits: Vec<Duration>,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64()
    }

    fn line(&self, name: &str, raw: &Run) -> String {
        let wait = |share: f64| {
            let place = (self.waits.len() as f64 * share) as usize;
            self.waits.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
        };
        format!(
            "{name:7}  {:9.0}  {:6.2}  {:12.1}  {:13.1}  {:9.2}  {:11.2}  {:6.2}",
            self.per_second(),
            self.per_second() / raw.per_second(),
            self.cpu.as_secs_f64() * 1e6 / self.events as f64,
            self.events as f64 / self.commits as f64,
            self.syncing.as_secs_f64() * 1e3 / self.commits as f64,
            wait(0.5),
            wait(0.99),
        )
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn data() -> Bytes {
    Bytes::from(vec![b'x'; 1024])
}

/// One file, one writer, the same gathering.
async fn raw(directory: &Path, tasks: usize, events: usize) -> Result<Run> {
    let mut file = File::create(directory.join("raw"))?;
    let (sender, receiver) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>();
    let writer = thread::spawn(move || -> Result<(u64, Duration)> {
        let (mut commits, mut syncing) = (0, Duration::ZERO);
        let mut buffer = Vec::new();
        while let Ok(first) = receiver.recv() {
            let group: Vec<_> = std::iter::once(first).chain(receiver.try_iter().take(1023)).collect();
            buffer.clear();
            group.iter().for_each(|(bytes, _)| buffer.extend_from_slice(bytes));
            let started = Instant::now();
            file.write_all(&buffer)?;
            file.sync_data()?;
            syncing += started.elapsed();
            commits += 1;
            for (_, answer) in group {
                let _ = answer.send(());
            }
        }
        Ok((commits, syncing))
    });
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let sender = sender.clone();
        senders.spawn(async move {
            let mut waits = Vec::with_capacity(events / tasks);
            for _ in 0..events / tasks {
                let started = Instant::now();
                let (answer, answered) = oneshot::channel();
                sender.send((data(), answer)).context("the writer is gone")?;
                answered.await.context("the writer is gone")?;
                waits.push(started.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    drop(sender);
    let waits = waits(senders).await?;
    let (wall, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
    let Ok(written) = writer.join() else { bail!("the writer panicked") };
    let (commits, syncing) = written?;
    Ok(Run { events: waits.len(), wall, cpu, commits, syncing, waits })
}

async fn waits(mut senders: tokio::task::JoinSet<Result<Vec<Duration>>>) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    while let Some(sent) = senders.join_next().await {
        waits.extend(sent??);
    }
    waits.sort_unstable();
    Ok(waits)
}

async fn embedded(directory: &Path, tasks: usize, events: usize) -> Result<Run> {
    let journal = Arc::new(Embedded::open(&directory.join("journal"), Options::default())?);
    let leases = journal.acquire_shards("bench", Duration::ZERO).await?;
    let epoch = leases.first().context("no lease")?.epoch;
    let tenant = TenantId::new("acme")?;
    let lanes = (0..ENDPOINTS)
        .map(|number| Ok(EndpointKey::new(tenant.clone(), EndpointId::new(&format!("endpoint-{number}"))?)))
        .collect::<Result<Vec<_>>>()?;
    let (settle, settlements) = tokio::sync::mpsc::channel(8192);
    let settler = tokio::spawn(settle_all(Arc::clone(&journal), settlements));
    let before = journal.stats();
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut senders = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (journal, settle, lanes) = (Arc::clone(&journal), settle.clone(), lanes.clone());
        senders.spawn(async move {
            let mut waits = Vec::with_capacity(events / tasks);
            for number in 0..events / tasks {
                let lane = &lanes[(task + number) % ENDPOINTS];
                let new = event(lane)?;
                let started = Instant::now();
                let appended = journal.append(vec![new]).await?;
                waits.push(started.elapsed());
                let [Appended::Stored { seq }] = appended[..] else { bail!("not stored: {appended:?}") };
                settle.send(settlement(lane, seq, epoch)).await.context("the settler is gone")?;
            }
            Ok(waits)
        });
    }
    drop(settle);
    let waits = waits(senders).await?;
    settler.await??;
    let (wall, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
    let after = journal.stats();
    let syncing = Duration::from_secs_f64(after.sync_seconds.sum - before.sync_seconds.sum);
    lists(&journal, &tenant, &lanes).await?;
    journal.close().await;
    Ok(Run { events: waits.len(), wall, cpu, commits: after.commits - before.commits, syncing, waits })
}

/// Reads pages of 50 and prints how long each took, the best of five.
async fn lists(journal: &Embedded, tenant: &TenantId, lanes: &[EndpointKey]) -> Result<()> {
    let events = EventFilter::of(tenant.clone());
    let of_status = |status| DeliveryFilter { status, ..DeliveryFilter::of(tenant.clone()) };
    let newest = journal.events(&events, None, 1).await?.items.pop().context("no event")?.event;
    let lane = lanes.first().context("no lane")?;
    let mut best = [Duration::MAX; 5];
    for _ in 0..5 {
        for (read, best) in best.iter_mut().enumerate() {
            let started = Instant::now();
            match read {
                0 => drop(journal.event(tenant, &newest.id).await?),
                1 => drop(journal.events(&events, None, 50).await?),
                2 => drop(journal.deliveries(&of_status(None), None, 50).await?),
                3 => drop(journal.deliveries(&of_status(Some(Status::Failed)), None, 50).await?),
                _ => drop(journal.due(lane, Timestamp::now(), &[], Amount::of(50)).await?),
            }
            *best = (*best).min(started.elapsed());
        }
    }
    let names = ["event by id", "50 events", "50 deliveries", "50 failed", "due"];
    let shown: Vec<String> = names
        .iter()
        .zip(best)
        .map(|(name, best)| format!("{name} {:.2}", best.as_secs_f64() * 1e3))
        .collect();
    println!("       reads, ms: {}", shown.join(", "));
    Ok(())
}

/// Settles what has gathered, as the dispatcher does.
async fn settle_all(
    journal: Arc<Embedded>,
    mut settlements: tokio::sync::mpsc::Receiver<Settlement>,
) -> Result<()> {
    let mut batch = Vec::new();
    while settlements.recv_many(&mut batch, 1024).await > 0 {
        journal.settle(std::mem::take(&mut batch)).await?;
    }
    Ok(())
}

fn event(lane: &EndpointKey) -> Result<NewEvent> {
    let now = Timestamp::now();
    Ok(NewEvent {
        fingerprint: Digest::from_bytes([7; 32]),
        idempotency_key: None,
        endpoints: vec![lane.endpoint.clone()],
        event: Arc::new(Event {
            tenant: lane.tenant.clone(),
            id: EventId::generate(now),
            event_type: EventType::new("order.created")?,
            source: "/bench".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: now,
            content_type: "application/json".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data: data(),
        }),
    })
}

fn settlement(lane: &EndpointKey, seq: hookweir_journal::Seq, epoch: Epoch) -> Settlement {
    let is_failed = seq.0.is_multiple_of(100);
    let status = if is_failed { Status::Failed } else { Status::Delivered };
    Settlement {
        made: hookweir_journal::Made::default(),
        endpoint: lane.clone(),
        seq,
        epoch,
        attempt: Some(Attempt {
            number: 1,
            started: Timestamp::now(),
            duration_ms: 3,
            outcome: if is_failed { Outcome::Rejected } else { Outcome::Delivered },
            reason: None,
            answer: None,
            plugins: Vec::new(),
            exchange: None,
        }),
        next: Next::Final { status, reason: None },
    }
}
