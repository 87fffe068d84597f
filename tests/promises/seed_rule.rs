//! The seed system's rule, from outside: three attempts one second apart, three seconds each, 200 alone is success,
//! the answer's body is ignored, and the request is signed as Alibaba's IMS signs its callbacks.

use std::time::Duration;

use bytes::Bytes;
use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, tenant};
use md5::{Digest as _, Md5};
use serde_json::Value;

use crate::times::millis;

const SECOND: Duration = Duration::from_secs(1);
/// Timestamps are cut to milliseconds, so that a difference of two may be one short at either end.
const ROUNDING_MS: i64 = 2;

const IMS: &str = r#"format = "ims"
user_id = 1833220977560000
sign = "ims"
secret = "TestKey001"
retry = { preset = "ims" }"#;

/// The attempts of a delivery as the admin API tells them.
fn attempts(detail: &Value) -> &Vec<Value> {
    detail["attempts"].as_array().unwrap_or_else(|| panic!("no attempts in {detail}"))
}

/// Each attempt starts at least a second after the one before it ended. Only this bound is sure on a busy machine.
fn assert_a_second_apart(name: &str, detail: &Value) {
    for pair in attempts(detail).windows(2) {
        let gap = millis(&pair[1]["started"]) - millis(&pair[0]["started"]);
        let took = pair[0]["duration_ms"].as_i64().unwrap_or_else(|| panic!("no duration in {detail}"));
        println!("{name}: attempt {} took {took} ms, the next started {gap} ms after it", pair[0]["number"]);
        assert!(gap >= 1000 + took - ROUNDING_MS, "{name}: {gap} ms from start to start of {pair:?}");
    }
}

#[tokio::test]
async fn whatever_is_not_200_within_three_seconds_fails_and_three_failures_exhaust() {
    let elsewhere = Receiver::always(Reply::Status(200)).await;
    let redirect = vec![("location", elsewhere.url("/"))];
    let failures = [
        ("created", Reply::Status(201), "201"),
        ("no-content", Reply::Status(204), "204"),
        ("redirect", Reply::Whole(302, redirect, Bytes::new()), "302"),
        ("error", Reply::Whole(500, Vec::new(), Bytes::from_static(b"{\"ok\":true}")), "500"),
        ("closed", Reply::Close, ""),
        ("silent", Reply::Hang, ""),
    ];
    let mut receivers = Vec::new();
    let mut config = tenant("acme", KEY);
    for (name, reply, _) in &failures {
        let receiver = Receiver::always(reply.clone()).await;
        config += &endpoint("acme", name, &receiver.url("/callback"), IMS);
        receivers.push(receiver);
    }
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("FileUploadComplete", r#"{"Status":"Success"}"#).await;

    for ((name, _, status), receiver) in failures.iter().zip(&receivers) {
        let detail = admin.delivery("acme", &event, name, "exhausted").await;
        assert_eq!(detail["delivery"]["attempts"], 3, "{name}: {detail}");
        assert_eq!(attempts(&detail).len(), 3, "{name}: {detail}");
        for attempt in attempts(&detail) {
            assert_eq!(attempt["outcome"], "retry", "{name}: {detail}");
            assert!(attempt["reason"].is_string(), "{name}: {detail}");
            match *status {
                "" => assert_eq!(attempt["answer"], Value::Null, "{name}: {detail}"),
                status => assert_eq!(attempt["answer"]["status"].to_string(), status, "{name}: {detail}"),
            }
        }
        assert_a_second_apart(name, &detail);
        let requests = receiver.requests();
        assert_eq!(requests.len(), 3, "{name}: the receiver must see exactly three attempts");
        for pair in requests.windows(2) {
            // A request is seen before its answer is, so that this bound holds however slow the machine is.
            assert!(
                pair[1].at - pair[0].at >= SECOND - Duration::from_millis(2),
                "{name}: {:?}",
                pair[1].at - pair[0].at
            );
        }
    }
    let silent = admin.delivery("acme", &event, "silent", "exhausted").await;
    for attempt in attempts(&silent) {
        let took = attempt["duration_ms"].as_i64().expect("a duration");
        assert!(took >= 3000 - ROUNDING_MS, "an answer is awaited for three seconds: {attempt}");
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect is not followed");

    let listed = admin.list("/v1/tenants/acme/deliveries?status=exhausted").await;
    assert_eq!(listed.len(), failures.len(), "exhausted deliveries are listed: {listed:?}");

    for receiver in &receivers {
        receiver.follow(|_, _| Reply::Status(200));
    }
    let answer = admin.post(&format!("/v1/tenants/acme/events/{event}/replay"), "").await;
    assert!((200..300).contains(&answer.status), "a replay is taken: {answer}");
    for ((name, ..), receiver) in failures.iter().zip(&receivers) {
        let detail = admin.delivery("acme", &event, name, "delivered").await;
        assert_eq!(detail["delivery"]["attempts"], 4, "{name}: {detail}");
        let requests = receiver.requests();
        assert_eq!(requests.len(), 4, "{name}");
        let bodies: Vec<&Bytes> = requests.iter().map(|request| &request.body).collect();
        assert!(
            bodies.iter().all(|body| *body == bodies[0]),
            "{name}: every attempt sends the same bytes: {bodies:?}"
        );
    }
}

#[tokio::test]
async fn answer_200_is_success_whatever_its_body_says() {
    let successes = [
        ("empty", Reply::Status(200)),
        ("sorry", Reply::Whole(200, Vec::new(), Bytes::from_static(b"{\"error\":\"it failed\"}"))),
        ("binary", Reply::Whole(200, Vec::new(), Bytes::from_static(b"\xff\x00\xfe"))),
        ("large", Reply::Whole(200, Vec::new(), Bytes::from(vec![b'x'; 1 << 20]))),
        ("endless", Reply::Drip(200)),
    ];
    let mut receivers = Vec::new();
    let mut config = tenant("acme", KEY);
    for (name, reply) in &successes {
        let receiver = Receiver::always(reply.clone()).await;
        config += &endpoint("acme", name, &receiver.url("/callback"), IMS);
        receivers.push(receiver);
    }
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("FileUploadComplete", "{}").await;
    for ((name, _), receiver) in successes.iter().zip(&receivers) {
        let detail = gateway.admin().delivery("acme", &event, name, "delivered").await;
        assert_eq!(detail["delivery"]["attempts"], 1, "{name}: {detail}");
        assert_eq!(receiver.count(), 1, "{name}");
    }
}

#[tokio::test]
async fn callbacks_are_signed_and_shaped_as_ims_does_it() {
    let receiver = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let url = receiver.url("/your/callback?a=b");
    let gateway = Gateway::start(tenant("acme", KEY) + &endpoint("acme", "hook", &url, IMS)).await;
    let data = r#"{"Status":"Success","Size":"5510872", "MediaType":"video"}"#;
    let body = format!(r#"{{"type":"FileUploadComplete","time":"2022-07-15T08:48:14Z","data":{data}}}"#);
    gateway.sender().post(&[], body).await.expect(202);

    let requests = receiver.wait_for(2).await;
    for request in &requests {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/your/callback?a=b"));
        assert_eq!(request.header("content-type"), "application/json");
        let timestamp = request.header("x-ice-timestamp");
        assert!(timestamp.len() == 10 && timestamp.bytes().all(|byte| byte.is_ascii_digit()), "{timestamp}");
        let digest = Md5::digest(format!("{url}|{timestamp}|TestKey001"));
        let wanted: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(request.header("x-ice-signature"), wanted);
        assert_eq!(
            String::from_utf8_lossy(&request.body),
            format!(
                r#"{{"EventType":"FileUploadComplete","UserId":1833220977560000,"EventTime":"2022-07-15T08:48:14Z","MessageBody":{data}}}"#
            )
        );
    }
    let timestamps: Vec<u64> =
        requests.iter().map(|request| request.header("x-ice-timestamp").parse().expect("a number")).collect();
    assert!(timestamps[1] > timestamps[0], "each attempt is signed with its own time: {timestamps:?}");
}
