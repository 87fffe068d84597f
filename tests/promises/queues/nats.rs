//! `kind = "nats"`.

use hookweir_tests::broker::{Broker, NATS, PASSWORD, USER};

use super::{PLACE, outlives_a_kill};

pub(super) fn lines(broker: &Broker) -> String {
    format!(
        "servers = [\"nats://{}\"]\nsubject = \"{PLACE}.{{tenant}}.{{type}}\"\nstream = \"{PLACE}\"\n\
         user = \"{USER}\"\npassword = \"{PASSWORD}\"",
        broker.address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_loses_nothing() {
    let mut broker = Broker::start(NATS).await;
    broker.prepare(PLACE).await;
    let lines = lines(&broker);
    outlives_a_kill(&mut broker, &lines, "nats").await;
    let one = broker.read(PLACE, 1).await.remove(0);
    assert_eq!(one.more["subject"], "hooks.acme.order.created");
    assert_eq!(one.more["headers"]["webhook-id"], one.id.as_str());
    assert_eq!(one.more["headers"]["content-type"], "application/json");
}
