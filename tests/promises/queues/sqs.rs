//! `kind = "sqs"`.

use hookweir_tests::Gateway;
use hookweir_tests::broker::{Broker, PASSWORD, SQS, SQS_ON_DISK, USER};

use super::{PLACE, outlives_a_kill, queue};

pub(super) fn lines(broker: &Broker, queue: &str) -> String {
    format!(
        "url = \"http://{}/123456789012/{queue}\"\nregion = \"eu-west-1\"\n\
         access = {{ id = \"{USER}\", secret = \"{PASSWORD}\" }}",
        broker.address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sqs_server_loses_nothing() {
    let mut broker = Broker::start(SQS_ON_DISK).await;
    broker.prepare(PLACE).await;
    let lines = lines(&broker, PLACE);
    outlives_a_kill(&mut broker, &lines, "sqs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_drops_a_repetition() {
    let mut broker = Broker::start(SQS).await;
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
