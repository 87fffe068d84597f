//! Brokers that speak TLS, with a certificate from an authority that the system does not know.

use hookweir_tests::Gateway;
use hookweir_tests::broker::{Broker, KAFKA, Kind, MQTT, NATS, RABBITMQ, REDIS};

use super::faults::first_attempt;
use super::{PLACE, kafka, mqtt, nats, queue, rabbitmq, redis};

/// Delivers with `ca`, and nothing without it; `schemes` are those without and with TLS.
async fn is_spoken(kind: Kind, name: &str, schemes: [&str; 2], lines: impl Fn(&Broker) -> String) {
    let mut broker = Broker::start(kind).await;
    // Nobody could read what Mosquitto was given: it speaks TLS with readers too, and keeps nothing.
    let keeps = name != "mqtt";
    if keeps {
        broker.prepare(PLACE).await;
    }
    broker.kill9().await;
    let authority = broker.start_again_with_tls().await;
    let clear = lines(&broker);
    let [scheme, with_tls] = schemes.map(|scheme| format!("{scheme}://"));
    let distrusted = clear.replace(&scheme, &with_tls);
    let trusted = format!("{distrusted}\nca = {authority:?}");

    for (what, lines, part) in [("no authority", &distrusted, "TLS: "), ("clear text", &clear, "")] {
        let gateway = Gateway::start(queue(name, lines)).await;
        let event = gateway.sender().event("order.created", "0").await;
        let attempt = first_attempt(&gateway, &event).await;
        assert_ne!(attempt["outcome"], "delivered", "{name}, {what}: {attempt}");
        let reason = attempt["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(part), "{name}, {what}: {reason:?} does not say {part:?}");
        println!("{name}, {what}: {reason}");
    }

    let gateway = Gateway::start(queue(name, &trusted)).await;
    let event = gateway.sender().event("order.created", "1").await;
    gateway.admin().delivery("acme", &event, "queue", "delivered").await;
    if keeps {
        broker.kill9().await;
        broker.start_again_without_tls().await;
        let messages = broker.read(PLACE, 1).await;
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!((message.id.as_str(), message.body.as_slice()), (event.as_str(), &b"1"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_nats() {
    is_spoken(NATS, "nats", ["nats", "tls"], nats::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_rabbitmq() {
    is_spoken(RABBITMQ, "rabbitmq", ["amqp", "amqps"], rabbitmq::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_redis() {
    is_spoken(REDIS, "redis", ["redis", "rediss"], redis::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_kafka() {
    is_spoken(KAFKA, "kafka", ["kafka", "kafkas"], kafka::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_mqtt() {
    is_spoken(MQTT, "mqtt", ["mqtt", "mqtts"], mqtt::lines).await;
}
