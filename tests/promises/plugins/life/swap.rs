//! A component is replaced under load: every event is shaped by the old or the new one, and none is lost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookweir_tests::{Gateway, Receiver, Reply};

use super::{acme, digest, put, says};

const EVENTS: usize = 1_500;
const SENDERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_delivery_is_shaped_by_one_of_the_two_and_none_is_lost() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(acme(&receiver.url("/"), "transformers = [\"p\"]\nconcurrency = 64")).await;
    let words = ["host", "elsewhere"];
    put(&gateway.admin(), &says("host")).await.expect(200);

    let is_over = Arc::new(AtomicBool::new(false));
    let swapping = tokio::spawn({
        let (admin, is_over) = (gateway.admin(), Arc::clone(&is_over));
        async move {
            let mut swaps = 0;
            while !is_over.load(Ordering::SeqCst) {
                swaps += 1;
                put(&admin, &says(words[swaps % 2])).await.expect(200);
            }
            swaps
        }
    });
    let senders = (0..SENDERS).map(|_| {
        let sender = gateway.sender();
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..EVENTS / SENDERS {
                sent.push(sender.event("a.b", "1").await);
            }
            sent
        })
    });
    let mut sent = BTreeSet::new();
    for sender in senders.collect::<Vec<_>>() {
        sent.extend(sender.await.expect("a sender"));
    }
    is_over.store(true, Ordering::SeqCst);
    let swaps = swapping.await.expect("the swaps");

    receiver.wait_for(sent.len()).await;
    let bodies: HashMap<String, String> = receiver
        .requests()
        .iter()
        .map(|request| (request.event().to_owned(), String::from_utf8_lossy(&request.body).into_owned()))
        .collect();
    let mut shaped = HashMap::new();
    for event in &sent {
        let body = bodies.get(event).unwrap_or_else(|| panic!("{event} did not arrive"));
        let delivered = gateway.admin().delivery("acme", event, "hook", "delivered").await;
        let attempt = &delivered["attempts"][0];
        assert!(words.contains(&body.as_str()), "{event}: {body}");
        assert_eq!(attempt["plugins"][0]["digest"], digest(&says(body)), "{event}: {delivered}");
        *shaped.entry(body.clone()).or_insert(0) += 1;
    }
    println!("{swaps} swaps; {shaped:?} of {} events", sent.len());
    assert_eq!(shaped.len(), 2, "both components shaped some of them, over {swaps} swaps");
}
