//! The wall clock is set while the gateway works: by half an hour, by days, from 1970. A wait is a span of time and an age is
//! time that the gateway ran, so that nothing stands still, and nothing is removed, given up or switched off for it.

use std::time::Duration;

use hookweir_tests::{Clock, Gateway, KEY, Receiver, Reply, endpoint, eventually, one_endpoint, tenant};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::times::millis;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// As many attempts as there can be, a second apart.
fn every_second() -> String {
    let waits = vec!["\"1s\""; 50].join(", ");
    format!("retry = {{ waits = [{waits}], jitter = 0.0 }}\nbreaker = false")
}

async fn endpoint_of(gateway: &Gateway) -> Value {
    gateway.admin().json("/v1/tenants/acme/endpoints/hook").await
}

/// How long ago a time was, by the machine's own clock.
fn since(time: &Value) -> Duration {
    let ago = Timestamp::now().as_millisecond() - millis(time);
    Duration::from_millis(ago.unsigned_abs())
}

#[tokio::test]
async fn retries_go_on_while_the_clock_is_set_back_and_right_again() {
    let (clock, receiver) = (Clock::new(), Receiver::always(Reply::Status(503)).await);
    let gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/"), &every_second())).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(2).await;
    clock.back(30 * MINUTE);
    receiver.wait_for(receiver.count() + 3).await;
    clock.set_right();
    receiver.wait_for(receiver.count() + 3).await;
    receiver.follow(|_, _| Reply::Status(204));
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    gateway.logged(&["the wall clock was set", "back", "30m"]).await;
    gateway.logged(&["the wall clock was set", "forward", "30m"]).await;
    assert_eq!(gateway.admin().metric("hookweir_clock_steps_total{direction=\"back\"}").await, 1);
    assert_eq!(gateway.admin().metric("hookweir_clock_steps_total{direction=\"forward\"}").await, 1);
    for request in receiver.requests() {
        assert_eq!(request.event(), event);
    }
}

#[tokio::test]
async fn a_step_forward_ends_no_wait_that_the_receiver_asked_for() {
    let patience = 5 * SECOND;
    let receiver = Receiver::start(move |_, request| match request.path.as_str() {
        "/asks" => Reply::Whole(503, vec![("retry-after", "5".to_owned())], "".into()),
        _ => Reply::Status(503),
    })
    .await;
    let clock = Clock::new();
    let gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/asks"), &every_second())).await;
    gateway.sender().event("a.b", "1").await;
    let first = receiver.wait_for(1).await[0].at;
    let due = eventually("the first attempt to be kept", async || {
        let deliveries = gateway.admin().list("/v1/tenants/acme/deliveries").await;
        match &deliveries[0] {
            delivery if delivery["attempts"] == 1 => Ok(delivery["due"].clone()),
            delivery => Err(delivery.to_string()),
        }
    })
    .await;
    clock.forward(HOUR);
    // The step is seen when the metrics are read, and what is due is shown by the clock as it is now.
    assert_eq!(gateway.admin().metric("hookweir_clock_steps_total{direction=\"forward\"}").await, 1);
    let delivery = &gateway.admin().list("/v1/tenants/acme/deliveries").await[0];
    let moved = millis(&delivery["due"]) - millis(&due);
    assert!((moved - 3_600_000).abs() < 10_000, "{due}, then {delivery}");
    // An endpoint that is switched on has all read that is due, by whatever clock.
    gateway.admin().post("/v1/tenants/acme/endpoints/hook/enable", "").await.expect(200);
    let requests = receiver.wait_for(2).await;
    assert!(requests[1].at - first >= patience, "{:?} after the first", requests[1].at - first);
}

#[tokio::test]
async fn what_came_while_the_clock_was_behind_stays_its_whole_retention() {
    let receiver = Receiver::always(Reply::Status(204)).await;
    let queue = |id, lines| endpoint("acme", id, "", lines).replace("url = \"\"", "kind = \"pull\"");
    let config = tenant("acme", KEY)
        + &queue("inbox", "visibility_timeout = \"1h\"")
        + &queue("brief", "retention = \"1s\"")
        + &endpoint("acme", "hook", &receiver.url("/"), "");
    let clock = Clock::new();
    clock.back(10 * DAY);
    let gateway = Gateway::start_by(&clock, config).await;
    // A connection of its own each time: those that are left alone for a minute are closed.
    let stats = async |queue| gateway.consumer(queue).stats().await;
    let events = ["e1", "e2", "e3"];
    let send = async |event| {
        let body = format!(r#"{{"id":"{event}","type":"a.b","data":1}}"#);
        gateway.sender().post(&[], body).await.expect(202).json()
    };
    for event in events {
        assert_eq!(send(event).await["duplicate"], false);
        gateway.admin().delivery("acme", event, "hook", "delivered").await;
        for queue in ["inbox", "brief"] {
            gateway.admin().delivery("acme", event, queue, "delivered").await;
        }
    }
    assert_eq!(stats("inbox").await, [3, 0, 0, 0]);
    clock.set_right();
    // Upkeep has gone over the events and all queues when the brief one is empty.
    eventually("the brief queue to be empty", async || {
        clock.pass(61 * SECOND);
        match stats("brief").await {
            [0, 0, 0, 0] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(stats("inbox").await, [3, 0, 0, 0]);
    for event in events {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/hook");
        assert_eq!(gateway.admin().json(&path).await["delivery"]["status"], "delivered");
        assert_eq!(send(event).await["duplicate"], true, "a sender that repeats itself is told so");
    }
    let received = gateway.consumer("inbox").receive(json!({ "max": 10 })).await;
    let ids: Vec<&str> = received.iter().filter_map(|message| message["id"].as_str()).collect();
    assert_eq!(ids, events);

    // And when the gateway has run for as long as that, they go.
    clock.pass(7 * DAY);
    eventually("what is old to be removed", async || {
        clock.pass(61 * SECOND);
        match (stats("inbox").await, gateway.admin().list("/v1/tenants/acme/events").await.len()) {
            ([0, 0, 0, 0], 0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    // What an operator sends is there at once too.
    gateway.admin().post("/v1/tenants/acme/endpoints/inbox/test", "").await.expect(200);
    assert_eq!(stats("inbox").await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_was_hidden_by_a_clock_ahead_comes_back_in_its_time() {
    let lines = "visibility_timeout = \"2s\"";
    let config =
        tenant("acme", KEY) + &endpoint("acme", "inbox", "", lines).replace("url = \"\"", "kind = \"pull\"");
    for restart in [false, true] {
        let clock = Clock::new();
        clock.forward(DAY);
        let mut gateway = Gateway::start_by(&clock, config.clone()).await;
        let event = gateway.sender().event("a.b", "1").await;
        let wanted = json!({ "wait": "30s" });
        let received = gateway.consumer("inbox").receive(wanted.clone()).await;
        assert_eq!(received[0]["id"], event.as_str());
        if restart {
            gateway.kill9().await;
            clock.set_right();
            gateway.start_again().await;
        } else {
            clock.set_right();
        }
        let again = gateway.consumer("inbox").receive(wanted).await;
        assert_eq!((&again[0]["id"], &again[0]["receives"]), (&json!(event), &json!(2)), "{again:?}");
        let hidden = since(&again[0]["visible"]);
        assert!(hidden < MINUTE, "shown by the clock as it is now: {again:?}");
    }
}

#[tokio::test]
async fn a_retry_that_a_clock_ahead_planned_is_made_in_its_time_over_a_restart() {
    let (clock, receiver) = (Clock::new(), Receiver::always(Reply::Status(503)).await);
    clock.forward(DAY);
    let lines = "retry = { waits = [\"2s\", \"1s\"], jitter = 0.0 }";
    let mut gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/"), lines)).await;
    let event = gateway.sender().event("a.b", "1").await;
    eventually("the first attempt to be kept", async || {
        let delivery = &gateway.admin().list("/v1/tenants/acme/deliveries").await[0];
        if delivery["attempts"] == 1 { Ok(()) } else { Err(delivery.to_string()) }
    })
    .await;
    gateway.kill9().await;
    clock.set_right();
    receiver.follow(|_, _| Reply::Status(204));
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
}

#[tokio::test]
async fn a_gateway_that_starts_in_1970_switches_nothing_off_when_the_clock_is_set() {
    let (clock, receiver) = (Clock::of_1970(), Receiver::always(Reply::Status(503)).await);
    let gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/"), &every_second())).await;
    let mut events = Vec::new();
    for number in 0..3 {
        events.push(gateway.sender().event("a.b", &number.to_string()).await);
    }
    // More failures than it takes to switch an endpoint off, were they 120 hours apart.
    receiver.wait_for(15).await;
    clock.set_right();
    let before = receiver.count();
    receiver.wait_for(before + 12).await;
    let endpoint = endpoint_of(&gateway).await;
    assert_eq!((&endpoint["enabled"], &endpoint["disabled"]), (&json!(true), &Value::Null), "{endpoint}");
    assert!(since(&endpoint["failing_since"]) < 10 * MINUTE, "{endpoint}");
    for name in [
        "hookweir_oldest_pending_seconds",
        "hookweir_endpoint_oldest_pending_seconds{tenant=\"acme\",endpoint=\"hook\"}",
        "hookweir_endpoint_failing_seconds{tenant=\"acme\",endpoint=\"hook\"}",
    ] {
        let seconds = gateway.admin().metric(name).await;
        assert!((0..600).contains(&seconds), "{name} {seconds}");
    }
    let started = gateway.admin().metric("hookweir_start_time_seconds").await.cast_signed();
    let uptime = Timestamp::now().as_second() - started;
    assert!((-5..600).contains(&uptime), "{uptime} s");
    assert_eq!(gateway.admin().metric("hookweir_clock_steps_total{direction=\"forward\"}").await, 1);
    gateway.logged(&["the wall clock was set", "forward"]).await;

    receiver.follow(|_, _| Reply::Status(204));
    for event in &events {
        gateway.admin().delivery("acme", event, "hook", "delivered").await;
    }
    // A receiver refuses a signature of 1970: what is signed is the time of the attempt.
    let last = receiver.requests().pop().expect("a request");
    let signed: i64 = last.header("webhook-timestamp").parse().expect("a time");
    let ago = Timestamp::now().as_second() - signed;
    assert!((-5..600).contains(&ago), "{ago} s");
}

#[tokio::test]
async fn only_failures_while_the_gateway_runs_switch_an_endpoint_off() {
    let (clock, receiver) = (Clock::new(), Receiver::always(Reply::Status(503)).await);
    let mut gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/"), &every_second())).await;
    gateway.sender().event("a.b", "1").await;
    receiver.wait_for(12).await;
    clock.pass(61 * SECOND);
    receiver.wait_for(receiver.count() + 2).await;
    // A week without the gateway, or by the wall clock alone.
    gateway.terminate().await;
    clock.forward(7 * DAY);
    gateway.start_again().await;
    receiver.wait_for(receiver.count() + 2).await;
    let endpoint = endpoint_of(&gateway).await;
    assert_eq!((&endpoint["enabled"], &endpoint["disabled"]), (&json!(true), &Value::Null), "{endpoint}");
    assert!(endpoint["failing_since"].is_string(), "{endpoint}");
    // Five days of its own.
    clock.pass(121 * HOUR);
    eventually("the endpoint to be disabled", async || match endpoint_of(&gateway).await {
        endpoint if endpoint["disabled"]["reason"] == "nothing but failures for 120 hours" => Ok(()),
        endpoint => Err(endpoint.to_string()),
    })
    .await;
}

#[tokio::test]
async fn what_comes_last_is_listed_first_whatever_the_clock_says() {
    let clock = Clock::new();
    let gateway = Gateway::start_by(&clock, tenant("acme", KEY)).await;
    let mut events = Vec::new();
    for step in [30 * MINUTE, 10 * DAY, Duration::ZERO] {
        events.push(gateway.sender().event("a.b", "1").await);
        clock.back(step);
    }
    events.reverse();
    let listed = gateway.admin().list("/v1/tenants/acme/events").await;
    let ids: Vec<&str> = listed.iter().filter_map(|event| event["id"].as_str()).collect();
    assert_eq!(ids, events);
}
