//! `kind = "smq"`: the seed system's queue, at the other end of which stands the queue of a second gateway, which speaks
//! SMQ's protocol as Alibaba's own SDKs find it (`pull_smq`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hookweir_tests::{Gateway, KEY, Relay, tenant};
use serde_json::{Value, json};

use super::conformance::{each_once, keeps_the_contract};
use super::faults::is_rejected;
use super::pull_smq::{ask, messages_of};
use super::{EVENTS, agreed, queue, sent};
use crate::ledger::drained;
use crate::times::millis;

const ACCESS: &str = "access = { id = \"inbox\", secret = \"secret-of-inbox\" }";

/// A gateway with a queue for the access key `inbox`.
async fn receiving() -> Gateway {
    let access = "access = [{ id = \"inbox\", secret = \"secret-of-inbox\" }]";
    let lines = format!("event_types = [\"none\"]\nvisibility_timeout = \"5s\"\n{access}");
    Gateway::start(tenant("acme", KEY) + &super::pull::queue("acme", "inbox", &lines)).await
}

/// An endpoint of kind `smq`, by the rule of the seed system.
fn endpoint(id: &str, address: SocketAddr, queue: &str, access: &str) -> String {
    format!(
        "[tenants.acme.endpoints.{id}]\nkind = \"smq\"\nurl = \"http://{address}\"\nqueue = \"{queue}\"\n{access}\n\
         event_id = true\nformat = \"ims\"\nuser_id = 1833220977560000\nretry = {{ preset = \"ims\" }}\n"
    )
}

/// The seed's row: success when pushed; on a failure two more tries a second apart; after three it is over, seen and
/// replayed. A wrong queue, a wrong key and an endpoint that can't be reached are told apart.
#[tokio::test]
async fn three_tries_a_second_apart_and_then_it_is_exhausted_and_replayable() {
    let to = receiving().await;
    let there = to.accept_address();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let wrong = ACCESS.replace("secret-of-inbox", "another");
    let failures = [
        ("queue", endpoint("queue", there, "none", ACCESS), "the queue does not exist"),
        ("key", endpoint("key", there, "inbox", &wrong), "the secret is not that of the access key"),
        ("reach", endpoint("reach", nowhere, "inbox", ACCESS), "connection refused"),
    ];
    let good = endpoint("good", there, "inbox", ACCESS);
    let tables: String = failures.iter().map(|(_, table, _)| table.as_str()).collect();
    let from = Gateway::start(tenant("acme", KEY) + &good + &tables).await;
    let admin = from.admin();
    let event = from.sender().event("FileUploadComplete", r#"{"Status":"Success"}"#).await;
    let detail = admin.delivery("acme", &event, "good", "delivered").await;
    let answer = detail["attempts"][0]["answer"]["body"].as_str().unwrap_or_default();
    assert!(answer.starts_with("message "), "{detail}");

    for (endpoint, _, reason) in &failures {
        let detail = admin.delivery("acme", &event, endpoint, "exhausted").await;
        let attempts = detail["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 3, "{endpoint}: {detail}");
        for attempt in attempts {
            assert_eq!(attempt["outcome"], "retry", "{endpoint}: {detail}");
            let told = attempt["reason"].as_str().unwrap_or_default();
            assert!(told.contains(reason), "{endpoint}: {told:?}");
        }
        for pair in attempts.windows(2) {
            let gap = millis(&pair[1]["started"]) - millis(&pair[0]["started"]);
            assert!(gap >= 998, "{endpoint}: {gap} ms from start to start");
        }
        println!("{endpoint}: {}", attempts[0]["reason"]);
    }
    let message = to.consumer("inbox").receive(json!({ "wait": "30s" })).await.remove(0);
    let body: Value = serde_json::from_str(message["data"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&body["EventType"], &body["MessageBody"]),
        (&"FileUploadComplete".into(), &json!({"Status": "Success"}))
    );

    // An operator mends the three, and the event is sent again.
    let mended: String = ["queue", "key", "reach"].map(|id| endpoint(id, there, "inbox", ACCESS)).concat();
    from.reconfigure(tenant("acme", KEY) + &good + &mended);
    from.reload();
    from.logged(&["configuration", "in force"]).await;
    admin.post(&format!("/v1/tenants/acme/events/{event}/replay"), "").await.expect(200);
    for (endpoint, ..) in &failures {
        admin.delivery("acme", &event, endpoint, "delivered").await;
    }
}

/// Ten thousand events, and the receiving gateway is killed in the middle; Alibaba's SDK reads what is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_receiver_loses_nothing() {
    let mut to = receiving().await;
    let config = |to: &Gateway| queue("smq", &lines(to.accept_address()));
    let from = Gateway::start(config(&to)).await;
    let first = sent(&from, 0, EVENTS / 2).await;
    to.kill9().await;
    let second = sent(&from, EVENTS / 2, EVENTS).await;
    to.start_again().await;
    from.reconfigure(config(&to));
    from.reload();
    drained(&from.admin(), "queue").await;

    let sent: BTreeMap<String, String> = first.into_iter().chain(second).collect();
    let messages = read(&to).await;
    let repeated = agreed(&sent, messages.iter().map(|(id, body)| (id.as_str(), body.as_slice())));
    println!(
        "smq: {} acknowledged, {} read by the SDK, {repeated} of them repeated",
        sent.len(),
        messages.len()
    );
}

/// Any queue's contract, behind a relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_and_a_lost_one_are_told_apart() {
    let to = receiving().await;
    let relay = Relay::start(to.accept_address().port()).await;
    let sent = keeps_the_contract(queue("smq", &lines(relay.address())), &relay).await;
    let messages = read(&to).await;
    each_once(&sent, messages.iter().map(|(id, body)| (id.as_str(), body.as_slice())));
}

/// SMQ takes messages of 64 KiB, which base64 makes of 48 KiB: one byte more is over before it is sent.
#[tokio::test]
async fn the_largest_message_arrives_and_a_larger_one_is_rejected() {
    let to = receiving().await;
    let from = Gateway::start(queue("smq", &lines(to.accept_address()))).await;
    // The quotes are two bytes of them.
    let letters = (48 << 10) - 2;
    let largest = format!("{:?}", "x".repeat(letters));
    let arrives = from.sender().event("order.created", &largest).await;
    from.admin().delivery("acme", &arrives, "queue", "delivered").await;
    assert_eq!(read(&to).await, [(arrives, largest.into_bytes())]);
    let reason = "65540 bytes in base64, and a queue takes at most 65536";
    is_rejected("smq", &lines(to.accept_address()), letters + 1, reason).await;
    // What comes after it is all that arrives.
    let bodies: Vec<_> = read(&to).await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [b"1"]);
}

/// The lines of an endpoint whose messages are the events' data.
fn lines(address: SocketAddr) -> String {
    format!("url = \"http://{address}\"\nqueue = \"inbox\"\n{ACCESS}\nevent_id = true")
}

/// Reads all that is there with Alibaba's SDK.
async fn read(to: &Gateway) -> Vec<(String, Vec<u8>)> {
    let there = to.consumer("inbox").stats().await[0];
    let question = json!({
        "do": "consume",
        "url": format!("http://{}", to.accept_address()),
        "id": "inbox",
        "secret": "secret-of-inbox",
        "queue": "inbox",
        "count": there,
    });
    let told = ask("smq_pull.py", question).await;
    assert_eq!(told["failed"], Value::Null, "{}", told["failed"]);
    messages_of(&told)
}
