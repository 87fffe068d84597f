//! How the cost of an event grows with what the gateway holds: tenants, endpoints, pending deliveries, history.
//!
//! `cargo run --release -p hookweir-tests --example growth [PART...]`, after `cargo build --release`; parts are
//! `tenants`, `endpoints`, `pending`, `history`, `together`. `--small` takes a hundredth of every number.
//!
//! Each row is a gateway of its own whose journal was filled beforehand. It accepts events of 1 KiB from 64 senders and
//! delivers them, signed, and its processor time is divided by their number. The gateway of the first line is empty and
//! has one tenant with one endpoint; it is measured anew beside each row, so that the ratio is one of neighbours in
//! time. The bench's own load and receiver are used (`hookweir bench --role`).

mod filler;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir_journal::{Made, NewEvent, Next};
use hookweir_model::{Attempt, EndpointKey, Outcome, Status, Timestamp};
use hookweir_tests::{Config, Gateway, KEY, Servant, endpoint, eventually, tenant};
use serde_json::json;

use self::filler::{BATCH, Filler, lane};

const SENDERS: usize = 64;
/// Measured events of a row, after a tenth of them that are not.
const EVENTS: u64 = 60_000;
/// What a row's first tenant is called; the next are `acme-1` and so on.
const TENANT: &str = "acme";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a gateway holds.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    tenants: usize,
    /// Of the first tenant, that want nothing of what is sent.
    idle_endpoints: usize,
    /// Deliveries to an endpoint that is switched off.
    pending: usize,
    /// Events that were delivered.
    history: usize,
}

impl Size {
    const EMPTY: Self = Self { tenants: 1, idle_endpoints: 0, pending: 0, history: 0 };

    fn scaled(self, by: usize) -> Self {
        Self {
            tenants: self.tenants.div_ceil(by),
            idle_endpoints: self.idle_endpoints / by,
            pending: self.pending / by,
            history: self.history / by,
        }
    }
}

const PARTS: [(&str, &[Size]); 5] = [
    ("tenants", &[Size { tenants: 1_000, ..Size::EMPTY }, Size { tenants: 10_000, ..Size::EMPTY }]),
    (
        "endpoints",
        &[Size { idle_endpoints: 10_000, ..Size::EMPTY }, Size { idle_endpoints: 100_000, ..Size::EMPTY }],
    ),
    ("pending", &[Size { pending: 1_000_000, ..Size::EMPTY }, Size { pending: 5_000_000, ..Size::EMPTY }]),
    ("history", &[Size { history: 1_000_000, ..Size::EMPTY }, Size { history: 10_000_000, ..Size::EMPTY }]),
    ("together", &[Size { tenants: 10_000, idle_endpoints: 0, pending: 1_000_000, history: 10_000_000 }]),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let by = if words.iter().any(|word| word == "--small") { 100 } else { 1 };
    words.retain(|word| word != "--small");
    if let Some(word) = words.iter().find(|word| !PARTS.iter().any(|(name, _)| name == word)) {
        let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no part {word:?}: give some of {}", names.join(", "));
        std::process::exit(2);
    }
    let mut rig = Rig::start().await;
    println!("{HEAD}");
    for (_, sizes) in
        PARTS.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| word == name))
    {
        for size in *sizes {
            let size = size.scaled(by);
            let (before, _) = rig.row(Size::EMPTY).await;
            let (measured, row) = rig.row(size).await;
            let (after, _) = rig.row(Size::EMPTY).await;
            let empty = f64::midpoint(before, after);
            println!("{row}  {empty:10.1}  {:5.2}", measured / empty);
        }
    }
}

const HEAD: &str = "tenants  endpoints    pending     history   ready ms  reload ms  idle MiB  busy MiB  events/s  us/event  us, empty  ratio";

/// The processes beside the gateway.
struct Rig {
    load: Servant,
    _receiver: Servant,
    receives: SocketAddr,
}

impl Rig {
    async fn start() -> Self {
        let (receiver, receives) = Servant::receiver().await;
        Self { load: Servant::start("load"), _receiver: receiver, receives }
    }

    /// Measures a gateway that holds so much: processor time an event in microseconds, and its line.
    async fn row(&mut self, size: Size) -> (f64, String) {
        let config = configuration(size, self.receives);
        let mut gateway = Gateway::start(config.clone()).await;
        gateway.terminate().await;
        fill(&gateway.folder(), size).await;
        let started = Instant::now();
        gateway.start_again().await;
        let ready = started.elapsed();
        let idle = mebibytes(&gateway);
        let reload = reload(&gateway, &config).await;
        self.send(&gateway, size, EVENTS / 10).await;
        let (before, started) = (processor(&gateway), Instant::now());
        self.send(&gateway, size, EVENTS).await;
        let (took, wall) = (processor(&gateway).saturating_sub(before), started.elapsed());
        let each = took.as_secs_f64() * 1e6 / EVENTS as f64;
        let Size { tenants, idle_endpoints, pending, history } = size;
        let endpoints = tenants + idle_endpoints;
        let row = format!(
            "{tenants:7}  {endpoints:9}  {pending:9}  {history:10}  {:9.0}  {:9.0}  {idle:8.1}  {:8.1}  {:8.0}  {each:8.1}",
            ready.as_secs_f64() * 1e3,
            reload.as_secs_f64() * 1e3,
            mebibytes(&gateway),
            EVENTS as f64 / wall.as_secs_f64(),
        );
        gateway.terminate().await;
        (each, row)
    }

    /// Sends events, in turn from all tenants, and waits until all are delivered.
    async fn send(&mut self, gateway: &Gateway, size: Size, events: u64) {
        let sender =
            |number| json!({ "path": format!("/v1/tenants/{}/events", name(number)), "key": key(number) });
        let plan = json!({
            "address": gateway.accept_address(),
            "tenants": (0..size.tenants).map(sender).collect::<Vec<_>>(),
            "event_type": "bench.event",
            "payload": 1024,
            "connections": SENDERS,
            "fan_out": 1,
            "rate": null,
            "until": { "Sent": events },
        });
        let outcome = self.load.ask(&plan).await;
        assert_eq!(outcome["refused"], 0, "{outcome}");
        let admin = gateway.admin();
        eventually("all to be delivered", async || {
            let text = admin.get("/metrics").await.expect(200).text();
            let pending = text.lines().find_map(|line| line.strip_prefix("hookweir_pending_deliveries "));
            match pending.and_then(|count| count.parse::<f64>().ok()) {
                Some(count) if count <= size.pending as f64 => Ok(()),
                count => Err(format!("{count:?} pending")),
            }
        })
        .await;
    }
}

fn name(tenant: usize) -> String {
    if tenant == 0 { TENANT.to_owned() } else { format!("{TENANT}-{tenant}") }
}

fn key(tenant: usize) -> String {
    format!("{KEY}-{tenant}")
}

fn configuration(size: Size, receives: SocketAddr) -> Config {
    let signed = format!("secret = \"{SECRET}\"\nevent_types = [\"bench.event\"]\nconcurrency = 128");
    let mut text = String::new();
    for number in 0..size.tenants {
        let name = name(number);
        text += &tenant(&name, &key(number));
        text += &endpoint(&name, "hook", &format!("http://{receives}/hook/0"), &signed);
    }
    let off = "event_types = [\"bench.off\"]\nenabled = false";
    text += &endpoint(TENANT, "off", &format!("http://{receives}/hook/off"), off);
    for number in 0..size.idle_endpoints {
        let wants = format!("event_types = [\"idle.e{number}\"]");
        text += &endpoint(TENANT, &format!("idle-{number}"), &format!("http://{receives}/hook/idle"), &wants);
    }
    Config { journal: "max_size = \"100GiB\"".to_owned(), ..Config::new(text) }
}

/// Puts events into a gateway's journal while it is not running.
async fn fill(gateway: &Path, size: Size) {
    if size.pending + size.history == 0 {
        return;
    }
    let filler = Filler::open(gateway).await;
    for start in (0..size.history).step_by(BATCH) {
        let lanes: Vec<_> = (start..size.history.min(start + BATCH))
            .map(|number| lane(&name(number % size.tenants), "hook"))
            .collect();
        let kept = filler.keep(lanes.iter().map(event).collect()).await;
        let settle = |(lane, seq)| {
            let attempt = Attempt {
                number: 1,
                started: Timestamp::now(),
                duration_ms: 3,
                outcome: Outcome::Delivered,
                reason: None,
                answer: None,
                plugins: Vec::new(),
                exchange: None,
            };
            let next = Next::Final { status: Status::Delivered, reason: None };
            filler.settlement(lane, seq, Some(attempt), next, Made::default())
        };
        filler.settle(lanes.iter().zip(kept).map(settle).collect()).await;
    }
    let off = lane(TENANT, "off");
    for start in (0..size.pending).step_by(BATCH) {
        let count = BATCH.min(size.pending - start);
        filler.keep((0..count).map(|_| event(&off)).collect()).await;
    }
    filler.close().await;
}

fn event(lane: &EndpointKey) -> NewEvent {
    let data = Bytes::from_static(&[b'1'; 1024]);
    let event = filler::event(lane.tenant.clone(), "bench.event", Timestamp::now(), data);
    filler::new(event, vec![lane.endpoint.clone()])
}

/// How long it takes until a changed configuration is in force: one more tenant, told by its key.
async fn reload(gateway: &Gateway, config: &Config) -> Duration {
    let other = "a-key-of-the-new-tenant";
    let tenants = config.tenants.clone() + &tenant("new", other);
    gateway.reconfigure(Config { tenants, ..config.clone() });
    let admin = gateway.admin().with_token(other);
    let started = Instant::now();
    gateway.reload();
    eventually("the new configuration", async || match admin.try_get("/v1/tenants/new/endpoints").await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.to_string()),
    })
    .await;
    started.elapsed()
}

fn mebibytes(gateway: &Gateway) -> f64 {
    gateway.resident() as f64 / f64::from(1 << 20)
}

/// Processor time that the gateway has used, in ticks of 10 ms.
fn processor(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.id())).expect("its account");
    let ticks = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(12).take(2);
    Duration::from_millis(10 * ticks.map(|text| text.parse::<u64>().expect("ticks")).sum::<u64>())
}
