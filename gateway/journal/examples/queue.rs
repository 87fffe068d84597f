//! What a receive and an answer cost in a short queue and in a long one.
//!
//! `cargo run --release -p hookweir-journal --example queue [MESSAGES] [DIRECTORY]`
//!
//! Messages have 1 KiB. In each queue one consumer receives and acknowledges ten at a time, alone, so that each call
//! waits for a sync of its own; then sixteen do the same together. The column "raw" is a file that is written and synced
//! as often.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::{Content, NewMessage, Queues, Receipt, Receive, Verdict};
use hookweir_model::{EndpointId, EndpointKey, EventId, EventType, Shaped, TenantId, Timestamp};

const ROUNDS: usize = 300;
const BATCH: usize = 10;
const CONSUMERS: usize = 16;

/// What the lone consumer and those after it take from a queue at most.
const TAKEN: usize = 2 * ROUNDS * BATCH;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let long: usize =
        arguments.next().map_or(Ok(1_000_000), |text| text.parse()).context("MESSAGES is a number")?;
    anyhow::ensure!(long >= TAKEN, "MESSAGES is at least {TAKEN}: the consumers take as many");
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!(
        "messages  raw ms  receive p50 ms  p99 ms  ack p50 ms  p99 ms  stats ms  messages/s of {CONSUMERS}"
    );
    for messages in [10_000, long] {
        let directory = tempfile::tempdir_in(&parent)?;
        println!("{}", runtime.block_on(run(directory.path(), messages))?);
    }
    Ok(())
}

async fn run(directory: &Path, messages: usize) -> Result<String> {
    let raw = raw(directory)?;
    let journal = Arc::new(Embedded::open(&directory.join("journal"), Options::default())?);
    let queue = EndpointKey::new(TenantId::new("acme")?, EndpointId::new("inbox")?);
    let mut left = messages;
    while left > 0 {
        let part = left.min(1000);
        journal.enqueue(&queue, (0..part).map(|_| message()).collect::<Result<_>>()?).await?;
        left -= part;
    }
    let (mut receives, mut acks) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (receive, ack) = round_trip(&journal, &queue, round as u64).await?;
        receives.push(receive);
        acks.push(ack);
    }
    let started = Instant::now();
    let stats = journal.queue_stats(&queue, Timestamp::now()).await?;
    let counting = started.elapsed();
    anyhow::ensure!(stats.visible as usize == messages - ROUNDS * BATCH, "{stats:?}");
    let started = Instant::now();
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..CONSUMERS {
        let (journal, queue) = (Arc::clone(&journal), queue.clone());
        consumers.spawn(async move {
            for round in 0..ROUNDS / CONSUMERS {
                round_trip(&journal, &queue, (consumer * ROUNDS + round) as u64).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = consumers.join_next().await {
        ended??;
    }
    let together = (ROUNDS / CONSUMERS * CONSUMERS * BATCH) as f64 / started.elapsed().as_secs_f64();
    let (receive, ack) = (percentiles(receives), percentiles(acks));
    Ok(format!(
        "{messages:8}  {:6.2}  {:14.2}  {:6.2}  {:10.2}  {:6.2}  {:8.2}  {together:10.0}",
        raw.0,
        receive.0,
        receive.1,
        ack.0,
        ack.1,
        millis(counting)
    ))
}

/// Receives a batch and acknowledges it: what each of the two took.
async fn round_trip(journal: &Embedded, queue: &EndpointKey, round: u64) -> Result<(Duration, Duration)> {
    let now = Timestamp::now();
    let mut token = [0; 16];
    token[..8].copy_from_slice(&round.to_be_bytes());
    let ask = Receive {
        queue: queue.clone(),
        now,
        until: now.after(Duration::from_secs(3600)),
        limit: BATCH,
        bytes: usize::MAX,
        max_receives: Some(10),
        token,
    };
    let started = Instant::now();
    let received = journal.receive(ask).await?.messages;
    let receive = started.elapsed();
    anyhow::ensure!(received.len() == BATCH, "{} messages were received", received.len());
    let acks =
        received.iter().map(|message| (Receipt { number: message.number, token }, Verdict::Ack)).collect();
    let started = Instant::now();
    journal.answer(queue, acks).await?;
    Ok((receive, started.elapsed()))
}

fn message() -> Result<NewMessage> {
    let now = Timestamp::now();
    Ok(NewMessage {
        content: Content {
            id: EventId::generate(now),
            event_type: EventType::new("order.created")?,
            source: "/bench".to_owned(),
            subject: None,
            time: now.to_string(),
            shaped: Shaped {
                content_type: "application/json".to_owned(),
                headers: Vec::new(),
                body: Bytes::from(vec![b'x'; 1024]),
            },
        },
        enqueued: now,
        visible: now,
    })
}

/// What a small write and its sync take here: the median and the 99th percentile.
fn raw(directory: &Path) -> Result<(f64, f64)> {
    let mut file = File::create(directory.join("raw"))?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(percentiles(times))
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| millis(*time));
    (at(50), at(99))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
