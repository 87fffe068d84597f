//! A queue in the gateway: an event waits in it until a consumer has fetched it and said so.

use std::time::Duration;

use hookweir_tests::{Clock, Consumer, Gateway, KEY, eventually, tenant};
use serde_json::{Value, json};
use tokio::process::Command;

const OTHER_KEY: &str = "key-of-the-second-tenant-9876543210";

pub(super) fn queue(tenant: &str, id: &str, lines: &str) -> String {
    format!("[tenants.{tenant}.endpoints.{id}]\nkind = \"pull\"\n{lines}\n")
}

fn config(lines: &str) -> String {
    tenant("acme", KEY) + &queue("acme", "inbox", &format!("max_wait = \"50s\"\n{lines}"))
}

/// Waits until the queue holds so many messages that can be received.
async fn visible(consumer: &Consumer, wanted: u64) {
    eventually(&format!("{wanted} visible messages"), async || match consumer.stats().await {
        [visible, ..] if visible == wanted => Ok(()),
        stats => Err(format!("{stats:?}")),
    })
    .await;
}

#[tokio::test]
async fn an_event_waits_until_it_is_acknowledged() {
    let lines = "event_types = [\"order.*\"]\nformat = \"envelope\"";
    let gateway = Gateway::start(config(lines)).await;
    let consumer = gateway.consumer("inbox");
    assert!(consumer.receive(json!({})).await.is_empty());
    gateway.sender().event("user.created", "1").await;
    let id = gateway.sender().event("order.created", r#"{"caf\u00e9":"é"}"#).await;

    let messages = consumer.receive(json!({ "max": 10, "wait": "30s" })).await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(
        (message["id"].as_str(), message["type"].as_str()),
        (Some(id.as_str()), Some("order.created"))
    );
    // It is shaped as a request would be.
    let body = message["data"].as_str().expect("text");
    assert!(
        body.contains("\"type\":\"order.created\"") && body.ends_with(r#""data":{"caf\u00e9":"é"}}"#),
        "{body}"
    );
    assert_eq!((&message["receives"], &message["content_type"]), (&json!(1), &json!("application/json")));
    assert!(consumer.receive(json!({})).await.is_empty(), "it is hidden while it is held");

    // "Delivered" says that it is in the queue, on disk.
    let admin = gateway.admin();
    let detail = admin.json(&format!("/v1/tenants/acme/events/{id}/deliveries/inbox")).await;
    assert_eq!(detail["delivery"]["status"], "delivered", "{detail}");
    assert_eq!(detail["attempts"][0]["outcome"], "delivered", "{detail}");

    assert_eq!(consumer.answer("ack", &[&message["receipt"]], json!({})).await, ["done"]);
    assert_eq!(consumer.answer("ack", &[&message["receipt"]], json!({})).await, ["gone"]);
    assert_eq!(consumer.stats().await, [0; 4]);
}

#[tokio::test]
async fn a_message_is_held_by_one_consumer_at_a_time() {
    let gateway = Gateway::start(config("visibility_timeout = \"1s\"")).await;
    let consumer = gateway.consumer("inbox");
    gateway.sender().event("a.b", "1").await;
    let first = consumer.receive(json!({ "wait": "30s" })).await.remove(0);
    // Nobody does anything: it comes again when its time is over, to one who waits for it.
    let second = consumer.receive(json!({ "wait": "30s", "visibility_timeout": "1h" })).await.remove(0);
    assert_eq!((&second["id"], &second["receives"]), (&first["id"], &json!(2)));
    assert!(second["enqueued"] == first["enqueued"] && second["first_received"] == first["first_received"]);
    for action in ["ack", "nack", "extend"] {
        let stale = [&first["receipt"], &json!("nonsense")];
        assert_eq!(consumer.answer(action, &stale, json!({})).await, ["stale", "malformed"], "{action}");
    }
    let answer = consumer.ask("ack", json!({ "receipts": [first["receipt"]] })).await.json();
    assert_eq!(answer["results"][0]["status"], 409, "{answer}");

    // Given back, it is there at once, or later.
    assert_eq!(consumer.answer("nack", &[&second["receipt"]], json!({})).await, ["done"]);
    let third = consumer.receive(json!({ "visibility_timeout": "1h" })).await.remove(0);
    assert_eq!(consumer.answer("nack", &[&third["receipt"]], json!({ "delay": "1s" })).await, ["done"]);
    assert_eq!(consumer.stats().await[..3], [0, 0, 1]);
    let fourth = consumer.receive(json!({ "wait": "30s" })).await.remove(0);
    assert_eq!(fourth["receives"], 4);
    let extended =
        consumer.answer("extend", &[&fourth["receipt"]], json!({ "visibility_timeout": "1h" })).await;
    assert_eq!(extended, ["done"]);
    assert!(consumer.receive(json!({ "wait": "2s" })).await.is_empty(), "it was asked for longer");
    assert_eq!(consumer.answer("ack", &[&fourth["receipt"]], json!({})).await, ["done"]);
}

#[tokio::test]
async fn waiting_consumers_are_woken_in_their_order() {
    let gateway = Gateway::start(config("")).await;
    let consumer = gateway.consumer("inbox");
    let wait = |consumer: Consumer| {
        tokio::spawn(async move { consumer.receive(json!({ "max": 1, "wait": "50s" })).await })
    };
    let mut line = Vec::new();
    for number in 1..=3 {
        line.push(wait(gateway.consumer("inbox")));
        // The next one comes when this one stands in line.
        waiting(&consumer, number).await;
    }
    let mut ids = Vec::new();
    for (number, next) in line.into_iter().enumerate() {
        ids.push(gateway.sender().event("a.b", &number.to_string()).await);
        let messages = next.await.expect("a consumer does not panic");
        assert_eq!(messages[0]["id"], json!(ids[number]), "consumer {number} was served in its turn");
    }
    assert_eq!(consumer.stats().await, [0, 3, 0, 0]);
}

#[tokio::test]
async fn what_is_received_too_often_is_a_dead_letter() {
    let gateway = Gateway::start(config("max_receives = 2")).await;
    let consumer = gateway.consumer("inbox");
    let id = gateway.sender().event("a.b", "{}").await;
    for wanted in ["done", "dead"] {
        let message = consumer.receive(json!({ "wait": "30s" })).await.remove(0);
        assert_eq!(consumer.answer("nack", &[&message["receipt"]], json!({})).await, [wanted]);
    }
    assert_eq!(consumer.stats().await, [0, 0, 0, 1]);
    assert!(consumer.receive(json!({})).await.is_empty());
    let dead = consumer.ask("dead", json!({})).await.expect(200).json();
    assert_eq!((&dead["messages"][0]["id"], &dead["messages"][0]["receives"]), (&json!(id), &json!(2)));
    let number = &dead["messages"][0]["number"];
    let waiting = tokio::spawn({
        let consumer = gateway.consumer("inbox");
        async move { consumer.receive(json!({ "wait": "50s" })).await }
    });
    let redriven = consumer.ask("redrive", json!({ "numbers": [number, 999] })).await.expect(200).json();
    assert_eq!(redriven["messages"], 1);
    let back = waiting.await.expect("a consumer does not panic").remove(0);
    assert_eq!((&back["number"], &back["receives"]), (number, &json!(1)));
    assert_eq!(consumer.ask("redrive", json!({})).await.expect(200).json()["messages"], 0);
}

/// Two tenants' messages are numbered together in the journal. What one of them is shown says nothing of that.
#[tokio::test]
async fn numbers_and_cursors_do_not_tell_how_much_others_send() {
    let config = config("") + &tenant("globex", OTHER_KEY) + &queue("globex", "inbox", "");
    let mut gateway = Gateway::start(config).await;
    let (mut shown, mut cursors) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        gateway.sender().event("a.b", "1").await;
        gateway.sender_of("globex", OTHER_KEY).event("a.b", "1").await;
    }
    visible(&gateway.consumer("inbox"), 6).await;
    let peeked = gateway.consumer("inbox").ask("peek", json!({ "max": 9 })).await.expect(200).json();
    for message in peeked["messages"].as_array().expect("messages") {
        shown.push(message["number"].as_u64().expect("a number"));
    }
    let admin = gateway.admin();
    let mut next = String::new();
    while cursors.len() < 5 {
        let page = admin.json(&format!("/v1/tenants/acme/events?limit=1{next}")).await;
        let cursor = page["next"].as_str().unwrap_or_else(|| panic!("no cursor in {page}")).to_owned();
        next = format!("&cursor={cursor}");
        cursors.push(cursor.parse::<u64>().expect("a number"));
    }
    for receipt in gateway.consumer("inbox").receive(json!({ "max": 9, "visibility_timeout": "1s" })).await {
        let text = receipt["receipt"].as_str().expect("a receipt");
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
        let number = bytes.expect("base64").first_chunk().map(|number| u64::from_be_bytes(*number));
        assert!(shown.contains(&number.expect("a number")), "a receipt holds the number that is shown");
    }
    for numbers in [&shown, &cursors] {
        assert!(numbers.iter().all(|number| number.to_string().len() == 16), "{numbers:?}");
        let steps: std::collections::BTreeSet<u64> =
            numbers.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect();
        assert!(steps.len() > 1 && steps.iter().all(|step| *step > 1000), "{numbers:?}");
    }
    // They stay as they are over a restart.
    gateway.kill9().await;
    gateway.start_again().await;
    let page = gateway.admin().json(&format!("/v1/tenants/acme/events?limit=9&cursor={}", cursors[4])).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "{page}");
    gateway.admin().get("/v1/tenants/acme/events?cursor=7").await.expect(400);
}

#[tokio::test]
async fn a_receipt_and_what_it_hides_outlive_a_kill() {
    let mut gateway = Gateway::start(config("visibility_timeout = \"1h\"")).await;
    for number in 0..3 {
        gateway.sender().event("a.b", &number.to_string()).await;
    }
    visible(&gateway.consumer("inbox"), 3).await;
    let held = gateway.consumer("inbox").receive(json!({ "max": 2 })).await;
    gateway.kill9().await;
    gateway.start_again().await;
    let consumer = gateway.consumer("inbox");
    assert_eq!(consumer.stats().await, [1, 2, 0, 0]);
    let rest = consumer.receive(json!({ "max": 10 })).await;
    assert_eq!(rest.len(), 1, "what was held is hidden still");
    assert_eq!(consumer.answer("ack", &[&held[0]["receipt"]], json!({})).await, ["done"]);
    gateway.kill9().await;
    gateway.start_again().await;
    let consumer = gateway.consumer("inbox");
    assert_eq!(
        consumer.answer("ack", &[&held[0]["receipt"], &held[1]["receipt"]], json!({})).await,
        ["gone", "done"]
    );
    assert_eq!(consumer.stats().await, [0, 1, 0, 0]);
}

/// Waits until so many consumers wait at the queue.
async fn waiting(consumer: &Consumer, wanted: u64) {
    eventually(&format!("{wanted} waiting consumers"), async || match consumer.waiting().await {
        waiting if waiting == wanted => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    })
    .await;
}

/// A consumer that hangs up while it waits leaves its place, and takes no message with it.
#[tokio::test]
async fn nobody_waits_for_a_consumer_that_has_gone() {
    let gateway = Gateway::start(config("visibility_timeout = \"1h\"")).await;
    let watch = gateway.consumer("inbox");
    for _ in 0..5 {
        let [gone, next] = [0, 1].map(|_| gateway.consumer("inbox"));
        let gone = tokio::spawn(async move { gone.receive(json!({ "wait": "50s" })).await });
        waiting(&watch, 1).await;
        let next = tokio::spawn(async move { next.receive(json!({ "wait": "50s" })).await });
        waiting(&watch, 2).await;
        gone.abort();
        waiting(&watch, 1).await;
        let id = gateway.sender().event("a.b", "1").await;
        let message = next.await.expect("a consumer does not panic").remove(0);
        assert_eq!((&message["id"], &message["receives"]), (&json!(id), &json!(1)));
    }
    assert_eq!(watch.stats().await, [0, 5, 0, 0]);
}

#[tokio::test]
async fn a_queue_is_its_tenants_alone() {
    let config = config("access = [{ id = \"a\", secret = \"s\" }]")
        + &format!(
            "[tenants.acme.endpoints.hook]\nurl = \"http://127.0.0.1:9/\"\n{}",
            tenant("other", OTHER_KEY)
        )
        + &queue("other", "theirs", "");
    let gateway = Gateway::start(config).await;
    let address = gateway.accept_address();
    let mut seen = Vec::new();
    for (tenant, key, queue, status) in [
        ("acme", KEY, "inbox", 200),
        ("acme", KEY, "theirs", 404),
        ("acme", KEY, "nothing", 404),
        ("acme", KEY, "hook", 404),
        ("other", KEY, "theirs", 404),
        ("nobody", KEY, "theirs", 404),
        ("acme", "key-that-nobody-has-0123456789", "inbox", 401),
        ("other", OTHER_KEY, "theirs", 200),
    ] {
        let consumer = Consumer::new(address, tenant, key, queue);
        for action in ["receive", "ack", "nack", "extend", "peek", "dead", "stats", "redrive"] {
            let body = if ["ack", "nack", "extend"].contains(&action) {
                json!({ "receipts": ["x"] })
            } else {
                json!({})
            };
            let answer = consumer.ask(action, body).await.expect(status);
            if status == 404 && tenant == "acme" {
                seen.push(answer.text());
            }
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "a queue of another tenant looks as one that is not there: {seen:?}");
}

#[tokio::test]
async fn a_message_is_removed_when_its_retention_is_over() {
    let clock = Clock::new();
    let gateway = Gateway::start_by(&clock, config("retention = \"1s\"")).await;
    gateway.sender().event("a.b", "1").await;
    visible(&gateway.consumer("inbox"), 1).await;
    eventually("the message to be removed", async || {
        clock.pass(Duration::from_secs(61));
        // A connection of its own each time: those that are left alone for a minute are closed.
        match gateway.consumer("inbox").stats().await {
            [0, 0, 0, 0] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn the_command_line_is_a_consumer() {
    let gateway = Gateway::start(config("visibility_timeout = \"1h\"\nmax_receives = 1")).await;
    let hookweir = async |arguments: &[&str]| {
        let mut command = Command::new(hookweir_tests::binary());
        command.arg("queue").args(arguments).args(["--tenant", "acme", "inbox"]);
        command
            .env("HOOKWEIR_ACCEPT", format!("http://{}", gateway.accept_address()))
            .env("HOOKWEIR_KEY", KEY);
        hookweir_tests::run(&mut command, b"").await
    };
    let first = gateway.sender().event("a.b", r#"{"a":1}"#).await;
    let shown = hookweir(&["receive", "--wait", "30s"]).await.expect(0).stdout;
    assert!(shown.starts_with(&format!("{first}\n")) && shown.contains("\"a\": 1"), "{shown}");
    assert_eq!(hookweir(&["receive"]).await.expect(0).stdout, "no message\n");
    let stats = hookweir(&["stats", "--json"]).await.expect(0).stdout;
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!((&stats["visible"], &stats["in_flight"]), (&json!(0), &json!(1)));
    let receipt =
        shown.lines().find_map(|line| line.trim().strip_prefix("receipt")).expect("a receipt").trim();
    let given_back =
        run_with(&gateway, &["nack", "--tenant", "acme", "inbox", receipt]).await.expect(0).stdout;
    assert!(given_back.contains("dead letter"), "{given_back}");
    let dead = hookweir(&["peek", "--dead"]).await.expect(0).stdout;
    assert!(dead.contains(&first), "{dead}");
    assert_eq!(hookweir(&["redrive"]).await.expect(0).stdout, "1 dead letter is back in inbox\n");
    assert!(hookweir(&["peek"]).await.expect(0).stdout.contains(&first));
    let taken = hookweir(&["receive", "--ack", "--json"]).await.expect(0).stdout;
    assert!(taken.contains(&first), "{taken}");
    assert!(hookweir(&["stats"]).await.expect(0).stdout.contains("inbox"));
    let refused = run_with(&gateway, &["ack", "--tenant", "acme", "inbox", receipt]).await.expect(1);
    assert!(refused.stdout.contains("no such message"), "{}", refused.stdout);
}

async fn run_with(gateway: &Gateway, arguments: &[&str]) -> hookweir_tests::Output {
    let mut command = Command::new(hookweir_tests::binary());
    command.arg("queue").args(arguments);
    command.env("HOOKWEIR_ACCEPT", format!("http://{}", gateway.accept_address())).env("HOOKWEIR_KEY", KEY);
    hookweir_tests::run(&mut command, b"").await
}
