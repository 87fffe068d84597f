//! An endpoint that is dead does not take the others with it. How little it costs them is for the benchmark to say;
//! here the figures are only printed.

use std::time::{Duration, Instant};

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, tenant};
use tokio::task::JoinSet;

const SENDERS: usize = 16;
const EVENTS: usize = 3200;
const BACKLOG: usize = 4000;

/// Sends `count` events of one type from many senders at once.
async fn send(gateway: &Gateway, event_type: &'static str, count: usize) {
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let sender = gateway.sender();
        senders.spawn(async move {
            for _ in 0..count / SENDERS {
                sender.event(event_type, r#"{"some":"bytes"}"#).await;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("a sender does not panic");
    }
}

/// How long the good endpoint takes for its events.
async fn timed(gateway: &Gateway, good: &Receiver) -> Duration {
    let before = good.count();
    let start = Instant::now();
    send(gateway, "good.sent", EVENTS).await;
    good.wait_for(before + EVENTS).await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_with_a_backlog_does_not_stop_another() {
    let (good, dead) = (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Hang).await);
    let config = tenant("acme", KEY)
        + &endpoint("acme", "good", &good.url("/"), "event_types = [\"good.*\"]")
        + &endpoint("acme", "dead", &dead.url("/"), "event_types = [\"dead.*\"]");
    let gateway = Gateway::start(config).await;
    let alone = timed(&gateway, &good).await;
    send(&gateway, "dead.sent", BACKLOG).await;
    let beside = timed(&gateway, &good).await;
    let pending = gateway.admin().count("acme", "dead", "pending").await;
    assert_eq!(pending, BACKLOG as u64, "the dead endpoint's deliveries wait");
    println!(
        "{EVENTS} deliveries took {alone:?} alone and {beside:?} beside a dead endpoint with {pending} pending: ratio {:.2}",
        alone.as_secs_f64() / beside.as_secs_f64()
    );
}
