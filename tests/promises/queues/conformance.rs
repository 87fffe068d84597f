//! What every kind of queue keeps, each against its real broker, from which a relay stands apart: a broker that is slow, one
//! that is gone after it took the message, and a gateway that is told to end while an acknowledgement is on its way. Faults
//! of a kind's own are in `faults`, a broker that is killed in each kind's ledger.

use std::collections::BTreeMap;

use hookweir_tests::broker::{Broker, KAFKA, Kind, MQTT, NATS, RABBITMQ, REDIS, SQS};
use hookweir_tests::{Gateway, Relay, eventually};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::{PLACE, agreed, kafka, mqtt, nats, queue, rabbitmq, redis, sent, sqs};

/// More than one batch of any kind, so that some wait for others.
const SLOW: usize = 40;

/// Goes through all cases with an endpoint `queue` whose broker is behind the relay; answers the data of each event by its
/// id, and the one event that may be there twice.
pub(super) async fn keeps_the_contract(config: String, relay: &Relay) -> (BTreeMap<String, String>, String) {
    let mut gateway = Gateway::start(config).await;
    let mut all = BTreeMap::new();
    // There is a connection, so that what is held from now on is the answer to a message.
    let first = sent(&gateway, 0, 1).await;
    for (event, _) in &first {
        gateway.admin().delivery("acme", event, "queue", "delivered").await;
    }
    all.extend(first);

    relay.hold();
    let slow = sent(&gateway, 1, 1 + SLOW).await;
    relay.holds().await;
    relay.release_bytes();
    for (event, _) in &slow {
        let detail = gateway.admin().delivery("acme", event, "queue", "delivered").await;
        assert_eq!(detail["delivery"]["attempts"], 1, "a slow answer is an answer: {detail}");
    }
    all.extend(slow);

    relay.hold();
    let unheard = sent(&gateway, 1 + SLOW, 2 + SLOW).await.remove(0);
    relay.holds().await;
    relay.cut();
    let detail = gateway.admin().delivery("acme", &unheard.0, "queue", "delivered").await;
    println!("a lost answer: {}", detail["attempts"][0]["reason"]);
    assert_eq!(detail["attempts"][0]["outcome"], "unknown", "{detail}");
    assert_eq!(detail["delivery"]["attempts"], 2, "{detail}");

    relay.hold();
    let last = sent(&gateway, 2 + SLOW, 3 + SLOW).await.remove(0);
    relay.holds().await;
    gateway.signal(Signal::TERM);
    let accept = gateway.accept_address();
    eventually("the gateway to accept no more", async || match TcpStream::connect(accept).await {
        Ok(_) => Err("it accepts".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    relay.release();
    assert_eq!(gateway.exited().await.code(), Some(0));
    gateway.start_again().await;
    let detail = gateway.admin().delivery("acme", &last.0, "queue", "delivered").await;
    assert_eq!(detail["delivery"]["attempts"], 1, "what was under way has ended: {detail}");

    let twice = unheard.0.clone();
    all.extend([unheard, last]);
    (all, twice)
}

/// Every event is there once with its own bytes, but for the one whose answer was lost: it may be there twice.
pub(super) fn each_once<'a>(
    (sent, twice): &(BTreeMap<String, String>, String),
    messages: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
) {
    let copies = agreed(sent, messages.clone());
    let of_twice = messages.filter(|(id, _)| id == twice).count();
    assert_eq!(copies, of_twice - 1, "no other event is there twice");
    println!("{} events, {copies} of them repeated", sent.len());
}

async fn of(kind: Kind, name: &str, lines: impl Fn(&Broker) -> String) {
    let mut broker = Broker::start_behind_relay(kind).await;
    broker.prepare(PLACE).await;
    let sent = keeps_the_contract(queue(name, &lines(&broker)), broker.relay()).await;
    let messages = broker.read(PLACE, sent.0.len()).await;
    each_once(&sent, messages.iter().map(|message| (message.id.as_str(), message.body.as_slice())));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nats() {
    of(NATS, "nats", nats::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rabbitmq() {
    of(RABBITMQ, "rabbitmq", rabbitmq::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_redis() {
    of(REDIS, "redis", redis::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_kafka() {
    of(KAFKA, "kafka", kafka::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_mqtt() {
    of(MQTT, "mqtt", mqtt::lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sqs() {
    of(SQS, "sqs", |broker| sqs::lines(broker, PLACE)).await;
}
