//! How long a waiting consumer waits: from the 202 that an event's sender has to the message that its consumer has.
//!
//! `cargo run --release -p hookweir-tests --example long_poll [EVENTS]`, after `cargo build --release`
//!
//! A gateway of its own on this machine; one consumer that waits for each event in turn, then eight that wait while a
//! sender sends. The consumer's clock is the sender's: both run here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hookweir_tests::{Gateway, KEY, eventually, tenant};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CONSUMERS: usize = 8;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let events = std::env::args().nth(1).map_or(500, |text| text.parse().expect("EVENTS is a number"));
    println!("consumers  events  p50 ms  p90 ms  p99 ms  most ms");
    for consumers in [1, CONSUMERS] {
        let mut waits = measure(consumers, events).await;
        waits.sort_unstable();
        let at = |share: usize| {
            let place = (waits.len() * share / 100).min(waits.len() - 1);
            waits[place].as_secs_f64() * 1e3
        };
        println!(
            "{consumers:9}  {:6}  {:6.2}  {:6.2}  {:6.2}  {:7.2}",
            waits.len(),
            at(50),
            at(90),
            at(99),
            at(100)
        );
    }
}

async fn measure(consumers: usize, events: usize) -> Vec<Duration> {
    let queue = "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\n";
    let gateway = Gateway::start(tenant("acme", KEY) + queue).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    // Dropped before the gateway is, so that none of them misses it.
    let mut tasks = JoinSet::new();
    for _ in 0..consumers {
        let (consumer, arrived) = (gateway.consumer("inbox"), arrived.clone());
        tasks.spawn(async move {
            loop {
                for message in consumer.receive(json!({ "wait": "30s" })).await {
                    let id = message["id"].as_str().unwrap_or_default().to_owned();
                    if arrived.send((id, Instant::now())).is_err() {
                        return;
                    }
                    consumer.answer("ack", &[&message["receipt"]], json!({})).await;
                }
            }
        });
    }
    let (sender, stats) = (gateway.sender(), gateway.consumer("inbox"));
    let (mut accepted, mut received) = (HashMap::new(), HashMap::new());
    for _ in 0..events {
        eventually("all consumers to wait", async || match stats.waiting().await {
            waiting if waiting == consumers as u64 => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        })
        .await;
        let id = sender.event("a.b", "1").await;
        accepted.insert(id, Instant::now());
        received.extend(arrivals.recv().await);
    }
    // The message may be there before the 202 has been read: then nobody waited.
    accepted.into_iter().map(|(id, at)| received[&id].saturating_duration_since(at)).collect()
}
