//! What the gateway holds before it is measured: a day of events of a few tenants, and what became of them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::{Journal as _, Made, NewEvent, Next, Seq, Settlement};
use hookweir_model::{
    Answer, Attempt, Digest, EndpointId, EndpointState, Event, Exchange, Failing, Outcome, PluginCall,
    PluginId, PluginRole, Shaped, Status, Timestamp, Timings,
};
use hookweir_tests::{Config, KEY, endpoint, plugin, tenant};
use serde_json::json;

use crate::filler::{self, BATCH, Filler, lane};

/// The tenants, each with its share of the events in ten thousandths. The last one has an event now and then.
pub(crate) const TENANTS: [(&str, u32); 6] =
    [("acme", 6_000), ("bolt", 2_500), ("cove", 1_000), ("dune", 480), ("elm", 18), ("fern", 2)];
pub(crate) const BUSY: &str = TENANTS[0].0;
pub(crate) const SPARSE: &str = TENANTS[TENANTS.len() - 1].0;

/// A type that one event in ten thousand has.
pub(crate) const RARE_TYPE: &str = "order.disputed";
/// How long ago the first event came.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn key(tenant: &str) -> String {
    format!("{KEY}-{tenant}")
}

/// Each tenant's endpoint `hook` gets what comes while the gateway is measured; the others have a past alone.
pub(crate) fn configuration(receives: &str) -> Config {
    let keep_above = plugin("keep-above");
    let mut text = String::new();
    for (name, _) in TENANTS {
        text += &tenant(name, &key(name));
        text += &format!(
            "[tenants.{name}.plugins.large-only]\nfile = \"{}\"\nconfig = {{ minimum = 100 }}\n",
            keep_above.display()
        );
        for (id, lines) in [
            ("hook", "event_types = [\"bench.event\", \"order.*\", \"invoice.*\"]\nconcurrency = 128"),
            ("billing", "event_types = [\"invoice.*\"]"),
            ("large", "event_types = [\"customer.*\"]\nfilters = [\"large-only\"]"),
            ("flaky", "event_types = [\"stock.*\"]"),
            ("off", "event_types = [\"report.*\"]\nenabled = false"),
        ] {
            let url = format!("http://{receives}/{id}/0");
            text += &endpoint(name, id, &url, lines);
        }
    }
    Config { journal: "max_size = \"100GiB\"\nretention = \"30d\"".to_owned(), ..Config::new(text) }
}

/// Fills the journal until it holds so many deliveries.
pub(crate) async fn fill(gateway: &Path, deliveries: usize) {
    let filler = Filler::open(gateway).await;
    let mut draw = Draw { rng: fastrand::Rng::with_seed(1), plugin: Digest::from_bytes([9; 32]) };
    let end = Timestamp::now();
    let start = end.before(DAY);
    let mut made = 0;
    while made < deliveries {
        let mut events: Vec<NewEvent> = Vec::with_capacity(BATCH);
        let mut fates = Vec::with_capacity(BATCH);
        while made < deliveries && events.len() < BATCH {
            let received = start.after(DAY.mul_f64(made as f64 / deliveries as f64));
            let (event, for_each) = draw.event(received);
            made += for_each.len();
            let endpoint = |(id, _): &(&str, Fate)| EndpointId::new(id).expect("a name");
            events.push(filler::new(event, for_each.iter().map(endpoint).collect()));
            fates.push(for_each);
        }
        let of: Vec<_> = events.iter().map(|new| new.event.clone()).collect();
        let kept = filler.keep(events).await;
        let mut settlements = Vec::with_capacity(BATCH * 2);
        for ((event, seq), for_each) in of.iter().zip(kept).zip(fates) {
            for (endpoint, fate) in for_each {
                settlements.extend(draw.settle(&filler, event, endpoint, seq, fate, end));
            }
        }
        filler.settle(settlements).await;
    }
    let began = Failing { since: end.before(HOUR), running: Duration::ZERO, attempts: 1 };
    let failing = EndpointState { failing: Some(began), ..EndpointState::default() };
    for (name, _) in TENANTS {
        filler.journal.put_endpoint_state(&lane(name, "flaky"), &failing).await.expect("kept");
    }
    filler.close().await;
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Delivered, after so many failures.
    Delivered {
        failures: u32,
    },
    Filtered,
    Exhausted,
    Failed,
    /// To be tried again later.
    Waits {
        failures: u32,
    },
    /// Its endpoint is switched off.
    Untried,
}

/// Draws lots, the same in every run.
struct Draw {
    rng: fastrand::Rng,
    plugin: Digest,
}

impl Draw {
    /// The next event, with what became of it at each of its endpoints.
    fn event(&mut self, received: Timestamp) -> (Event, Vec<(&'static str, Fate)>) {
        let mut lot = self.rng.u32(..10_000);
        let mut share = |(_, share): &&(_, u32)| {
            let is_it = lot < *share;
            lot = lot.saturating_sub(*share);
            is_it
        };
        let (tenant, _) = TENANTS.iter().find(&mut share).expect("shares that add up");
        let number = self.rng.u32(..100_000);
        let subject = format!("customers/{number}");
        let (event_type, for_each) = match self.rng.u32(..100) {
            0..70 => (
                self.of(&["order.created", "order.paid", "order.shipped", "order.returned"]),
                vec![("hook", self.usual())],
            ),
            70..85 => (
                self.of(&["invoice.issued", "invoice.paid"]),
                vec![("hook", self.usual()), ("billing", self.usual())],
            ),
            85..90 => ("customer.updated", vec![("large", self.filtered())]),
            90..96 => ("stock.changed", vec![("flaky", self.troubled())]),
            _ => ("report.ready", vec![("off", Fate::Untried)]),
        };
        let event_type = if self.rng.u32(..10_000) == 0 { RARE_TYPE } else { event_type };
        let note = "x".repeat(self.rng.usize(200..1200));
        let data = json!({ "id": number, "amount": self.rng.u32(..2_000), "currency": "EUR", "note": note });
        let data = Bytes::from(data.to_string());
        let event = filler::event(lane(tenant, "hook").tenant, event_type, received, data);
        (Event { subject: Some(subject), ..event }, for_each)
    }

    fn of(&mut self, types: &[&'static str]) -> &'static str {
        types[self.rng.usize(..types.len())]
    }

    fn usual(&mut self) -> Fate {
        let failures = if self.rng.u32(..100) < 3 { self.rng.u32(1..4) } else { 0 };
        Fate::Delivered { failures }
    }

    fn filtered(&mut self) -> Fate {
        if self.rng.u32(..100) < 80 { Fate::Filtered } else { Fate::Delivered { failures: 0 } }
    }

    fn troubled(&mut self) -> Fate {
        match self.rng.u32(..100) {
            0..30 => Fate::Exhausted,
            30..40 => Fate::Failed,
            40..65 => Fate::Waits { failures: self.rng.u32(1..5) },
            _ => Fate::Delivered { failures: self.rng.u32(1..5) },
        }
    }

    /// The settlements that lead a delivery to its fate.
    fn settle(
        &mut self,
        filler: &Filler,
        event: &Event,
        endpoint: &str,
        seq: Seq,
        fate: Fate,
        now: Timestamp,
    ) -> Vec<Settlement> {
        let endpoint = lane(event.tenant.as_str(), endpoint);
        let finally =
            |status, reason: Option<&str>| Next::Final { status, reason: reason.map(str::to_owned) };
        let later = now.after(HOUR + Duration::from_secs(self.rng.u64(..3600)));
        let failures = match fate {
            Fate::Untried => return Vec::new(),
            Fate::Filtered => {
                let next = finally(Status::Filtered, Some("5 is less than 100"));
                return vec![filler.settlement(
                    &endpoint,
                    seq,
                    None,
                    next,
                    Made { shaped: None, calls: vec![self.call()] },
                )];
            }
            Fate::Delivered { failures } => failures,
            Fate::Waits { failures } => failures - 1,
            Fate::Exhausted => 4,
            Fate::Failed => 0,
        };
        let mut settlements = Vec::new();
        for number in 1..=failures {
            let attempt = self.failure(event, number);
            let next = Next::RetryAt { due: later, reason: attempt.reason.clone() };
            settlements.push(filler.settlement(&endpoint, seq, Some(attempt), next, made(event, number)));
        }
        let number = failures + 1;
        let (attempt, next) = match fate {
            Fate::Delivered { .. } => {
                let mut attempt = attempt(event, number, Outcome::Delivered, Some(200), None);
                if endpoint.endpoint.as_str() == "large" {
                    attempt.plugins = vec![self.call()];
                }
                (attempt, finally(Status::Delivered, None))
            }
            Fate::Waits { .. } => {
                let attempt = self.failure(event, number);
                let reason = attempt.reason.clone();
                (attempt, Next::RetryAt { due: later, reason })
            }
            Fate::Exhausted => {
                let attempt = self.failure(event, number);
                let reason = attempt.reason.clone();
                (attempt, Next::Final { status: Status::Exhausted, reason })
            }
            Fate::Failed | Fate::Filtered | Fate::Untried => {
                let status = if self.rng.u32(..100) == 0 { 404 } else { 400 };
                let reason = "the receiver will not take it";
                let attempt = attempt(event, number, Outcome::Rejected, Some(status), Some(reason));
                (attempt, finally(Status::Failed, Some(reason)))
            }
        };
        let made = if attempt.outcome == Outcome::Delivered { Made::default() } else { made(event, number) };
        settlements.push(filler.settlement(&endpoint, seq, Some(attempt), next, made));
        settlements
    }

    fn failure(&mut self, event: &Event, number: u32) -> Attempt {
        match self.rng.u32(..100) {
            0 => attempt(
                event,
                number,
                Outcome::Unknown,
                None,
                Some("the connection was closed before an answer"),
            ),
            1 => attempt(event, number, Outcome::Blocked, None, Some("the address is not allowed")),
            2..20 => attempt(event, number, Outcome::Retry, None, Some("no answer within 15s")),
            20..40 => attempt(event, number, Outcome::Retry, Some(500), Some("the receiver answered 500")),
            _ => attempt(event, number, Outcome::Retry, Some(503), Some("the receiver answered 503")),
        }
    }

    fn call(&mut self) -> PluginCall {
        PluginCall {
            plugin: PluginId::new("large-only").expect("a name"),
            digest: self.plugin,
            role: PluginRole::Filter,
            micros: self.rng.u64(30..200),
            memory: 1_114_112,
            log: String::new(),
        }
    }
}

fn attempt(
    event: &Event,
    number: u32,
    outcome: Outcome,
    status: Option<u16>,
    reason: Option<&str>,
) -> Attempt {
    let body =
        if status.is_some_and(|status| status >= 400) { "{\"error\":\"try again later\"}" } else { "" };
    Attempt {
        number,
        started: event.received.after(Duration::from_secs(u64::from(number) * 10)),
        duration_ms: 12,
        outcome,
        reason: reason.map(str::to_owned),
        answer: status.map(|status| Answer { status: Some(status), body: body.to_owned() }),
        plugins: Vec::new(),
        exchange: (outcome != Outcome::Delivered).then(|| exchange(event)),
    }
}

/// What is kept of a failed attempt's headers and timings.
fn exchange(event: &Event) -> Box<Exchange> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Box::new(Exchange {
        request_headers: vec![
            header("accept", "*/*"),
            header("content-type", &event.content_type),
            header("host", "hooks.example.com"),
            header("user-agent", "hookweir/0.1.0"),
            header("webhook-id", event.id.as_str()),
            header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            header("webhook-timestamp", "1614265330"),
        ],
        answer_headers: vec![header("content-length", "29"), header("server", "example")],
        timings: Timings { first_byte_us: Some(12_000), ..Timings::default() },
        tried: Vec::new(),
    })
}

/// What is kept with a first failure.
fn made(event: &Event, number: u32) -> Made {
    let shaped =
        Shaped { content_type: event.content_type.clone(), headers: Vec::new(), body: event.data.clone() };
    Made { shaped: (number == 1).then_some(shaped), calls: Vec::new() }
}
