//! `kind = "mqtt"`.

use hookweir_tests::Gateway;
use hookweir_tests::broker::{Broker, MQTT, PASSWORD, USER};

use super::{PLACE, outlives_a_kill, queue};

pub(super) fn lines(broker: &Broker) -> String {
    format!(
        "url = \"mqtt://{}\"\ntopic = \"{PLACE}/{{tenant}}/{{type}}\"\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"",
        broker.address()
    )
}

/// The broker keeps nothing for a subscriber that is away, so that what comes before it is back must not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_mqtt_broker_loses_nothing() {
    let mut broker = Broker::start(MQTT).await;
    broker.prepare(PLACE).await;
    let lines = lines(&broker) + "\nrequire_subscriber = true";
    outlives_a_kill(&mut broker, &lines, "mqtt").await;
    let one = broker.read(PLACE, 1).await.remove(0);
    assert_eq!(one.more["topic"], "hooks/acme/order.created");
    assert_eq!(one.more["content_type"], "application/json");
    assert_eq!(one.more["headers"]["hookweir-type"], "order.created");
    assert_eq!(one.more["qos"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_subscriber_is_told_that_there_is_none() {
    let broker = Broker::start(MQTT).await;
    let gateway = Gateway::start(queue("mqtt", &lines(&broker))).await;
    let event = gateway.sender().event("order.created", "1").await;
    let detail = gateway.admin().delivery("acme", &event, "queue", "delivered").await;
    let answer = detail["attempts"][0]["answer"]["body"].as_str().unwrap_or_default();
    assert!(answer.ends_with("nobody subscribes to the topic"), "{detail}");
}
