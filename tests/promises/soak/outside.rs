//! What is outside of the gateway: receivers with faults, a broker that goes away, and consumers that crash.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookweir_tests::broker::{Broker, Message, REDIS};
use hookweir_tests::{Consumer, KEY, Receiver, Relay, Reply, Request, free_port};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::events::{Endpoint, GLOBEX, NEWS, Which, is_news};

/// What is wrong with a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and asks to be left alone for a second.
    Wait(u16),
    /// Answers after up to so many milliseconds.
    Slow(u64),
    /// Takes the request and never answers.
    Stalled,
    /// Closes the connection in place of an answer.
    Closed,
    /// Its answer's body never ends.
    Dripping,
    /// Refuses connections.
    Refused,
    /// The way back is cut once, and all that is under way with it.
    Cut,
    /// The way back lets nothing through.
    Held,
    /// What it answers is not HTTP.
    Garbled,
}

impl Trouble {
    pub(super) const ALL: [Self; 16] = [
        Self::Nothing,
        Self::Status(500),
        Self::Status(503),
        Self::Status(400),
        Self::Status(404),
        Self::Status(410),
        Self::Wait(503),
        Self::Wait(429),
        Self::Slow(400),
        Self::Stalled,
        Self::Closed,
        Self::Dripping,
        Self::Refused,
        Self::Cut,
        Self::Held,
        Self::Garbled,
    ];
}

/// How often an event came to an endpoint, and how often it was answered by a success, and by 410.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Came {
    pub requests: u32,
    pub successes: u32,
    pub gone: u32,
}

pub(super) type Tally = HashMap<(Endpoint, Which), Came>;

/// A receiver behind a relay. It counts what it was sent, and keeps none of it.
#[derive(Debug)]
pub(super) struct Site {
    relay: Relay,
    trouble: Arc<Mutex<Trouble>>,
    tally: Arc<Mutex<Tally>>,
    _receiver: Receiver,
}

impl Site {
    pub(super) async fn start() -> Self {
        let (trouble, tally) = (Arc::new(Mutex::new(Trouble::Nothing)), Arc::new(Mutex::new(Tally::new())));
        let receiver = Receiver::forgetful({
            let (trouble, tally) = (Arc::clone(&trouble), Arc::clone(&tally));
            move |_, request| reply(*lock(&trouble), &mut lock(&tally), request)
        })
        .await;
        let relay = Relay::start_at(free_port(), receiver.port()).await;
        Self { relay, trouble, tally, _receiver: receiver }
    }

    pub(super) fn url(&self, endpoint: Endpoint) -> String {
        format!("http://{}/{}", self.relay.address(), endpoint.id())
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Has this trouble from now on, and no other.
    pub(super) fn suffer(&self, trouble: Trouble) {
        *lock(&self.trouble) = trouble;
        self.relay.release();
        match trouble {
            Trouble::Refused => self.relay.shut(),
            _ => self.relay.open(),
        }
        match trouble {
            Trouble::Cut => self.relay.cut(),
            Trouble::Held => self.relay.hold(),
            Trouble::Garbled => self.relay.garble(),
            _ => {}
        }
    }
}

fn reply(trouble: Trouble, tally: &mut Tally, request: &Request) -> Reply {
    let reply = match trouble {
        Trouble::Status(status) => Reply::Status(status),
        Trouble::Wait(status) => {
            Reply::Whole(status, vec![("retry-after", "1".to_owned())], Bytes::from_static(b"later"))
        }
        Trouble::Slow(most) => Reply::Slow(Duration::from_millis(fastrand::u64(..most)), 200),
        Trouble::Stalled => Reply::Hang,
        Trouble::Closed => Reply::Close,
        Trouble::Dripping => Reply::Drip(200),
        Trouble::Nothing | Trouble::Refused | Trouble::Cut | Trouble::Held | Trouble::Garbled => {
            Reply::Status(200)
        }
    };
    let endpoint = Endpoint::of(request.path.trim_start_matches('/'));
    let came = tally.entry((endpoint, Which::of(request.event()))).or_default();
    came.requests += 1;
    came.successes += u32::from(matches!(reply, Reply::Status(200) | Reply::Slow(..) | Reply::Drip(_)));
    came.gone += u32::from(matches!(reply, Reply::Status(410)));
    reply
}

/// A broker that goes away.
#[derive(Debug)]
pub(super) struct Store {
    broker: Broker,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Killed,
    Silent,
}

impl Store {
    pub(super) async fn start() -> Self {
        Self { broker: Broker::start(REDIS).await, state: State::Up }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    pub(super) async fn kill(&mut self) {
        self.mend().await;
        self.broker.kill9().await;
        self.state = State::Killed;
    }

    /// It answers nothing, and closes no connection.
    pub(super) async fn fall_silent(&mut self) {
        self.mend().await;
        self.broker.suspend().await;
        self.state = State::Silent;
    }

    pub(super) async fn mend(&mut self) {
        match self.state {
            State::Up => {}
            State::Killed => self.broker.start_again().await,
            State::Silent => self.broker.resume(),
        }
        self.state = State::Up;
    }

    /// All that it holds, read by another's library.
    pub(super) async fn read(&self, stream: &str, wanted: usize) -> Vec<Message> {
        self.broker.read(stream, wanted).await
    }
}

/// The messages that consumers have seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages {
    /// Of each event, by their numbers.
    pub sent: HashMap<Which, BTreeSet<u64>>,
    /// The ids of the gateway's own events.
    pub news: HashSet<String>,
}

/// Consumers of queues that crash: each lives for a moment, and takes its messages along.
#[derive(Debug)]
pub(super) struct Crowd {
    seen: Arc<Mutex<Messages>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many for each of the queues.
    pub(super) fn start(address: &watch::Receiver<SocketAddr>, count: usize) -> Self {
        let seen = Arc::<Mutex<Messages>>::default();
        let mut tasks = Vec::new();
        for queue in QUEUES {
            for _ in 0..count {
                tasks.push(tokio::spawn(live_and_die(queue, address.clone(), Arc::clone(&seen))));
            }
        }
        Self { seen, tasks }
    }

    /// Fails where one of them has panicked; answers what they saw.
    pub(super) async fn end(self) -> Messages {
        for task in self.tasks {
            task.abort();
            assert!(task.await.is_err_and(|error| error.is_cancelled()), "a consumer panicked");
        }
        lock(&self.seen).clone()
    }
}

/// A queue: its tenant, that one's key, its id.
type Queue = (&'static str, &'static str, &'static str);

pub(super) const QUEUES: [Queue; 4] =
    [("acme", KEY, "inbox"), ("globex", GLOBEX, "mail"), ("acme", KEY, NEWS), ("globex", GLOBEX, NEWS)];

async fn live_and_die(
    (tenant, key, queue): Queue,
    address: watch::Receiver<SocketAddr>,
    seen: Arc<Mutex<Messages>>,
) {
    loop {
        let consumer = Consumer::new(*address.borrow(), tenant, key, queue);
        let life = Duration::from_millis(fastrand::u64(1..400));
        // It is cut off wherever it is: with messages in its hands, or with an answer on its way.
        let _ = tokio::time::timeout(life, consume(&consumer, &seen)).await;
    }
}

async fn consume(consumer: &Consumer, seen: &Mutex<Messages>) {
    loop {
        let wanted = json!({ "max": 50, "wait": "1s" }).to_string();
        let messages = match consumer.try_ask("receive", wanted).await {
            Ok(answer) if answer.status == 200 => answer.json()["messages"].clone(),
            // The gateway is gone, stops, has switched the tenant off, or has no room to write down who has what.
            _ => return tokio::time::sleep(Duration::from_millis(50)).await,
        };
        let messages = messages.as_array().expect("messages");
        let receipts: Vec<&Value> = messages.iter().map(|message| &message["receipt"]).collect();
        if receipts.is_empty() {
            continue;
        }
        for message in messages {
            let (id, number) = (message["id"].as_str().expect("an id"), message["number"].as_u64());
            let (mut seen, number) = (lock(seen), number.expect("a number"));
            if is_news(id) {
                seen.news.insert(id.to_owned());
            } else {
                seen.sent.entry(Which::of(id)).or_default().insert(number);
            }
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..5))).await;
        let _ = consumer.try_ask("ack", json!({ "receipts": receipts }).to_string()).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
