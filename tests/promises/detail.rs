//! What can be seen of one delivery: what came in, what went over the wire, what came back, and what plugins said of it.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, plugin, tenant};
use serde_json::{Value, json};

fn header<'a>(headers: &'a Value, wanted: &str) -> Option<&'a str> {
    let lines = headers.as_array().unwrap_or_else(|| panic!("no headers in {headers}"));
    lines.iter().find(|line| line[0] == wanted).and_then(|line| line[1].as_str())
}

#[tokio::test]
async fn a_failed_attempt_shows_both_sides_of_the_wire_and_no_secret() {
    let receiver = Receiver::sequence(vec![Reply::Status(503), Reply::Status(503), Reply::Status(200)]).await;
    let plugins = format!(
        "[tenants.acme.plugins.to-slack]\nfile = {:?}\nconfig = {{ title = \"Order\", fields = [\"total\"] }}\n",
        plugin("to-slack")
    );
    let lines = "transformers = [\"to-slack\"]\nretry = { waits = [\"10ms\", \"10ms\"] }\n\
                 headers = { authorization = \"Bearer the-receivers-token\" }\n\
                 secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    let config = tenant("acme", KEY) + &plugins + &endpoint("acme", "hook", &receiver.url("/in"), lines);
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("order.created", r#"{"total":7}"#).await;
    let detail = gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    let requests = receiver.wait_for(3).await;
    let [failed, again, delivered] = detail["attempts"].as_array().expect("attempts").as_slice() else {
        panic!("{detail}")
    };

    let exchange = &failed["exchange"];
    let told = &exchange["request_headers"];
    for name in
        ["webhook-id", "webhook-timestamp", "webhook-signature", "hookweir-attempt", "content-length", "host"]
    {
        assert_eq!(header(told, name), Some(requests[0].header(name)), "{name} in {told}");
    }
    assert_eq!(requests[0].header("authorization"), "Bearer the-receivers-token");
    assert_eq!(header(told, "authorization"), Some("***"));
    assert!(!detail.to_string().contains("the-receivers-token"), "{detail}");
    assert!(header(&exchange["answer_headers"], "content-length").is_some(), "{exchange}");
    assert!(
        exchange["timings"]["connect_us"].is_u64() && exchange["timings"]["first_byte_us"].is_u64(),
        "{exchange}"
    );
    // The second went over the connection of the first.
    assert_eq!(receiver.connections(), 1);
    let timings = &again["exchange"]["timings"];
    assert!(timings["connect_us"].is_null() && timings["first_byte_us"].is_u64(), "{timings}");
    assert_eq!(failed["plugins"][0]["plugin"], "to-slack");
    assert_eq!(delivered["exchange"], Value::Null, "it went well, and only failures are kept");

    // Both attempts sent what the transformer made, and it is kept.
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(detail["sent"]["data"].as_str().map(str::as_bytes), Some(&requests[0].body[..]));
    assert_eq!(detail["sent"]["content_type"], "application/json");
}

#[tokio::test]
async fn with_all_recorded_a_delivery_that_went_well_shows_the_same() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let url = receiver.url("/in");
    let config = tenant("acme", KEY)
        + &endpoint("acme", "all", &url, "record = \"all\"\nformat = \"envelope\"")
        + &endpoint("acme", "failed", &url, "");
    let mut gateway = Gateway::start(config).await;
    let event = gateway.sender().event("a.b", "1").await;
    let all = gateway.admin().delivery("acme", &event, "all", "delivered").await;
    assert_eq!(
        header(&all["attempts"][0]["exchange"]["request_headers"], "webhook-id"),
        Some(event.as_str())
    );
    let sent = all["sent"]["data"].as_str().expect("a body").to_owned();
    assert!(receiver.requests().iter().any(|request| request.body == sent.as_bytes()), "{sent}");
    let failed = gateway.admin().delivery("acme", &event, "failed", "delivered").await;
    assert_eq!((&failed["attempts"][0]["exchange"], &failed["sent"]), (&Value::Null, &Value::Null));

    // It is in the journal.
    assert!(gateway.terminate().await.success());
    gateway.start_again().await;
    assert_eq!(gateway.admin().delivery("acme", &event, "all", "delivered").await, all);
}

#[tokio::test]
async fn a_dropped_event_shows_which_plugins_ran_and_what_they_said() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let plugins = format!(
        "[tenants.acme.plugins.large-only]\nfile = {:?}\nconfig = {{ field = \"total\", minimum = 100 }}\n",
        plugin("keep-above")
    );
    let config = tenant("acme", KEY)
        + &plugins
        + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"large-only\"]");
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("order.created", r#"{"total":7}"#).await;
    let detail = gateway.admin().delivery("acme", &event, "hook", "filtered").await;
    let [call] = detail["plugins"].as_array().expect("plugins").as_slice() else { panic!("{detail}") };
    assert_eq!((&call["plugin"], &call["role"]), (&json!("large-only"), &json!("filter")));
    assert!(call["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{call}");
    assert_eq!(detail["attempts"], json!([]));
    // Sent again it is dropped again, by one call that stands for the last time.
    gateway.admin().post(&format!("/v1/tenants/acme/events/{event}/replay"), "").await.expect(200);
    eventually("the second time", async || {
        let detail = gateway.admin().delivery("acme", &event, "hook", "filtered").await;
        if detail["plugins"].as_array().is_some_and(|calls| calls.len() == 1) {
            Ok(())
        } else {
            Err(detail.to_string())
        }
    })
    .await;
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn a_pending_delivery_is_cancelled_before_it_is_sent() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY) + &endpoint("acme", "hook", &receiver.url("/"), "");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    admin.post("/v1/tenants/acme/endpoints/hook/disable", "").await.expect(200);
    let mut events = Vec::new();
    for number in 0..3 {
        events.push(gateway.sender().event("a.b", &number.to_string()).await);
    }
    let path = |event: &str| format!("/v1/tenants/acme/events/{event}/deliveries/hook/cancel");
    assert_eq!(admin.post(&path(&events[1]), "").await.expect(200).json(), json!({ "deliveries": 1 }));
    assert_eq!(admin.post(&path(&events[1]), "").await.expect(200).json(), json!({ "deliveries": 0 }));
    admin.post(&path("evt_nobody"), "").await.expect(404);
    let detail = admin.delivery("acme", &events[1], "hook", "cancelled").await;
    assert_eq!(detail["delivery"]["reason"], "cancelled by hand");
    admin.post("/v1/tenants/acme/endpoints/hook/enable", "").await.expect(200);
    for event in [&events[0], &events[2]] {
        admin.delivery("acme", event, "hook", "delivered").await;
    }
    // Sent again by hand, it goes.
    assert_eq!(receiver.count(), 2);
    admin.post(&path(&events[1]).replace("cancel", "retry"), "").await.expect(200);
    admin.delivery("acme", &events[1], "hook", "delivered").await;
    assert_eq!(receiver.count(), 3);
}
