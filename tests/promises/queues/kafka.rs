//! `kind = "kafka"`.

use std::collections::BTreeMap;

use hookweir_tests::Gateway;
use hookweir_tests::broker::{Broker, KAFKA, PASSWORD, USER};

use super::faults::are_told_apart;
use super::{PLACE, agree, outlives_a_kill, queue};

pub(super) fn lines(broker: &Broker) -> String {
    format!("servers = [\"kafka://{}\"]\ntopic = \"{PLACE}\"", broker.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_kafka_broker_loses_nothing() {
    let mut broker = Broker::start(KAFKA).await;
    broker.prepare(PLACE).await;
    let lines = lines(&broker);
    outlives_a_kill(&mut broker, &lines, "kafka").await;
    let messages = broker.read(PLACE, 1).await;
    let mut partitions = BTreeMap::new();
    for message in &messages {
        // A repetition lies where the first one does.
        let first = partitions.entry(&message.id).or_insert(&message.more["partition"]);
        assert_eq!(*first, &message.more["partition"], "{}", message.id);
    }
    assert_eq!(messages[0].more["headers"]["hookweir-type"], "order.created");
    assert_eq!(messages[0].more["headers"]["content-type"], "application/json");
}

/// Each mechanism, against scramp's side of it; librdkafka's reader goes through the same door.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_login_gets_one() {
    let mut broker = Broker::start(KAFKA).await;
    broker.prepare(PLACE).await;
    let mut sent = Vec::new();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        broker.kill9().await;
        broker.start_again_with_login(mechanism).await;
        let without = lines(&broker);
        let sasl = mechanism.to_lowercase();
        let with = format!("{without}\nsasl = \"{sasl}\"\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"");
        let gateway = Gateway::start(queue("kafka", &with)).await;
        let event = gateway.sender().event("order.created", &format!("\"{mechanism}\"")).await;
        gateway.admin().delivery("acme", &event, "queue", "delivered").await;
        sent.push((event, format!("\"{mechanism}\"")));
        let other = if mechanism == "PLAIN" { "scram-sha-256" } else { "plain" };
        let wrongs = [
            ("wrong password", with.replace(PASSWORD, "wrong"), "refused the credentials"),
            ("another user", with.replace(USER, "nobody"), "refused the credentials"),
            ("another mechanism", with.replace(&sasl, other), mechanism),
            ("no login", without, "does it ask for TLS or a login?"),
        ];
        are_told_apart("kafka", &wrongs).await;
    }
    let messages = broker.read(PLACE, sent.len()).await;
    assert_eq!(messages.len(), sent.len(), "{messages:?}");
    agree(&sent.into_iter().collect(), &messages);
}
