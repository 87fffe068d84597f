//! What was acknowledged survives `kill -9`: it is delivered, or still pending, and little of it is delivered twice.

use std::sync::Arc;
use std::time::Instant;

use hookweir_tests::{Gateway, Receiver, Reply, one_endpoint};
use tokio::task::JoinSet;

use crate::ledger::{Ledger, Load, arrivals, drained};

const SENDERS: usize = 64;
const CYCLES: usize = 20;
/// Acknowledged events in each cycle before the gateway is killed.
const PER_CYCLE: usize = 500;
/// How many attempts the endpoint may have in flight.
const CONCURRENCY: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_event_is_lost_in_twenty_kills_at_full_load() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let lines = format!("concurrency = {CONCURRENCY}");
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), &lines)).await;
    let ledger = Arc::new(Ledger::default());
    let mut repeats = 0;
    println!("cycle  acked  received  repeated  pending after restart  ready after");
    for cycle in 1..=CYCLES {
        let load = Load::start(gateway.accept_address(), SENDERS, &ledger);
        // Not at a round number: the kill must fall anywhere in the life of a batch.
        ledger.wait_for(ledger.acknowledged().len() + PER_CYCLE + fastrand::usize(0..100)).await;
        gateway.kill9().await;
        load.ended().await;
        let restart = Instant::now();
        gateway.start_again().await;
        let ready = restart.elapsed();
        let pending = gateway.admin().count("acme", "hook", "pending").await;
        let arrivals = arrivals(&receiver);
        let total: usize = arrivals.values().sum();
        println!(
            "{cycle:5}  {:5}  {:8}  {:8}  {pending:21}  {ready:?}",
            ledger.acknowledged().len(),
            arrivals.len(),
            total - arrivals.len() - repeats,
        );
        repeats = total - arrivals.len();
    }
    drained(&gateway.admin(), "hook").await;

    let acknowledged = ledger.acknowledged();
    let arrivals = arrivals(&receiver);
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !arrivals.contains_key(*id)).collect();
    let repeated: usize = arrivals.values().map(|times| times - 1).sum();
    let unacknowledged = arrivals.keys().filter(|id| !acknowledged.contains(*id)).count();
    println!(
        "ledger: {} acknowledged, {} of them delivered, {} lost; {repeated} delivered twice; {unacknowledged} delivered \
         that a kill kept from being acknowledged; {} requests without an answer; refused: {:?}",
        acknowledged.len(),
        acknowledged.len() - lost.len(),
        lost.len(),
        ledger.unanswered(),
        ledger.refused(),
    );
    assert!(lost.is_empty(), "acknowledged and neither delivered nor pending: {lost:?}");
    assert!(ledger.refused().is_empty(), "{:?}", ledger.refused());
    assert!(
        repeated <= CYCLES * CONCURRENCY,
        "{repeated} repeated deliveries are more than were in flight at {CYCLES} kills"
    );
    assert!(arrivals.values().all(|times| *times <= CYCLES), "{arrivals:?}");
}

/// Deliveries that are pending when the gateway is killed.
const PENDING: usize = 100_000;
/// Endpoints that each event goes to.
const ENDPOINTS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_pending_deliveries_are_there_again_after_a_kill() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut config = hookweir_tests::tenant("acme", hookweir_tests::KEY);
    for index in 0..ENDPOINTS {
        config += &hookweir_tests::endpoint("acme", &format!("hook-{index}"), &receiver.url("/hook"), "");
    }
    let mut gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    for index in 0..ENDPOINTS {
        admin.post(&format!("/v1/tenants/acme/endpoints/hook-{index}/disable"), "").await.expect(200);
    }
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let sender = gateway.sender();
        senders.spawn(async move {
            for _ in 0..PENDING / ENDPOINTS / SENDERS {
                sender.event("load.sent", r#"{"some":"bytes"}"#).await;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("a sender does not panic");
    }
    for _ in 0..PENDING / ENDPOINTS % SENDERS {
        gateway.sender().event("load.sent", r#"{"some":"bytes"}"#).await;
    }

    gateway.kill9().await;
    let restart = Instant::now();
    gateway.start_again().await;
    println!("ready again after {:?} with {PENDING} pending deliveries", restart.elapsed());
    println!("{} MiB resident after the start", gateway.resident() >> 20);
    let admin = gateway.admin();
    for index in 0..ENDPOINTS {
        let pending = admin.count("acme", &format!("hook-{index}"), "pending").await;
        assert_eq!(pending, (PENDING / ENDPOINTS) as u64, "hook-{index}");
    }
    assert_eq!(receiver.count(), 0, "an endpoint that is switched off stays so after a restart");

    // One of them is switched on, and all of its backlog arrives, each event once.
    admin.post("/v1/tenants/acme/endpoints/hook-0/enable", "").await.expect(200);
    drained(&admin, "hook-0").await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), PENDING / ENDPOINTS);
    assert!(arrivals.values().all(|times| *times == 1));
}
