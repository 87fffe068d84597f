//! `kind = "kafka"`.

use std::collections::BTreeMap;

use hookweir_tests::broker::{Broker, KAFKA};

use super::{PLACE, outlives_a_kill};

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
