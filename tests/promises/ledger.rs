//! A load of events, and the ledger of what was acknowledged: the tests that kill or stop the gateway under load.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hookweir_tests::{Admin, KEY, Receiver, Sender, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What senders were told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: Mutex<BTreeSet<String>>,
    /// Requests that ended without a whole answer: their events may or may not have been taken.
    unanswered: AtomicUsize,
    /// Answers other than 202.
    refused: Mutex<BTreeMap<u16, usize>>,
    count: watch::Sender<usize>,
}

impl Ledger {
    pub(crate) fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    pub(crate) fn refused(&self) -> BTreeMap<u16, usize> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `wanted` events are acknowledged.
    pub(crate) async fn wait_for(&self, wanted: usize) {
        let mut count = self.count.subscribe();
        hookweir_tests::within(&format!("{wanted} acknowledged events"), async {
            // The sender of the watch lives as long as this ledger.
            let _ = count.wait_for(|count| *count >= wanted).await;
        })
        .await;
    }

    fn acknowledge(&self, id: String) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.insert(id);
        self.count.send_replace(acknowledged.len());
    }
}

/// The body of an event, by its sender's number and its own.
pub(crate) type Make = Box<dyn Fn(usize, usize) -> String + Send + Sync>;

/// Senders that send one event after the other until their gateway no longer answers.
#[derive(Debug)]
pub(crate) struct Load(JoinSet<()>);

impl Load {
    pub(crate) fn start(accept: SocketAddr, senders: usize, ledger: &Arc<Ledger>) -> Self {
        let body = r#"{"type":"load.sent","data":{"some":"bytes"}}"#;
        Self::start_with(accept, senders, ledger, Box::new(|_, _| body.to_owned()))
    }

    /// The same with other events.
    pub(crate) fn start_with(accept: SocketAddr, senders: usize, ledger: &Arc<Ledger>, make: Make) -> Self {
        let make = Arc::new(make);
        let mut tasks = JoinSet::new();
        for number in 0..senders {
            // A connection of its own for each.
            let sender = Sender::new(accept, "acme", KEY);
            let (make, ledger) = (Arc::clone(&make), Arc::clone(ledger));
            tasks.spawn(send_until_it_ends(sender, move |event| make(number, event), ledger));
        }
        Self(tasks)
    }

    /// Waits until every sender has noticed that the gateway is gone.
    pub(crate) async fn ended(mut self) {
        hookweir_tests::within("the senders to notice that the gateway is gone", async {
            while let Some(ended) = self.0.join_next().await {
                ended.expect("a sender does not panic");
            }
        })
        .await;
    }
}

async fn send_until_it_ends(sender: Sender, make: impl Fn(usize) -> String, ledger: Arc<Ledger>) {
    for number in 0.. {
        match sender.try_post(&[], make(number)).await {
            Ok(answer) if answer.status == 202 => {
                let id = answer.json()["id"].as_str().expect("an id in a 202").to_owned();
                ledger.acknowledge(id);
            }
            Ok(answer) => {
                *ledger
                    .refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(answer.status)
                    .or_default() += 1;
                if answer.status == 503 {
                    // It is ending.
                    return;
                }
            }
            Err(_) => {
                ledger.unanswered.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

/// How often each event arrived.
pub(crate) fn arrivals(receiver: &Receiver) -> HashMap<String, usize> {
    let mut arrivals = HashMap::new();
    for request in receiver.requests() {
        *arrivals.entry(request.event().to_owned()).or_default() += 1;
    }
    arrivals
}

/// Waits until nothing is pending for the endpoint.
pub(crate) async fn drained(admin: &Admin, endpoint: &str) {
    eventually(&format!("nothing to be pending for {endpoint}"), async || {
        match admin.count("acme", endpoint, "pending").await {
            0 => Ok(()),
            pending => Err(format!("{pending} pending")),
        }
    })
    .await;
}
