//! `kind = "sqs"`, against a server that keeps nothing over a kill: what it had is read before, and what comes is read
//! after.

use hookweir_tests::Gateway;
use hookweir_tests::broker::{Broker, PASSWORD, USER};

use super::{PLACE, agree, queue, sent};
use crate::ledger::drained;

/// Fewer than for the others: this server takes some twenty messages a second on two processors.
const EVENTS: usize = 1000;

pub(super) fn lines(broker: &Broker, queue: &str) -> String {
    format!(
        "url = \"http://{}/123456789012/{queue}\"\nregion = \"eu-west-1\"\n\
         access = {{ id = \"{USER}\", secret = \"{PASSWORD}\" }}",
        broker.address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_in_the_queue_before_and_after_its_server_was_away() {
    let mut broker = Broker::sqs().await;
    broker.prepare(PLACE).await;
    let gateway = Gateway::start(queue("sqs", &lines(&broker, PLACE))).await;
    let admin = gateway.admin();
    let half = EVENTS / 2;
    let first = sent(&gateway, 0, half).await.into_iter().collect();
    drained(&admin, "queue").await;
    let repeated = agree(&first, &broker.read(PLACE, half).await);
    broker.kill9().await;
    let second = sent(&gateway, half, EVENTS).await.into_iter().collect();
    broker.start_again().await;
    broker.prepare(PLACE).await;
    drained(&admin, "queue").await;
    let repeated = repeated + agree(&second, &broker.read(PLACE, half).await);
    println!("sqs: {EVENTS} acknowledged and read, {repeated} repeated");
    assert_eq!(admin.count("acme", "queue", "delivered").await, EVENTS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_drops_a_repetition() {
    let broker = Broker::sqs().await;
    broker.prepare("hooks.fifo").await;
    let lines = lines(&broker, "hooks.fifo") + "\ngroup_id = \"{tenant}\"";
    let gateway = Gateway::start(queue("sqs", &lines)).await;
    let event = gateway.sender().event("order.created", "1").await;
    let admin = gateway.admin();
    admin.delivery("acme", &event, "queue", "delivered").await;
    admin.post(&format!("/v1/tenants/acme/events/{event}/replay"), "").await.expect(200);
    let detail = admin.delivery("acme", &event, "queue", "delivered").await;
    assert_eq!(detail["delivery"]["attempts"], 2, "{detail}");
    let messages = broker.read("hooks.fifo", 1).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0].more["attributes"]["MessageGroupId"], "acme");
    assert_eq!(messages[0].more["attributes"]["MessageDeduplicationId"], event.as_str());
}
