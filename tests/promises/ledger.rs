//! A load of events, and the ledger of what was acknowledged: the tests that kill or stop the gateway under load. Senders
//! end with their gateway, or go on over all that happens to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// Events that were acknowledged as new: not those of which the gateway said that it had them already.
    new: AtomicUsize,
    /// Those of them that were sent before, and not answered: the gateway may have had them, and removed them since.
    sent_again: Mutex<BTreeSet<String>>,
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

    /// How many were acknowledged as new so far.
    pub(crate) fn as_new(&self) -> usize {
        self.new.load(Ordering::SeqCst)
    }

    /// The events that were acknowledged as new after they had been sent without an answer.
    pub(crate) fn sent_again(&self) -> BTreeSet<String> {
        self.sent_again.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many are acknowledged.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
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

    fn refuse(&self, status: u16) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
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
                ledger.refuse(answer.status);
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

/// An event that is sent until it is acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub tenant: &'static str,
    pub key: &'static str,
    pub id: String,
    pub body: String,
}

/// How long a sender waits before it repeats an event.
const REPEAT: Duration = Duration::from_millis(50);

/// Senders that repeat each event under its id until it is acknowledged: where it is refused, where no answer comes, and
/// at the gateway's next address.
#[derive(Debug)]
pub(crate) struct Persistent(JoinSet<()>);

impl Persistent {
    /// `events` makes the event of a number, from 0 on, and the pause before it; nothing where there are no more.
    pub(crate) fn start(
        address: &watch::Receiver<SocketAddr>,
        senders: usize,
        ledger: &Arc<Ledger>,
        events: impl Fn(usize) -> Option<(Event, Duration)> + Send + Sync + 'static,
    ) -> Self {
        let (events, next) = (Arc::new(events), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..senders {
            let (events, next) = (Arc::clone(&events), Arc::clone(&next));
            let mut way = Way { address: address.clone(), senders: HashMap::new() };
            let ledger = Arc::clone(ledger);
            tasks.spawn(async move {
                while let Some((event, pause)) = events(next.fetch_add(1, Ordering::SeqCst)) {
                    tokio::time::sleep(pause).await;
                    send_until_it_is_acknowledged(&event, &mut way, &ledger).await;
                }
            });
        }
        Self(tasks)
    }

    /// Waits until all events are acknowledged.
    pub(crate) async fn ended(self) {
        hookweir_tests::within("all events to be acknowledged", self.0.join_all()).await;
    }
}

/// Connections of one sender, which end where the gateway gets another address.
struct Way {
    address: watch::Receiver<SocketAddr>,
    senders: HashMap<&'static str, Sender>,
}

impl Way {
    fn sender(&mut self, tenant: &'static str, key: &str) -> &Sender {
        // The other side of the watch may be gone with its test.
        if self.address.has_changed().unwrap_or(false) {
            self.senders.clear();
        }
        let address = *self.address.borrow_and_update();
        self.senders.entry(tenant).or_insert_with(|| Sender::new(address, tenant, key))
    }
}

async fn send_until_it_is_acknowledged(event: &Event, way: &mut Way, ledger: &Ledger) {
    let mut is_unanswered = false;
    loop {
        match way.sender(event.tenant, event.key).try_post(&[], event.body.clone()).await {
            Ok(answer) if answer.status == 202 => {
                let answer = answer.json();
                assert_eq!(answer["id"], event.id.as_str(), "{answer}");
                if answer["duplicate"] == false {
                    ledger.new.fetch_add(1, Ordering::SeqCst);
                    if is_unanswered {
                        let mut again = ledger.sent_again.lock().unwrap_or_else(PoisonError::into_inner);
                        again.insert(event.id.clone());
                    }
                }
                return ledger.acknowledge(event.id.clone());
            }
            Ok(answer) => ledger.refuse(answer.status),
            Err(_) => {
                is_unanswered = true;
                ledger.unanswered.fetch_add(1, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(REPEAT).await;
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
