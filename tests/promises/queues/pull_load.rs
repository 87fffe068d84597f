//! A hundred thousand messages and four consumers that are killed at random, while the gateway is killed too: nothing
//! is lost, and nobody is handed what another one holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookweir_tests::{Consumer, Gateway, KEY, eventually, tenant};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::pull::queue;
use crate::ledger::{Ledger, Load};

const MESSAGES: usize = 100_000;
const SENDERS: usize = 32;
const CONSUMERS: usize = 4;
/// Kills of the gateway.
const KILLS: usize = 3;
const HIDDEN: Duration = Duration::from_secs(3);

/// What consumers saw of one event's message.
#[derive(Debug, Default)]
struct Seen {
    numbers: BTreeSet<u64>,
    /// When each delivery was made and until when it was to be hidden, in milliseconds by the gateway's clock.
    deliveries: Vec<(i64, i64)>,
    /// The deliveries that were acknowledged, and whether the consumer lived to hear that.
    acknowledged: Vec<(i64, bool)>,
}

#[derive(Debug, Default)]
struct Book {
    seen: Mutex<HashMap<String, Seen>>,
    /// Consumers that ended, by why they did.
    ended: Mutex<BTreeMap<&'static str, usize>>,
}

impl Book {
    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, why: &'static str) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }
}

/// A message as its consumer knows it.
struct Held {
    id: String,
    receipt: Value,
    received: i64,
}

fn note(book: &Book, message: &Value) -> Held {
    let id = message["id"].as_str().expect("an id").to_owned();
    let visible: jiff::Timestamp = message["visible"].as_str().expect("a time").parse().expect("RFC 3339");
    let visible = visible.as_millisecond();
    let received = visible - i64::try_from(HIDDEN.as_millis()).expect("a short time");
    let mut seen = book.seen();
    let entry = seen.entry(id.clone()).or_default();
    entry.numbers.insert(message["number"].as_u64().expect("a number"));
    entry.deliveries.push((received, visible));
    Held { id, receipt: message["receipt"].clone(), received }
}

/// Consumes until it is killed or its gateway is.
async fn consume(consumer: Consumer, book: Arc<Book>) {
    loop {
        let ask =
            json!({ "max": 100, "wait": "10s", "visibility_timeout": format!("{}s", HIDDEN.as_secs()) });
        let Ok(answer) = consumer.try_ask("receive", ask.to_string()).await else {
            return book.ended("its gateway was killed");
        };
        let answer = answer.expect(200).json();
        let messages = answer["messages"].as_array().expect("messages");
        let held: Vec<Held> = messages.iter().map(|message| note(&book, message)).collect();
        if held.is_empty() {
            continue;
        }
        // It may be killed anywhere here: with messages in its hands, or with an answer on its way.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..5))).await;
        let receipts: Vec<&Value> = held.iter().map(|held| &held.receipt).collect();
        held.iter().for_each(|held| acknowledge(&book, held, false));
        let Ok(answer) = consumer.try_ask("ack", json!({ "receipts": receipts }).to_string()).await else {
            return book.ended("its gateway was killed");
        };
        let answer = answer.expect(200).json();
        for (held, result) in held.iter().zip(answer["results"].as_array().expect("results")) {
            if result["result"] == "done" {
                acknowledge(&book, held, true);
            }
        }
    }
}

fn acknowledge(book: &Book, held: &Held, heard: bool) {
    book.seen().entry(held.id.clone()).or_default().acknowledged.push((held.received, heard));
}

/// Keeps one consumer running, and kills it again and again: its connection is cut wherever it is.
async fn live_and_die(mut address: watch::Receiver<SocketAddr>, book: Arc<Book>) {
    loop {
        let at = *address.borrow_and_update();
        let consumer = tokio::spawn(consume(Consumer::new(at, "acme", KEY, "inbox"), Arc::clone(&book)));
        let life = Duration::from_millis(fastrand::u64(1..400));
        if tokio::time::timeout(life, address.changed()).await.is_err() {
            book.ended("it was killed");
        }
        consumer.abort();
        if let Err(error) = consumer.await {
            assert!(!error.is_panic(), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_held_is_handed_out_again() {
    let config = tenant("acme", KEY) + &queue("acme", "inbox", "max_receives = 0");
    let mut gateway = Gateway::start(config).await;
    let (ledger, book) = (Arc::new(Ledger::default()), Arc::new(Book::default()));
    let (address, watched) = watch::channel(gateway.accept_address());
    let start = Instant::now();
    let consumers: Vec<_> =
        (0..CONSUMERS).map(|_| tokio::spawn(live_and_die(watched.clone(), Arc::clone(&book)))).collect();
    for kill in 1..=KILLS {
        let load = Load::start(gateway.accept_address(), SENDERS, &ledger);
        ledger.wait_for(MESSAGES * kill / (KILLS + 1) + fastrand::usize(0..100)).await;
        gateway.kill9().await;
        load.ended().await;
        gateway.start_again().await;
        address.send_replace(gateway.accept_address());
    }
    let load = Load::start(gateway.accept_address(), SENDERS, &ledger);
    ledger.wait_for(MESSAGES).await;
    drop(load);
    let sent = start.elapsed();
    let (admin, consumer) = (gateway.admin(), gateway.consumer("inbox"));
    eventually("the queue to be empty", async || {
        match (admin.count("acme", "inbox", "pending").await, consumer.stats().await) {
            (0, [0, 0, 0, 0]) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for consumer in consumers {
        consumer.abort();
        assert!(consumer.await.is_err_and(|error| error.is_cancelled()), "a consumer panicked");
    }
    report(&ledger.acknowledged(), &book, sent, start.elapsed());
    assert!(ledger.refused().is_empty(), "{:?}", ledger.refused());
}

fn report(accepted: &BTreeSet<String>, book: &Book, sent: Duration, took: Duration) {
    let seen = book.seen();
    let lost: Vec<&String> =
        accepted.iter().filter(|id| seen.get(*id).is_none_or(|seen| seen.acknowledged.is_empty())).collect();
    let (mut overlaps, mut after, mut doubled, mut again) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (id, seen) in &*seen {
        let mut deliveries = seen.deliveries.clone();
        deliveries.sort_unstable();
        again += deliveries.len() - 1;
        if deliveries.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            overlaps.push((id, deliveries.clone()));
        }
        let heard = seen.acknowledged.iter().filter(|(_, heard)| *heard).map(|(received, _)| *received);
        let last = deliveries.last().map(|(received, _)| *received);
        if heard.max().is_some_and(|acknowledged| Some(acknowledged) < last) {
            after.push((id, seen));
        }
        if seen.numbers.len() > 1 {
            doubled.push((id, &seen.numbers));
        }
    }
    println!(
        "ledger: {} events accepted in {sent:?}, all fetched after {took:?}; {} lost, {} put into the queue twice, {} handed \
         out while they were held, {} after they were acknowledged; {again} handed out again after their time; consumers \
         ended: {:?}; {KILLS} kills of the gateway",
        accepted.len(),
        lost.len(),
        doubled.len(),
        overlaps.len(),
        after.len(),
        book.ended.lock().unwrap_or_else(PoisonError::into_inner),
    );
    assert!(lost.is_empty(), "accepted and never acknowledged by a consumer: {lost:?}");
    assert!(doubled.is_empty(), "in the queue twice: {doubled:?}");
    assert!(overlaps.is_empty(), "handed out while another consumer held them: {overlaps:?}");
    assert!(after.is_empty(), "handed out after they were acknowledged: {after:?}");
    assert!(again > 0, "consumers died with messages in their hands, which came again");
}
