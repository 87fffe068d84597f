//! A rate bounds what begins in a second; a breaker opens for what says something of the endpoint, and what waited for it goes
//! when it is back.

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

/// The state of the endpoint's breaker, and how many of its deliveries have a status.
async fn shown(gateway: &Gateway, status: &str) -> (String, u64) {
    let endpoint = gateway.admin().json("/v1/tenants/acme/endpoints/hook").await;
    let state = endpoint["breaker"]["state"].as_str().unwrap_or_default().to_owned();
    (state, endpoint["deliveries"][status].as_u64().unwrap_or_default())
}

async fn until_there_are(gateway: &Gateway, status: &str, wanted: u64) {
    eventually(&format!("{wanted} deliveries to be {status}"), async || match shown(gateway, status).await {
        (_, count) if count == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_an_outage_goes_when_the_endpoint_is_back() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    // By its own schedule each that was tried would go an hour later.
    let lines =
        "retry = { waits = [\"1h\", \"1h\"] }\nbreaker = { failures = 3, pause = \"1s\" }\nconcurrency = 3";
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), lines)).await;
    let sender = gateway.sender();
    for _ in 0..12 {
        sender.event("a.b", "1").await;
    }
    gateway.logged(&["the endpoint only fails"]).await;
    receiver.follow(|_, _| Reply::Status(200));
    until_there_are(&gateway, "delivered", 12).await;
    gateway.logged(&["the endpoint is back", "acme/hook"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_sent_now_where_an_operator_wants_it() {
    let receiver = Receiver::sequence([vec![Reply::Status(500); 4], vec![Reply::Status(200)]].concat()).await;
    let lines = "retry = { waits = [\"1h\", \"1h\"] }";
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), lines)).await;
    for _ in 0..4 {
        gateway.sender().event("a.b", "1").await;
    }
    let (admin, path) = (gateway.admin(), "/v1/tenants/acme/endpoints/hook/recover");
    eventually("all to wait for their second attempt", async || {
        let answer = admin.post(path, r#"{"pending":true,"dry_run":true}"#).await.expect(200).json();
        if answer["deliveries"] == 4 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(admin.post(path, r#"{"pending":true}"#).await.expect(200).json()["deliveries"], 4);
    until_there_are(&gateway, "delivered", 4).await;
    for wrong in ["{}", r#"{"pending":false}"#, r#"{"pending":true,"since":"2026-01-01T00:00:00Z"}"#] {
        admin.post(path, wrong).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_blames_one_event_does_not_open_the_breaker() {
    let receiver = Receiver::start(|_, request| {
        Reply::Status(if request.body.starts_with(b"\"bad") { 422 } else { 200 })
    })
    .await;
    let lines = "retry = { waits = [] }\nbreaker = { failures = 3, pause = \"5m\" }\nconcurrency = 1";
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), lines)).await;
    let sender = gateway.sender();
    for _ in 0..10 {
        sender.event("a.b", "\"bad\"").await;
    }
    until_there_are(&gateway, "exhausted", 10).await;
    sender.event("a.b", "\"good\"").await;
    until_there_are(&gateway, "delivered", 1).await;

    // Those that are sent again do not open it either, whatever is wrong with them.
    receiver.follow(|_, request| Reply::Status(if request.body.starts_with(b"\"bad") { 500 } else { 200 }));
    let path = "/v1/tenants/acme/endpoints/hook/recover";
    let recovered =
        gateway.admin().post(path, r#"{"since":"2020-01-01T00:00:00Z"}"#).await.expect(200).json();
    assert_eq!(recovered["deliveries"], 10);
    until_there_are(&gateway, "exhausted", 10).await;
    sender.event("a.b", "\"good\"").await;
    until_there_are(&gateway, "delivered", 2).await;
    assert_eq!(shown(&gateway, "delivered").await.0, "closed");

    // What says something of the endpoint opens it as ever.
    receiver.follow(|_, _| Reply::Status(401));
    for _ in 0..4 {
        sender.event("a.b", "\"good\"").await;
    }
    gateway.logged(&["the endpoint only fails"]).await;
    until_there_are(&gateway, "pending", 1).await;
    assert_eq!(shown(&gateway, "pending").await.0, "open");
}
