//! Queue delivery, judged by real brokers and by readers that we did not write.
//!
//! Each kind takes the same test: ten thousand events, and the broker is killed and started again in the middle of them.
//! Every event that was acknowledged must be found in the broker with its exact bytes; an event may be there twice, since an
//! acknowledgement can be lost with the broker, but then under the same id.

mod conformance;
mod faults;
mod kafka;
mod mqtt;
mod nats;
mod pull;
mod pull_hostile;
mod pull_load;
mod pull_smq;
mod rabbitmq;
mod redis;
mod smq;
mod sqs;
mod tls;

use std::collections::{BTreeMap, BTreeSet};

use hookweir_tests::broker::{Broker, Message};
use hookweir_tests::{Gateway, KEY, eventually, tenant};
use tokio::task::JoinSet;

use crate::ledger::drained;

const EVENTS: usize = 10_000;
const SENDERS: usize = 32;

/// Where the events go, in every broker.
const PLACE: &str = "hooks";

/// A tenant with one endpoint, `queue`, which is tried again every second.
fn queue(kind: &str, lines: &str) -> String {
    let waits = vec!["\"1s\""; 50].join(", ");
    tenant("acme", KEY)
        + &format!(
            "[tenants.acme.endpoints.queue]\nkind = \"{kind}\"\n{lines}\nconcurrency = 64\n\
             retry = {{ waits = [{waits}], jitter = 0.0, timeout = \"10s\" }}\n"
        )
}

/// Ten thousand events through a broker that is killed, while they are sent, and started again.
async fn outlives_a_kill(broker: &mut Broker, lines: &str, kind: &str) {
    let gateway = Gateway::start(queue(kind, lines)).await;
    let admin = gateway.admin();
    let first = sent(&gateway, 0, EVENTS / 2).await;
    let kill = async {
        eventually("more than the first half to be delivered", async || {
            let delivered = admin.count("acme", "queue", "delivered").await;
            if delivered > (EVENTS / 2) as u64 { Ok(()) } else { Err(delivered.to_string()) }
        })
        .await;
        if broker.keeps_nothing() {
            gateway.suspend().await;
            broker.is_read(PLACE).await;
        }
        broker.kill9().await;
        gateway.resume();
    };
    let (second, ()) = tokio::join!(sent(&gateway, EVENTS / 2, EVENTS), kill);
    // Some were tried in vain before it is back, so that there is something to outlive.
    eventually("an attempt that the dead broker failed", async || {
        let endpoint = admin.json("/v1/tenants/acme/endpoints/queue").await;
        if endpoint["failing_since"].is_string() { Ok(()) } else { Err(endpoint.to_string()) }
    })
    .await;
    broker.start_again().await;
    drained(&admin, "queue").await;
    let delivered = admin.count("acme", "queue", "delivered").await;

    let sent: BTreeMap<String, String> = first.into_iter().chain(second).collect();
    let messages = broker.read(PLACE, sent.len()).await;
    let copies = agree(&sent, &messages);
    println!(
        "{kind}: {} acknowledged, {delivered} delivered, {} messages read, {} of them repeated",
        sent.len(),
        messages.len(),
        copies
    );
    assert_eq!(delivered, sent.len() as u64, "every delivery has ended as delivered");
}

/// Sends events with numbers from a range; answers each id with the event's data.
async fn sent(gateway: &Gateway, from: usize, to: usize) -> Vec<(String, String)> {
    let mut tasks = JoinSet::new();
    for task in 0..SENDERS {
        let sender = gateway.sender();
        tasks.spawn(async move {
            let mut sent = Vec::new();
            for number in (from..to).skip(task).step_by(SENDERS) {
                let data = format!(
                    "{{ \"number\": {number}.0, \"text\": \"\\u00fc {}\" }}",
                    "ü".repeat(number % 50)
                );
                sent.push((sender.event("order.created", &data).await, data));
            }
            sent
        });
    }
    let mut all = Vec::with_capacity(to - from);
    while let Some(sent) = tasks.join_next().await {
        all.extend(sent.expect("a sender does not panic"));
    }
    all
}

/// Every event is there, with its own bytes and no other's; answers how many messages are repetitions.
fn agree(sent: &BTreeMap<String, String>, messages: &[Message]) -> usize {
    agreed(sent, messages.iter().map(|message| (message.id.as_str(), message.body.as_slice())))
}

/// The same for messages of no matter which reader: id and body.
fn agreed<'a>(sent: &BTreeMap<String, String>, messages: impl Iterator<Item = (&'a str, &'a [u8])>) -> usize {
    let (mut found, mut count) = (BTreeSet::new(), 0);
    for (id, body) in messages {
        let data = sent.get(id).unwrap_or_else(|| panic!("nobody sent {id}"));
        assert_eq!(body, data.as_bytes(), "the bytes of {id}");
        found.insert(id);
        count += 1;
    }
    let lost: Vec<&String> = sent.keys().filter(|id| !found.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "{} acknowledged events are not in the broker: {:?}", lost.len(), lost.first());
    count - found.len()
}
