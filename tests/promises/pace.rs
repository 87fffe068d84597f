//! A rate bounds what begins in a second.

use hookweir_tests::{Gateway, Receiver, Reply, Request, eventually, one_endpoint};

use crate::times::millis;

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
