//! SIGTERM: what is in flight ends or stays in the journal, the process ends with 0, and nothing acknowledged is lost.

use std::sync::Arc;
use std::time::Instant;

use hookweir_tests::{Gateway, Receiver, Reply, one_endpoint};
use rustix::process::Signal;

use crate::ledger::{Ledger, Load, arrivals, drained};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_repeated_when_it_ends_under_load() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(gateway.accept_address(), 16, &ledger);
    ledger.wait_for(500).await;
    let asked = Instant::now();
    let status = gateway.terminate().await;
    println!("ended under load with {status} after {:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0));
    load.ended().await;

    gateway.start_again().await;
    drained(&gateway.admin(), "hook").await;
    let arrivals = arrivals(&receiver);
    let acknowledged = ledger.acknowledged();
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !arrivals.contains_key(*id)).collect();
    assert!(lost.is_empty(), "acknowledged and not delivered: {lost:?}");
    let repeated: Vec<_> = arrivals.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "an orderly end repeats nothing: {repeated:?}");
}

#[tokio::test]
async fn an_attempt_in_flight_may_end() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let receiver = Receiver::always(Reply::Once(gate, 200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    gateway.signal(Signal::TERM);
    open.send_replace(true);
    assert_eq!(gateway.exited().await.code(), Some(0));
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_hold_up_the_end() {
    let receiver = Receiver::always(Reply::Hang).await;
    let lines = "retry = { waits = [], timeout = \"5m\" }";
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), lines)).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    let asked = Instant::now();
    let status = gateway.terminate().await;
    println!("ended with {status} after {:?} beside a receiver that never answers", asked.elapsed());
    assert_eq!(status.code(), Some(0));

    receiver.follow(|_, _| Reply::Status(200));
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(receiver.count(), 2);
}
