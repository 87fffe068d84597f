//! What goes wrong at a broker is told apart in the attempt, and is tried again as long as an operator can mend it.

use hookweir_tests::broker::{Broker, KAFKA, MQTT, NATS, PASSWORD, RABBITMQ, REDIS, SQS, SQS_ON_DISK, USER};
use hookweir_tests::{Gateway, eventually};
use serde_json::Value;

use super::{PLACE, kafka, mqtt, nats, queue, rabbitmq, redis, sqs};

/// A wrong configuration, and a part of the reason that the attempt must tell.
type Wrong = (&'static str, String, &'static str);

/// Makes one attempt with each configuration, and compares what it tells.
pub(super) async fn are_told_apart(kind: &str, wrongs: &[Wrong]) {
    for (what, lines, part) in wrongs {
        let gateway = Gateway::start(queue(kind, lines)).await;
        let event = gateway.sender().event("order.created", "{}").await;
        let attempt = first_attempt(&gateway, &event).await;
        assert_eq!(attempt["outcome"], "retry", "{kind}, {what}: {attempt}");
        let reason = attempt["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(part), "{kind}, {what}: {reason:?} does not say {part:?}");
        assert!(!reason.contains(PASSWORD), "{reason}");
        println!("{kind}, {what}: {reason}");
    }
}

pub(super) async fn first_attempt(gateway: &Gateway, event: &str) -> Value {
    let path = format!("/v1/tenants/acme/events/{event}/deliveries/queue");
    let admin = gateway.admin();
    eventually("the first attempt", async || {
        let detail = admin.json(&path).await;
        detail["attempts"].get(0).cloned().ok_or_else(|| detail.to_string())
    })
    .await
}

/// A message that the broker takes only in part or not at all ends at once.
pub(super) async fn is_rejected(kind: &str, lines: &str, size: usize, part: &str) {
    let gateway = Gateway::start(queue(kind, lines)).await;
    let event = gateway.sender().event("order.created", &format!("\"{}\"", "x".repeat(size))).await;
    let detail = gateway.admin().delivery("acme", &event, "queue", "failed").await;
    let reason = detail["delivery"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(part), "{kind}: {detail}");
    // The connection is as good as before for others.
    let event = gateway.sender().event("order.created", "1").await;
    gateway.admin().delivery("acme", &event, "queue", "delivered").await;
}

/// A silent broker: nobody knows what became of the message, and the same id goes out again.
async fn is_unknown_while_it_is_silent(kind: &str, lines: &str, broker: &Broker) {
    let gateway = Gateway::start(queue(kind, lines).replace("10s", "1s")).await;
    let before = gateway.sender().event("order.created", "0").await;
    gateway.admin().delivery("acme", &before, "queue", "delivered").await;
    broker.suspend().await;
    let event = gateway.sender().event("order.created", "1").await;
    let attempt = first_attempt(&gateway, &event).await;
    broker.resume();
    assert_eq!(attempt["outcome"], "unknown", "{kind}: {attempt}");
    println!("{kind}, silent: {}", attempt["reason"]);
    gateway.admin().delivery("acme", &event, "queue", "delivered").await;
    is_there(broker, &event, b"1").await;
}

/// Among the broker's messages is the event, with its own bytes.
async fn is_there(broker: &Broker, event: &str, body: &[u8]) {
    eventually("the event at the broker", async || {
        let messages = broker.read(PLACE, 1).await;
        let is_there = messages.iter().any(|message| message.id == event && message.body == body);
        if is_there { Ok(()) } else { Err(format!("{messages:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nats() {
    let mut broker = Broker::start(NATS).await;
    let right = nats::lines(&broker);
    let nobody = right.replace(&format!(":{}", broker.port()), ":1");
    let wrongs = [
        ("no stream", right.clone(), "no stream takes messages of this subject"),
        ("wrong password", right.replace(PASSWORD, "wrong"), "refused the credentials"),
        ("nobody there", nobody, "connection refused"),
    ];
    are_told_apart("nats", &wrongs).await;
    broker.prepare(PLACE).await;
    let other = right.replace(&format!("stream = \"{PLACE}\""), "stream = \"OTHER\"");
    are_told_apart("nats", &[("another stream", other, "another stream than \"OTHER\"")]).await;
    is_rejected("nats", &right, 300_000, "max_msg_size").await;
    is_rejected("nats", &right, 600_000, "max_payload").await;
    is_unknown_while_it_is_silent("nats", &right, &broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_redis() {
    let broker = Broker::start(REDIS).await;
    let right = redis::lines(&broker);
    let nobody = right.replace(&format!(":{}", broker.port()), ":1");
    let wrongs = [
        ("wrong password", right.replace(PASSWORD, "wrong"), "refused the credentials"),
        ("no password", right.replace("password", "# password"), "refused the credentials"),
        ("nobody there", nobody, "connection refused"),
        ("no such database", right.replace("/0", "/99"), "refused the connection"),
    ];
    are_told_apart("redis", &wrongs).await;
    is_unknown_while_it_is_silent("redis", &right, &broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rabbitmq() {
    let mut broker = Broker::start(RABBITMQ).await;
    let right = rabbitmq::lines(&broker);
    let nobody = right.replace(&format!(":{}\"", broker.port()), ":1\"");
    let wrongs = [
        ("no exchange", right.clone(), "the broker has not the exchange \"hooks\""),
        ("wrong password", right.replace(PASSWORD, "wrong"), "refused the credentials"),
        (
            "no virtual host",
            right.replace(&format!("{}\"", broker.port()), &format!("{}/none\"", broker.port())),
            "virtual host \"none\"",
        ),
        ("nobody there", nobody, "connection refused"),
    ];
    are_told_apart("rabbitmq", &wrongs).await;
    broker.prepare(PLACE).await;
    let unroutable = right.replace("hooks.{type}", "nowhere.{type}");
    are_told_apart("rabbitmq", &[("unroutable", unroutable, "no queue takes messages")]).await;
    is_rejected("rabbitmq", &right, 600_000, "max_message_size").await;
    is_unknown_while_it_is_silent("rabbitmq", &right, &broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sqs() {
    let mut broker = Broker::start(SQS).await;
    let right = sqs::lines(&broker, PLACE);
    let nobody = right.replace(&format!(":{}/", broker.port()), ":1/");
    let wrongs = [
        ("no queue", right.clone(), "the queue does not exist"),
        ("nobody there", nobody, "connection refused"),
    ];
    are_told_apart("sqs", &wrongs).await;
    broker.prepare(PLACE).await;
    is_unknown_while_it_is_silent("sqs", &right, &broker).await;
    // From here on, botocore's own code verifies the signatures.
    let (id, secret) = broker.guard().await;
    let key_of = |secret| right.replace(PASSWORD, secret).replace(&format!("\"{USER}\""), &format!("{id:?}"));
    let signed = key_of(secret);
    let wrongs = [
        ("wrong secret", key_of("another"), "the secret is not that of the access key"),
        ("unknown access key", right.clone(), "the access key is not known"),
    ];
    are_told_apart("sqs", &wrongs).await;
    let gateway = Gateway::start(queue("sqs", &signed)).await;
    let event = gateway.sender().event("order.created", "\"signed\"").await;
    gateway.admin().delivery("acme", &event, "queue", "delivered").await;
    is_there(&broker, &event, b"\"signed\"").await;
    // Moto asks no queue for its limit.
    let mut broker = Broker::start(SQS_ON_DISK).await;
    broker.prepare(PLACE).await;
    is_rejected("sqs", &sqs::lines(&broker, PLACE), 300_000, "shorter than 200000 bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_mqtt() {
    let mut broker = Broker::start(MQTT).await;
    let right = mqtt::lines(&broker) + "\nrequire_subscriber = true";
    let nobody = right.replace(&format!(":{}", broker.port()), ":1");
    let wrongs = [
        ("no subscriber", right.clone(), "nobody subscribes to the topic"),
        ("wrong password", right.replace(PASSWORD, "wrong"), "refused the credentials"),
        ("nobody there", nobody, "connection refused"),
    ];
    are_told_apart("mqtt", &wrongs).await;
    broker.prepare(PLACE).await;
    is_rejected("mqtt", &right, 600_000, "maximum packet size").await;
    is_unknown_while_it_is_silent("mqtt", &right, &broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_kafka() {
    let mut broker = Broker::start(KAFKA).await;
    let right = kafka::lines(&broker);
    let nobody = right.replace(&format!(":{}", broker.port()), ":1");
    let wrongs = [
        ("no topic", right.clone(), "the topic \"hooks\" does not exist"),
        ("nobody there", nobody, "connection refused"),
    ];
    are_told_apart("kafka", &wrongs).await;
    broker.prepare(PLACE).await;
    is_unknown_while_it_is_silent("kafka", &right, &broker).await;
}
