//! A tenant's quota holds for it alone: over it, it is told 429 and why, while deliveries go on. What the gateway decided
//! is told to the tenant by events of its own.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};
use serde_json::{Value, json};

const OTHER: &str = "key-of-the-other-tenant-0123456789";

fn quota(lines: &str) -> String {
    tenant("acme", KEY) + lines + "\n" + &tenant("other", OTHER)
}

#[tokio::test]
async fn a_full_quota_of_bytes_refuses_one_tenant_until_they_are_delivered() {
    let (down, ops) =
        (Receiver::always(Reply::Status(503)).await, Receiver::always(Reply::Status(200)).await);
    let config = quota("quota = { pending_size = \"10KiB\" }")
        + &endpoint(
            "acme",
            "hook",
            &down.url("/"),
            "event_types = [\"order.*\"]\nretry = { waits = [\"1s\"], jitter = 0 }\nenabled = false",
        )
        + &endpoint("acme", "ops", &ops.url("/"), "event_types = [\"hookweir.**\"]\nformat = \"envelope\"")
        + &endpoint("other", "hook", &ops.url("/other"), "event_types = [\"order.*\"]");
    let gateway = Gateway::start(config.clone()).await;
    let (sender, other) = (gateway.sender(), gateway.sender_of("other", OTHER));
    let data = format!("\"{}\"", "x".repeat(1022));
    for _ in 0..10 {
        sender.event("order.created", &data).await;
    }
    let body = format!(r#"{{"type":"order.created","data":{data}}}"#);
    let refused = sender.post(&[], body.clone()).await.expect(429);
    assert_eq!(refused.json()["type"], "urn:hookweir:problem:quota");
    assert_eq!(refused.header("retry-after"), Some("10"));
    other.event("order.created", &data).await;
    let tenants = gateway.admin().list("/v1/tenants").await;
    let (used, quota) = (&tenants[0]["pending_bytes"], &tenants[0]["quota"]);
    assert_eq!(*quota, json!({ "pending_bytes": 10 << 10, "events_per_second": null }), "{tenants:?}");
    assert!(used.as_u64().is_some_and(|used| used >= 10 << 10), "{tenants:?}");
    // It holds over a restart, which reads what waits from the journal.
    let mut gateway = gateway;
    gateway.kill9().await;
    gateway.start_again().await;
    let sender = gateway.sender();
    sender.post(&[], body).await.expect(429);

    // Another configuration switches the endpoint on, and its receiver answers.
    down.follow(|_, _| Reply::Status(200));
    gateway.reconfigure(config.replace("enabled = false", "enabled = true"));
    gateway.reload();
    let admin = gateway.admin();
    eventually("the bytes to be delivered", async || match admin.count("acme", "hook", "delivered").await {
        10 => Ok(()),
        count => Err(format!("{count} delivered")),
    })
    .await;
    sender.event("order.created", &data).await;
    let told = admin.list("/v1/tenants/acme/events?event_type=hookweir.**").await;
    let mut types: Vec<&str> = told.iter().filter_map(|event| event["type"].as_str()).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types, ["hookweir.quota.reached", "hookweir.tenant.backlog"], "{told:?}");
}

#[tokio::test]
async fn a_rate_of_events_refuses_what_is_beyond_it() {
    let ops = Receiver::always(Reply::Status(200)).await;
    let config = quota("quota = { events_per_second = 5 }")
        + &endpoint("acme", "ops", &ops.url("/"), "event_types = [\"hookweir.**\"]");
    let gateway = Gateway::start(config).await;
    let (sender, other) = (gateway.sender(), gateway.sender_of("other", OTHER));
    let mut refused = None;
    // A second of events may come at once; an endless number can't come in a moment.
    for _ in 0..10_000 {
        let answer = sender.post(&[], r#"{"type":"a.b","data":1}"#).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(202);
    }
    let refused = refused.expect("10,000 events are more than 5 a second");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("5 events a second")));
    other.event("a.b", "1").await;
    let told = ops.wait_for(1).await;
    let body: Value = serde_json::from_slice(&told[0].body).expect("JSON");
    assert_eq!(body, json!({ "quota": "events_per_second", "limit": 5 }));
    let metrics = gateway.admin().get("/metrics").await.expect(200).text();
    assert!(metrics.contains("hookweir_events_rejected_total{reason=\"quota\"}"), "{metrics}");
}

#[tokio::test]
async fn an_exhausted_delivery_is_told_once_and_that_can_not_loop() {
    let down = Receiver::always(Reply::Status(500)).await;
    let config = tenant("acme", KEY)
        + &endpoint(
            "acme",
            "hook",
            &down.url("/hook"),
            "event_types = [\"order.*\"]\nretry = { waits = [] }",
        )
        + &endpoint(
            "acme",
            "ops",
            &down.url("/ops"),
            "event_types = [\"hookweir.**\"]\nretry = { waits = [] }",
        );
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("order.created", "1").await;
    let admin = gateway.admin();
    for endpoint in ["hook", "ops"] {
        eventually("its delivery to be exhausted", async || {
            match admin.count("acme", endpoint, "exhausted").await {
                1 => Ok(()),
                count => Err(format!("{count} of {endpoint}")),
            }
        })
        .await;
    }
    let told = down.requests().into_iter().find(|request| request.path == "/ops").expect("it was told");
    let body: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        (&body["event"], &body["type"], &body["endpoint"]),
        (&json!(event), &json!("order.created"), &json!("hook"))
    );
    assert_eq!((&body["attempt"]["number"], &body["attempt"]["status"]), (&json!(1), &json!(500)));
    let kept = admin.list("/v1/tenants/acme/events").await;
    assert_eq!(kept.len(), 2, "the end of the telling is told by nobody: {kept:?}");
}
