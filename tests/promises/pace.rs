//! A receiver that is down is left alone, and is not flooded when it is back; a rate bounds what begins in a second.

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use hookweir_tests::{Gateway, Receiver, Reply, Request, eventually, eventually_by, one_endpoint};
use tokio::time::{Instant, sleep_until};

use crate::times::millis;

const CONCURRENCY: usize = 8;
/// So many failures in a row open the breaker.
const FAILURES: usize = 5;
/// Events a second while the receiver is down.
const RATE: u32 = 200;

/// How long the receiver is down: ten minutes in the long form.
fn outage() -> Duration {
    Duration::from_secs(if env::var_os("HOOKWEIR_LONG").is_some() { 600 } else { 5 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_every_event_arrives_and_nothing_is_flooded() {
    let receiver = Receiver::always(Reply::Status(503)).await;
    let lines = format!(
        "concurrency = {CONCURRENCY}\nrate = {{ per_second = 1000 }}\n\
         breaker = {{ failures = {FAILURES}, pause = \"500ms\" }}\n\
         retry = {{ waits = [{}], jitter = 0 }}",
        // A delivery that is a probe again and again must not have to wait for longer than the test.
        ["\"1s\""; 40].join(", ")
    );
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), &lines)).await;
    let (sender, started) = (gateway.sender(), Instant::now());
    let mut sent = BTreeSet::new();
    for number in 0.. {
        let due = started + Duration::from_secs(number) / RATE;
        if due > started + outage() {
            break;
        }
        sleep_until(due).await;
        sent.insert(sender.event("a.b", "1").await);
    }
    let down = receiver.requests();
    // What was in flight when it opened, and then a probe at a time, the pause between two doubled each time.
    let probes = down.len().saturating_sub(FAILURES + CONCURRENCY);
    let most_probes =
        2 + outage().as_millis().div_ceil(500).ilog2() as usize + outage().as_secs() as usize / 300;
    assert!(probes <= most_probes, "{} requests while it was down", down.len());
    let endpoint = gateway.admin().json("/v1/tenants/acme/endpoints/hook").await;
    assert_ne!(endpoint["breaker"]["state"], "closed", "{endpoint}");
    let exhausted = gateway.admin().count("acme", "hook", "exhausted").await;
    assert_eq!(exhausted, 0, "an outage does not use up attempts");

    receiver.follow(|_, _| Reply::Status(200));
    // Until the next probe it may take as long as it was down, or the longest pause; then the rate bounds it.
    let deadline = 2 * outage() + Duration::from_secs(400);
    let delivered = eventually_by(deadline, "all to be delivered", async || {
        match gateway.admin().count("acme", "hook", "delivered").await {
            count if count == sent.len() as u64 => Ok(count),
            count => Err(format!("{count} of {}", sent.len())),
        }
    })
    .await;
    let endpoint = gateway.admin().json("/v1/tenants/acme/endpoints/hook").await;
    assert_eq!(endpoint["breaker"]["state"], "closed", "{endpoint}");

    let requests = receiver.requests();
    let most = requests.iter().map(|request| request.in_flight).max().unwrap_or(0);
    assert!(most <= CONCURRENCY, "{most} requests at once");
    let back = &requests[down.len()..];
    for (number, request) in (1..).zip(back) {
        // So many were answered since it is back; a probe may have been under way.
        let answered = number - request.in_flight.min(number);
        assert!(request.in_flight <= 2 + answered, "request {number}: {} at once", request.in_flight);
    }
    let arrived: BTreeSet<String> = back.iter().map(|request| request.event().to_owned()).collect();
    assert_eq!(arrived, sent);
    println!(
        "ledger: down for {:?} at {RATE} events/s: {} accepted, {} requests meanwhile; back: {delivered} delivered with {} \
         requests, at most {most} at once",
        outage(),
        sent.len(),
        down.len(),
        back.len(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_bounds_what_begins_in_a_second() {
    const PER_SECOND: i64 = 50;
    const EVENTS: i64 = 120;
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), "rate = { per_second = 50 }")).await;
    let sender = gateway.sender();
    for _ in 0..EVENTS {
        sender.event("a.b", "1").await;
    }
    receiver.wait_for(EVENTS as usize).await;
    let (admin, mut begun) = (gateway.admin(), Vec::new());
    for request in receiver.requests() {
        begun.push(began(&admin, &request).await);
    }
    begun.sort_unstable();
    let spans = begun.windows(PER_SECOND as usize + 1).map(|span| span[PER_SECOND as usize] - span[0]);
    let least = spans.min().expect("more than one second's");
    // The time is written down when the attempt begins, which may be late for the first of them.
    assert!(least >= 900, "{} began within {least} ms", PER_SECOND + 1);
}

/// When the gateway began the attempt that this request was.
async fn began(admin: &hookweir_tests::Admin, request: &Request) -> i64 {
    let path = format!("/v1/tenants/acme/events/{}/deliveries/hook", request.event());
    let attempt = eventually("the attempt to be kept", async || {
        let detail = admin.json(&path).await;
        detail["attempts"].get(0).cloned().ok_or_else(|| detail.to_string())
    })
    .await;
    millis(&attempt["started"])
}
