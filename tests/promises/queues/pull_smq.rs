//! Alibaba's SDKs for SMQ, as they are published, consume from a queue of the gateway.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_tests::{Gateway, KEY, eventually, peer, peers, tenant};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::pull::queue;

const OTHER_KEY: &str = "key-of-the-second-tenant-9876543210";
const MESSAGES: usize = 1000;
const HIDDEN: f64 = 3.0;

async fn gateway() -> Gateway {
    let access = |id: &str| format!("access = [{{ id = \"{id}\", secret = \"secret-of-{id}\" }}]");
    let config = tenant("acme", KEY)
        + &queue("acme", "manners", &format!("event_types = [\"none\"]\n{}", access("manners")))
        + &queue("acme", "inbox", &format!("visibility_timeout = \"{HIDDEN}s\"\n{}", access("inbox")))
        + &tenant("other", OTHER_KEY)
        + &queue("other", "foreign", &access("foreign"));
    Gateway::start(config).await
}

fn question(gateway: &Gateway, act: &str, queue: &str) -> Value {
    json!({
        "do": act,
        "url": format!("http://{}", gateway.accept_address()),
        "id": queue,
        "secret": format!("secret-of-{queue}"),
        "queue": queue,
        "foreign": "foreign",
        "count": MESSAGES,
    })
}

pub(super) async fn ask(script: &str, question: Value) -> Value {
    let venv = peers().join("venv").join("bin").join("python");
    let program = if script.ends_with(".py") { venv.into_os_string() } else { "node".into() };
    peer(program, &format!("queues/{script}"), &[question]).await.remove(0)
}

/// An endpoint of kind `smq` of one gateway feeds a queue of another, which is told the event's own id.
#[tokio::test]
async fn one_gateway_feeds_the_queue_of_another() {
    let to = gateway().await;
    let feed = format!(
        "[tenants.acme.endpoints.feed]\nkind = \"smq\"\nurl = \"http://{}\"\nqueue = \"inbox\"\nevent_id = true\n\
         access = {{ id = \"inbox\", secret = \"secret-of-inbox\" }}\n",
        to.accept_address()
    );
    let from = Gateway::start(tenant("acme", KEY) + &feed).await;
    let mut sent = BTreeMap::new();
    for number in 0..20 {
        let data = format!(r#"{{"number": {number}, "text": "café <&>"}}"#);
        sent.insert(from.sender().event("load.sent", &data).await, data);
    }
    let consumer = to.consumer("inbox");
    let mut found = BTreeMap::new();
    while found.len() < sent.len() {
        let messages =
            consumer.receive(json!({ "max": 100, "wait": "30s", "visibility_timeout": "1h" })).await;
        assert!(!messages.is_empty(), "only {} came", found.len());
        for message in messages {
            let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
            found.insert(text("id"), text("data"));
        }
    }
    assert_eq!(found, sent);
    eventually("all to be delivered", async || match from.admin().count("acme", "feed", "delivered").await {
        20 => Ok(()),
        delivered => Err(format!("{delivered} delivered")),
    })
    .await;
}

#[tokio::test]
async fn the_python_sdk_finds_every_operation_as_it_expects() {
    let gateway = gateway().await;
    let told = ask("smq_pull.py", question(&gateway, "manners", "manners")).await;
    let url = format!("http://{}/queues/manners", gateway.accept_address());
    assert_eq!((&told["created"], &told["listed"]), (&json!([204, url]), &json!([url])), "{told}");
    shared_manners(&told);
    let body = |place: &Value| BASE64.decode(place["body"].as_str().unwrap()).unwrap();
    assert_eq!(body(&told["first"]), "café <&>".as_bytes(), "{told}");
    assert_eq!(
        (body(&told["rest"][0]), body(&told["rest"][1])),
        (b"one".to_vec(), b"two".to_vec()),
        "{told}"
    );
    assert_eq!((&told["batch"], &told["no_handles"]), (&json!(2), &json!("ReceiptHandleError")), "{told}");
}

#[tokio::test]
async fn the_javascript_sdk_finds_every_operation_as_it_expects() {
    let gateway = gateway().await;
    let told = ask("smq_pull.cjs", question(&gateway, "manners", "manners")).await;
    let url = format!("http://{}/queues/manners", gateway.accept_address());
    assert_eq!((&told["created"], &told["listed"]), (&json!([204, url]), &json!([url])), "{told}");
    shared_manners(&told);
    assert_eq!((&told["first"], &told["rest"]), (&json!("plain text"), &json!(["b25l", "two"])), "{told}");
    assert_eq!(told["no_handles"], json!(["ReceiptHandleError", "MessageNotExist"]), "{told}");
}

/// What both SDKs see.
fn shared_manners(told: &Value) {
    for (what, wanted) in [
        ("made", json!("AccessDenied")),
        ("attributes", json!(["manners", 30, 0, 0])),
        ("same", Value::Null),
        ("other", json!("AccessDenied")),
        ("deleted_queue", json!("AccessDenied")),
        ("empty", json!("MessageNotExist")),
        ("extended", json!(true)),
        ("again", json!("MessageNotExist")),
        ("no_handle", json!("ReceiptHandleError")),
        ("unknown", json!("QueueNotExist")),
        ("foreign", json!("QueueNotExist")),
        ("wrong_secret", json!("SignatureDoesNotMatch")),
        ("wrong_id", json!("InvalidAccessKeyId")),
    ] {
        assert_eq!(told[what], wanted, "{what} in {told}");
    }
    assert_eq!(told["peeked"].as_array().map(Vec::len), Some(4), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_receives_and_deletes_a_thousand_messages() {
    consume("smq_pull.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_receives_and_deletes_a_thousand_messages() {
    consume("smq_pull.cjs").await;
}

/// The messages that a consumer tells of: id and body.
pub(super) fn messages_of(told: &Value) -> Vec<(String, Vec<u8>)> {
    let text = |message: &Value, name: &str| message[name].as_str().expect("a text").to_owned();
    let messages = told["messages"].as_array().expect("messages");
    let read = |message: &Value| {
        (text(message, "id"), BASE64.decode(text(message, "body")).expect("a body in base64"))
    };
    messages.iter().map(read).collect()
}

async fn consume(script: &str) {
    let gateway = gateway().await;
    let mut sending = JoinSet::new();
    for number in 0..MESSAGES {
        let sender = gateway.sender();
        sending.spawn(async move {
            let data = format!(r#"{{"number":{number},"text":"café <&>"}}"#);
            (sender.event("load.sent", &data).await, data)
        });
    }
    let sent: BTreeMap<String, String> = sending.join_all().await.into_iter().collect();
    let consumer = gateway.consumer("inbox");
    eventually("all messages to be in the queue", async || match consumer.stats().await[0] {
        visible if visible == MESSAGES as u64 => Ok(()),
        visible => Err(format!("{visible} visible")),
    })
    .await;
    let told = ask(script, question(&gateway, "consume", "inbox")).await;
    assert_eq!(told["failed"], Value::Null, "{}", told["failed"]);
    let found: BTreeMap<String, String> = messages_of(&told)
        .into_iter()
        .map(|(id, body)| (id, String::from_utf8(body).expect("text")))
        .collect();
    assert_eq!(found, sent, "every event once, with its exact bytes");
    let gaps: Vec<f64> = told["gaps"].as_array().expect("gaps").iter().filter_map(Value::as_f64).collect();
    println!(
        "{script}: {} messages; {} of them left alone came again after {gaps:?} s",
        found.len(),
        gaps.len()
    );
    assert_eq!((gaps.len(), &told["left"]), (16, &json!(0)), "{gaps:?}");
    // Clocks of two processes may differ by their rounding to a millisecond.
    assert!(gaps.iter().all(|gap| *gap >= HIDDEN - 0.002), "hidden for as long as was said: {gaps:?}");
    assert_eq!((&told["stale"], &told["empty"]), (&json!(["ReceiptHandleError"]), &json!("MessageNotExist")));
    assert_eq!(consumer.stats().await, [0; 4]);
}
