//! A receiver is down while events keep coming. When it is back everything arrives, what waited by itself and what had used
//! up its attempts by `recover`, and no faster than the endpoint's `concurrency`, `rate` and breaker allow.

mod bounds;
mod ledger;

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use hookweir_tests::{
    DEADLINE, Gateway, Port, Receiver, Reply, Request, eventually, eventually_by, one_endpoint,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::bounds::Bounds;
use self::ledger::Ledger;

/// So many failures in a row open the breaker, where there is one.
const FAILURES: u64 = 50;
/// Events a second in the long form, ...
const PER_SECOND: u32 = 200;
/// ... for so long.
const LONG: Duration = Duration::from_secs(600);
/// In an ordinary run so many are sent as fast as they are taken, by so many senders.
const EVENTS: usize = 12_000;
const SENDERS: usize = 8;
/// A receiver that has just come back is slow with so many requests.
const SLOW: usize = 320;
/// The longest time between two probes, and the first one that is awaited may have failed.
const PROBES: Duration = Duration::from_secs(600);
/// No answer is lost because a machine is slow.
const PATIENT: &str = "timeout = \"5m\", connect_timeout = \"5m\"";
/// What the log says when a breaker opens.
const OPENED: &str = "its deliveries wait for a probe";

fn is_long() -> bool {
    env::var_os("HOOKWEIR_LONG").is_some()
}

fn endpoint() -> Bounds {
    Bounds { concurrency: 8, per_second: if is_long() { 2 * PER_SECOND } else { 2000 } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_breaker_a_receiver_that_refused_connections_is_probed_and_not_flooded() {
    let (port, pause) = (Port::reserve(), if is_long() { "10s" } else { "500ms" });
    let lines = format!(
        "breaker = {{ failures = {FAILURES}, pause = \"{pause}\" }}\nretry = {{ waits = [], {PATIENT} }}"
    );
    let mut outage = Outage::begin(&port.url("/"), &lines).await;
    eventually("two probes to fail", async || match outage.openings() {
        0..3 => Err(outage.gateway.log()),
        _ => Ok(()),
    })
    .await;
    let (open, gate) = watch::channel(false);
    let back = Back { at: Instant::now(), open, before: 0, first: 1 };
    let receiver = Receiver::at(port, held(gate));
    let ledger = outage.end(&receiver, back).await;
    println!("{ledger}");

    bounds::are_let_out_one_by_one(&receiver.requests());
    let Ledger { failed, recovered, .. } = ledger;
    assert_eq!(recovered, failed, "each had one attempt");
    assert!(failed >= FAILURES, "{failed} attempts failed");
    eventually("each attempt that failed to have opened the breaker or been under way then", async || {
        let probes = outage.openings() as u64 - 1;
        let most = FAILURES + endpoint().concurrency as u64 - 1 + probes;
        if failed <= most { Ok(()) } else { Err(format!("{failed} failed, not {most}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_breaker_a_receiver_that_only_failed_gets_what_was_given_up_by_recover() {
    /// Deliveries that have used up their attempts, before the receiver is back.
    const GIVEN_UP: u64 = 1000;
    let receiver = Receiver::always(Reply::Status(503)).await;
    let lines = format!("breaker = false\nretry = {{ waits = [\"1s\", \"1s\"], jitter = 0, {PATIENT} }}");
    let mut outage = Outage::begin(&receiver.url("/"), &lines).await;
    eventually("deliveries to be given up", async || match outage.count("exhausted").await {
        GIVEN_UP.. => Ok(()),
        fewer => Err(format!("{fewer} are")),
    })
    .await;
    let (open, gate) = watch::channel(false);
    let at = Instant::now();
    let before = receiver.follow(held(gate));
    let back = Back { at, open, before, first: endpoint().concurrency };
    let ledger = outage.end(&receiver, back).await;
    println!("{ledger}");

    let requests = receiver.requests();
    let down = &requests[..before];
    assert_eq!(ledger.failed, before as u64, "each attempt that was counted is one that the receiver saw");
    let last = down.iter().filter(|request| request.header("hookweir-attempt") == "3").count();
    assert_eq!(
        ledger.recovered, last as u64,
        "three attempts were made of each that was given up, and no fourth"
    );
    assert_eq!(ledger.openings, 0);
}

/// Keeps requests waiting until the gate is opened.
fn held(gate: watch::Receiver<bool>) -> impl Fn(usize, &Request) -> Reply + Send + Sync + 'static {
    move |_, _| Reply::Once(gate.clone(), 200)
}

/// A receiver that has just come back and holds what comes.
struct Back {
    at: Instant,
    /// Lets go of what is held.
    open: watch::Sender<bool>,
    /// The requests that it had while it was down.
    before: usize,
    /// So many requests may come before one of them is answered.
    first: usize,
}

/// A gateway whose receiver is down.
struct Outage {
    gateway: Gateway,
    sent: BTreeSet<String>,
    began: Instant,
}

impl Outage {
    /// Sends all events to an endpoint with its bounds and these lines.
    async fn begin(url: &str, lines: &str) -> Self {
        let gateway = Gateway::start(one_endpoint(url, &(endpoint().lines() + lines))).await;
        let began = Instant::now();
        let sent = if is_long() { send_evenly(&gateway).await } else { send_at_once(&gateway).await };
        Self { gateway, sent, began }
    }

    /// Sees to it that everything arrives at the receiver, which is back, and that the endpoint's bounds hold.
    async fn end(&mut self, receiver: &Receiver, back: Back) -> Ledger {
        let Back { at, open, before, first } = back;
        let sender = self.gateway.sender();
        // So that the receiver has enough to hold, whatever was given up.
        for _ in 0..endpoint().concurrency {
            self.sent.insert(sender.event("a.b", "1").await);
        }
        // When all places are taken by what it holds, the journal has the results of all that went before.
        eventually_by(PROBES + DEADLINE, "the first requests since it is back", async || {
            match receiver.count() - before {
                fewer if fewer < first => Err(format!("{fewer} of {first}")),
                _ => Ok(()),
            }
        })
        .await;
        let (exhausted, pending) = (self.count("exhausted").await, self.count("pending").await);
        assert_eq!(exhausted + pending, self.sent.len() as u64, "what is not given up waits");
        let failed = self.attempts("retry").await;
        assert_eq!(self.recover(true).await, exhausted, "a dry run counts what was given up");
        assert_eq!(self.recover(false).await, exhausted, "and what it counted is sent again");
        assert_eq!(self.recover(true).await, 0);

        let answered = receiver.follow(move |number, _| {
            if number <= before + SLOW {
                Reply::Slow(Duration::from_millis(50), 200)
            } else {
                Reply::Status(200)
            }
        });
        assert_eq!(answered - before, first, "no more come while the first are not answered");
        let opened = Instant::now();
        open.send_replace(true);
        self.delivered(receiver, before).await;

        let requests = receiver.requests();
        endpoint().hold(&requests);
        let back = &requests[before..];
        let arrived: BTreeSet<&str> = back.iter().map(Request::event).collect();
        let sent: BTreeSet<&str> = self.sent.iter().map(String::as_str).collect();
        assert!(arrived == sent, "lost: {:?}", sent.difference(&arrived).collect::<Vec<_>>());
        let duplicates = back.len() - arrived.len();
        let unknown = self.attempts("unknown").await;
        assert!(duplicates as u64 <= unknown, "{duplicates} arrived again, {unknown} answers were lost");
        let last = back.iter().map(|request| request.at).max().unwrap_or(opened);
        Ledger {
            bounds: endpoint(),
            down: at - self.began,
            accepted: sent.len(),
            failed,
            openings: self.openings(),
            recovered: exhausted,
            pending,
            arrived: arrived.len(),
            duplicates,
            most_under_way: bounds::most_under_way(back),
            growth: bounds::growth(back),
            most_in_a_second: bounds::most_within(&bounds::times(back), Duration::from_secs(1)),
            until_answered: opened - at,
            drained: last - at,
        }
    }

    /// Waits until all has arrived and the breaker is closed.
    async fn delivered(&self, receiver: &Receiver, before: usize) {
        let all = self.sent.len();
        let patience = DEADLINE + 10 * Duration::from_secs(all as u64) / endpoint().per_second;
        eventually_by(patience, "all to come", async || match receiver.count() - before {
            fewer if fewer < all => Err(format!("{fewer} of {all}")),
            _ => Ok(()),
        })
        .await;
        eventually("all to be delivered", async || match self.count("delivered").await {
            count if count == all as u64 => Ok(()),
            count => Err(format!("{count} of {all}")),
        })
        .await;
        let endpoint = self.endpoint().await;
        assert_eq!(endpoint["breaker"]["state"], "closed", "{endpoint}");
    }

    async fn endpoint(&self) -> Value {
        self.gateway.admin().json("/v1/tenants/acme/endpoints/hook").await
    }

    async fn count(&self, status: &str) -> u64 {
        self.gateway.admin().count("acme", "hook", status).await
    }

    async fn recover(&self, dry_run: bool) -> u64 {
        let body = format!(r#"{{"since":"2020-01-01T00:00:00Z","dry_run":{dry_run}}}"#);
        let answer = self.gateway.admin().post("/v1/tenants/acme/endpoints/hook/recover", &body).await;
        let answer = answer.expect(200).json();
        answer["deliveries"].as_u64().unwrap_or_else(|| panic!("no number in {answer}"))
    }

    /// How many attempts had this outcome.
    async fn attempts(&self, outcome: &str) -> u64 {
        let metrics = self.gateway.admin().get("/metrics").await.expect(200).text();
        let series =
            format!("hookweir_attempts_total{{tenant=\"acme\",endpoint=\"hook\",outcome=\"{outcome}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {series}in\n{metrics}"))
    }

    /// How often the breaker has opened.
    fn openings(&self) -> usize {
        self.gateway.log().lines().filter(|line| line.contains(OPENED)).count()
    }
}

/// Ten minutes' events at their rate.
async fn send_evenly(gateway: &Gateway) -> BTreeSet<String> {
    let (sender, began) = (gateway.sender(), Instant::now());
    let mut sent = BTreeSet::new();
    for number in 0.. {
        let due = began + Duration::from_secs(number) / PER_SECOND;
        if due >= began + LONG {
            break;
        }
        sleep_until(due).await;
        sent.insert(sender.event("a.b", "1").await);
    }
    sleep_until(began + LONG).await;
    sent
}

async fn send_at_once(gateway: &Gateway) -> BTreeSet<String> {
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let sender = gateway.sender();
        senders.spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..EVENTS / SENDERS {
                sent.push(sender.event("a.b", "1").await);
            }
            sent
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}
