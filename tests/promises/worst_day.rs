//! The worst day: all that may go wrong around a gateway goes wrong at once, and ten thousand events are accepted through
//! it. Then all heals, and each of them arrives.
//!
//! The test runs itself in namespaces of its own: a small file system holds configuration, journal and log, and what is
//! outside (receivers and the name server) has addresses that are there or are not, as behind an uplink. Where it is down,
//! one of them has no route, and another is silent until the system gives up.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir_tests::{
    Clock, Config, Gateway, KEY, NameServer, Receiver, Reply, Request, Stderr, endpoint, eventually, plugin,
    tenant,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::disk::Disk;
use crate::ledger::{Event, Ledger, Persistent};
use crate::listeners::{connect, many_connections, post, write_until_full};
use crate::namespace::{block_on, is_inside, run, run_inside_of};

/// What the events and their order are made from.
const SEED: u64 = 19_700_101;
const EVENTS: usize = 10_000;
/// Of the tenant whose file is broken: they are refused until it is mended.
const REFUSED: usize = 100;
/// So many of the first are large.
const LARGE: usize = 40;
const SENDERS: usize = 16;
const GLOBEX: &str = "key-of-the-tenant-with-a-broken-file";
const INITECH: &str = "key-of-the-tenant-with-a-bad-plugin";
/// The addresses that are there while the uplink is: of receivers, the second silent where it is not, and of the name server.
const OUTSIDE: [&str; 3] = ["192.0.2.1", "198.51.100.2", "192.0.2.53"];
/// Takes all that waits twice over.
const DISK_MIB: u32 = 256;
/// Requests that may be under way: 16 for each HTTP endpoint.
const UNDER_WAY: usize = 5 * 16;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const STOP: Duration = Duration::from_secs(10);

const MIB: u64 = 1 << 20;
/// What deliveries may hold, ...
const DISPATCH: u64 = 16 * MIB;
/// ... answers that nobody reads, ...
const ANSWERS: u64 = 64 * MIB;
/// ... and what the process takes beside: connections, what is made and read, the journal's pages, the allocator.
const BESIDE: u64 = 96 * MIB;

/// Endpoints, and whose events they get.
const ENDPOINTS: [(&str, &str); 6] = [
    ("acme", "named"),
    ("acme", "near"),
    ("acme", "inbox"),
    ("initech", "shaped"),
    ("initech", "plain"),
    ("globex", "hook"),
];

#[test]
fn ten_thousand_events_outlive_the_worst_day() {
    run_inside_of(&["--net"], "worst_day::inside");
}

/// Not a test by itself: what the test above runs in its namespaces.
#[test]
fn inside() {
    if is_inside() {
        block_on(worst_day());
    }
}

async fn worst_day() {
    many_connections();
    run("ip", &["link", "set", "lo", "up"]);
    // A line with nobody at its other end.
    run("ip", &["link", "add", "line", "type", "veth", "peer", "name", "end"]);
    run("ip", &["address", "add", "198.51.100.1/24", "dev", "line"]);
    for end in ["line", "end"] {
        run("ip", &["link", "set", end, "up"]);
    }
    let receiver = Receiver::everywhere(|_, _| Reply::Status(200)).await;
    let began = Instant::now();
    let mut day = Day::begin(receiver.port()).await;
    let silent = day.first_half().await;
    day.is_stopped("on a full disk").await;
    drop(silent);
    day.starts_on_a_full_disk().await;
    let silent = day.second_half().await;
    println!("{:5.1} s  {} accepted; refused meanwhile: {:?}", began.elapsed().as_secs_f64(), EVENTS, {
        day.ledger.refused()
    });
    assert_eq!(receiver.count(), 0, "nothing arrives while the uplink is down");
    day.within_budget("at the worst").await;
    drop(silent);

    let _names = day.heal(receiver.port()).await;
    day.all_is_delivered().await;
    println!("{:5.1} s  nothing is pending", began.elapsed().as_secs_f64());
    day.within_budget("when all has arrived").await;
    day.nothing_is_lost_or_switched_off(&receiver).await;
    day.is_stopped("when all is well").await;
    println!("{:5.1} s  ended", began.elapsed().as_secs_f64());
}

struct Day {
    gateway: Gateway,
    /// It goes after the gateway, whose folder it holds.
    disk: Disk,
    clock: Clock,
    address: watch::Sender<SocketAddr>,
    ledger: Arc<Ledger>,
    /// Of the tenant whose file is broken.
    refused: Arc<Ledger>,
    senders: Option<[Persistent; 2]>,
    /// What was resident at the start.
    base: u64,
}

impl Day {
    /// A start in 1970, with an empty `resolv.conf`, a broken file and a bad plugin, and the uplink down.
    async fn begin(port: u16) -> Self {
        let (disk, clock) = (Disk::mount(DISK_MIB), Clock::of_1970());
        let folder = TempDir::new_in(disk.path()).expect("a folder for the gateway");
        Gateway::write_etc(folder.path(), &[("resolv.conf", ""), ("hosts", "")]);
        fs::create_dir(folder.path().join("tenants.d")).expect("a folder for the tenants");
        write(folder.path(), "hookweir.toml", &main_file());
        write(folder.path(), "bad.wasm", "\0asm\x0d\0\x01\0 and something else");
        write(folder.path(), "tenants.d/acme.toml", &acme(port));
        write(folder.path(), "tenants.d/globex.toml", &globex(port).replace("waits", "weights"));
        write(folder.path(), "tenants.d/initech.toml", &initech(port, "../bad.wasm"));
        let gateway = Gateway::start_prepared(folder, &clock, Stderr::File("log")).await;
        let base = gateway.resident();
        let (address, addresses) = watch::channel(gateway.accept_address());
        let (ledger, refused) = <(Arc<Ledger>, Arc<Ledger>)>::default();
        let senders = [
            Persistent::start(&addresses, SENDERS, &ledger, |number| {
                (number < EVENTS).then(|| (event(number), pause(number)))
            }),
            Persistent::start(&addresses, 2, &refused, |number| {
                (number < REFUSED).then(|| (refused_event(number), Duration::ZERO))
            }),
        ];
        Self { disk, clock, gateway, address, ledger, refused, senders: Some(senders), base }
    }

    /// The log is a file on the journal's disk, which is full for a while, and again at the end.
    async fn first_half(&mut self) -> Vec<TcpStream> {
        self.ledger.wait_for(LARGE).await;
        let silent = self.silent_clients().await;
        self.ledger.wait_for(1500).await;
        self.clock.set_right();
        self.ledger.wait_for(3000).await;
        self.fill().await;
        self.gateway.admin().get("/healthz").await.expect(200);
        self.disk.clear();
        self.ledger.wait_for(4500).await;
        self.clock.back(30 * MINUTE);
        self.ledger.wait_for(5500).await;
        self.within_budget("in the first half").await;
        self.fill().await;
        silent
    }

    /// It starts where it has no room, in 1970 once more, and from now on nobody reads its standard error.
    async fn starts_on_a_full_disk(&mut self) {
        self.clock.to_1970();
        self.gateway.log_to(Stderr::Unread);
        self.disk.start_while_full(&mut self.gateway).await;
        self.address.send_replace(self.gateway.accept_address());
        self.gateway.ready().await;
    }

    /// A name server is named, which the uplink would lead to; the clock is set to and fro; a reload reads a broken file.
    async fn second_half(&mut self) -> Vec<TcpStream> {
        let silent = self.silent_clients().await;
        self.ledger.wait_for(6500).await;
        self.gateway.replace_etc("resolv.conf", &format!("nameserver {}\n", OUTSIDE[2]));
        self.clock.set_right();
        self.ledger.wait_for(7500).await;
        let path = self.gateway.folder();
        write(&path, "hookweir.toml", &main_file().replace("[egress]", "[ingress]"));
        let problems = self.metric("hookweir_config_problems").await;
        self.gateway.reload();
        self.clock.forward(10 * DAY);
        self.metric_becomes("hookweir_config_problems", |now| now != problems).await;
        // More lines than the pipe and the gateway's own queue hold.
        while self.metric("hookweir_log_lines_dropped_total").await == 0 {
            let path = format!("/v1/tenants/acme/endpoints/{}/disable", "x".repeat(2000));
            for _ in 0..50 {
                self.gateway.admin().post(&path, "").await.expect(404);
            }
        }
        self.ledger.wait_for(9000).await;
        self.clock.back(20 * DAY);
        self.ledger.wait_for(EVENTS).await;
        silent
    }

    /// Fills the disk until events are refused for it, and lets the log be written to meanwhile.
    async fn fill(&self) {
        self.disk.fill();
        let full = || self.ledger.refused().get(&503).copied().unwrap_or(0);
        let before = full();
        eventually("events to be refused", async || match full() - before {
            0..50 => Err(format!("{:?}, {} accepted", self.ledger.refused(), self.ledger.count())),
            _ => Ok(()),
        })
        .await;
        let path = format!("/v1/tenants/acme/endpoints/{}/disable", "x".repeat(2000));
        self.gateway.admin().post(&path, "").await.expect(404);
    }

    /// SIGTERM ends it in time and in order, whatever is wrong then.
    async fn is_stopped(&mut self, when: &str) {
        let asked = Instant::now();
        let status = self.gateway.terminate().await;
        let took = asked.elapsed();
        println!("SIGTERM {when}: {status} after {:.1} s", took.as_secs_f64());
        assert_eq!(status.code(), Some(0), "SIGTERM {when}");
        assert!(took < STOP, "SIGTERM {when} took {took:?}");
    }

    /// Clients of both listeners that ask for much and read nothing.
    async fn silent_clients(&self) -> Vec<TcpStream> {
        let (accept, admin) = (self.gateway.accept_address(), self.gateway.admin_address());
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        let mut silent = Vec::new();
        for _ in 0..60 {
            for (address, request) in [
                (accept, post("queues/inbox/peek", r#"{"max":100}"#)),
                (admin, get("/v1/tenants/acme/events?limit=500")),
            ] {
                silent.push(unread(address, request.as_bytes()).await);
            }
        }
        for _ in 0..10 {
            silent.push(unread(admin, get("/v1/live").as_bytes()).await);
            for address in [accept, admin] {
                tokio::spawn(async move {
                    let requests = "GET /v1/nothing HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
                    let mut stream = connect(address).await;
                    write_until_full(&mut stream, requests.as_bytes(), 64 << 20).await;
                    // It stays open until the gateway ends it.
                    let _ = stream.readable().await;
                });
            }
        }
        silent
    }

    /// Neither the process nor what it says of itself is over its bound.
    async fn within_budget(&self, when: &str) {
        let held = self.metric("hookweir_dispatch_memory_bytes").await;
        let answers = self.metric("hookweir_listener_bytes{kind=\"answers\"}").await;
        let (peak, most) = (self.gateway.most_resident(), self.base + DISPATCH + ANSWERS + BESIDE);
        println!(
            "{when}: {} KiB held for deliveries, {} MiB for answers; at most {} MiB resident, {} at the start; {} MiB on disk",
            held / 1024,
            answers / MIB,
            peak / MIB,
            self.base / MIB,
            self.metric("hookweir_journal_bytes").await / MIB
        );
        // An attempt that has begun holds what it makes, whatever that is.
        assert!(held <= DISPATCH + 4 * MIB, "{when}: {held} bytes are held for deliveries");
        assert!(answers <= ANSWERS, "{when}: {answers} bytes are held for answers");
        assert!(peak <= most, "{when}: {peak} bytes were resident, {} at the start", self.base);
    }

    /// The uplink and the name server are there, the files are mended and the clock is right. The name server's address
    /// was told before.
    async fn heal(&mut self, port: u16) -> NameServer {
        // What is signed before that is refused by receivers, and sent again.
        self.clock.set_right();
        for address in OUTSIDE {
            run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let zone = |_: &str| vec![OUTSIDE[0].parse::<IpAddr>().expect("an address")];
        let server = NameServer::at(SocketAddr::new(OUTSIDE[2].parse().expect("an address"), 53), zone).await;
        let path = self.gateway.folder();
        write(&path, "hookweir.toml", &main_file());
        write(&path, "tenants.d/globex.toml", &globex(port));
        let good = plugin("keep-above").display().to_string();
        write(&path, "tenants.d/initech.toml", &initech(port, &good));
        self.gateway.reload();
        server
    }

    async fn all_is_delivered(&mut self) {
        for senders in self.senders.take().into_iter().flatten() {
            senders.ended().await;
        }
        assert_eq!((self.ledger.count(), self.refused.count()), (EVENTS, REFUSED));
        eventually("nothing to be pending", async || {
            match self.metric("hookweir_pending_deliveries").await {
                0 => Ok(()),
                pending => Err(format!("{pending}, {}", self.waiting().await)),
            }
        })
        .await;
        self.metric_becomes("hookweir_config_problems", |problems| problems == 0).await;
        assert_eq!(self.metric("hookweir_config_reload_success").await, 1);
    }

    /// What waits, and how its last attempts ended.
    async fn waiting(&self) -> String {
        let mut waiting = String::new();
        for tenant in ["acme", "globex", "initech"] {
            let path = format!("/v1/tenants/{tenant}/deliveries?status=pending&limit=5");
            waiting += &self.gateway.admin().get(&path).await.text();
        }
        waiting
    }

    async fn nothing_is_lost_or_switched_off(&self, receiver: &Receiver) {
        let admin = self.gateway.admin();
        for (tenant, endpoint) in ENDPOINTS {
            let state = admin.json(&format!("/v1/tenants/{tenant}/endpoints/{endpoint}")).await;
            let accepted = expected(tenant).len();
            let deliveries = state["deliveries"].as_object().expect("counts").clone();
            for (status, count) in deliveries {
                let wanted = if status == "delivered" { accepted } else { 0 };
                assert_eq!(count, json!(wanted), "{status} at {tenant}/{endpoint}: {state}");
            }
            assert_eq!((&state["enabled"], &state["disabled"]), (&json!(true), &Value::Null), "{state}");
        }
        assert_eq!(self.metric("hookweir_journal_removed_early_total").await, 0);
        let mut messages = self.read_queue().await;
        assert_eq!(messages.len(), expected("acme").len(), "messages of the queue");
        messages.dedup();
        assert_eq!(messages, expected("acme").into_keys().collect::<Vec<_>>(), "each once");

        let requests = receiver.requests();
        let repeated = arrived(&requests);
        let unknown = self.attempts("unknown").await;
        println!("{} requests, {repeated} of them repeated, {unknown} whose answer was lost", requests.len());
        assert!(repeated as u64 <= unknown, "{repeated} are repeated, and {unknown} answers were lost");
        // What is signed in 1970 would be refused. Those that were on their way when the clock was set are signed by the other.
        let now = Timestamp::now().as_second();
        let by_another = requests.iter().filter(|request| {
            let signed: i64 = request.header("webhook-timestamp").parse().expect("a time");
            !(-5..600).contains(&(now - signed))
        });
        let by_another = by_another.count();
        assert!(by_another <= UNDER_WAY, "{by_another} requests are signed with a wrong time");
    }

    /// The ids of all messages of the queue, in order.
    async fn read_queue(&self) -> Vec<String> {
        let consumer = self.gateway.consumer("inbox");
        let mut ids = Vec::new();
        loop {
            let messages = consumer.receive(json!({ "max": 100 })).await;
            if messages.is_empty() {
                ids.sort_unstable();
                return ids;
            }
            let receipts: Vec<&Value> = messages.iter().map(|message| &message["receipt"]).collect();
            let results = consumer.answer("ack", &receipts, json!({})).await;
            assert!(results.iter().all(|result| result == "done"), "{results:?}");
            ids.extend(messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()));
        }
    }

    /// How many attempts of this life had that outcome.
    async fn attempts(&self, outcome: &str) -> u64 {
        let text = self.gateway.admin().get("/metrics").await.expect(200).text();
        let lines = text.lines().filter(|line| {
            line.starts_with("hookweir_attempts_total{") && line.contains(&format!("outcome=\"{outcome}\""))
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    async fn metric(&self, name: &str) -> u64 {
        self.gateway.admin().metric(name).await
    }

    async fn metric_becomes(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        eventually(&format!("{name} to be as wanted"), async || match self.metric(name).await {
            value if wanted(value) => Ok(()),
            value => Err(value.to_string()),
        })
        .await;
    }
}

/// Sends a request whose answer nobody will read.
async fn unread(address: SocketAddr, request: &[u8]) -> TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = connect(address).await;
    stream.write_all(request).await.expect("the request to be sent");
    stream
}

/// Fails unless each endpoint got each of its events, with its bytes; answers how many requests were repetitions.
fn arrived(requests: &[Request]) -> usize {
    let mut seen: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let sent: HashMap<&str, HashMap<String, String>> =
        ["acme", "globex", "initech"].map(|tenant| (tenant, expected(tenant).into_iter().collect())).into();
    for request in requests {
        let (_, endpoint) = request.path.split_once('/').expect("a path");
        let (tenant, _) = ENDPOINTS.iter().find(|(_, id)| *id == endpoint).expect("a path of ours");
        let wanted = sent[tenant].get(request.event());
        assert_eq!(Some(&request.body), wanted.map(|data| Bytes::from(data.clone())).as_ref(), "{request:?}");
        seen.entry(endpoint).or_default().insert(request.event());
    }
    for (tenant, endpoint) in ENDPOINTS.iter().filter(|(_, endpoint)| *endpoint != "inbox") {
        let (all, there) = (&sent[tenant], &seen[endpoint]);
        let lost: Vec<_> = all.keys().filter(|id| !there.contains(id.as_str())).collect();
        assert!(lost.is_empty(), "{} never came to {endpoint}: {:?}", lost.len(), lost.first());
    }
    requests.len() - seen.values().map(BTreeSet::len).sum::<usize>()
}

/// The data of an event by its number: up to 6 KB but for the first.
fn data(number: usize) -> String {
    let mut random = fastrand::Rng::with_seed(SEED + number as u64);
    let size = if number < LARGE { 400_000 } else { random.usize(0..6000) };
    format!(r#"{{"n":{},"text":"{}"}}"#, random.u32(100..1000), "x".repeat(size))
}

fn event(number: usize) -> Event {
    let (tenant, key) = if number % 5 < 3 { ("acme", KEY) } else { ("initech", INITECH) };
    sent(tenant, key, format!("e{number}"), &data(number))
}

/// So that senders do not outrun the day.
fn pause(number: usize) -> Duration {
    Duration::from_millis(fastrand::Rng::with_seed(number as u64).u64(..40))
}

fn refused_event(number: usize) -> Event {
    sent("globex", GLOBEX, format!("g{number}"), &data(EVENTS + number))
}

fn sent(tenant: &'static str, key: &'static str, id: String, data: &str) -> Event {
    let body = format!(r#"{{"id":"{id}","type":"day.sent","data":{data}}}"#);
    Event { tenant, key, id, body }
}

/// The events of a tenant, by id, with their data.
fn expected(tenant: &str) -> std::collections::BTreeMap<String, String> {
    let events = (0..EVENTS).map(|number| (event(number), data(number)));
    let refused = (0..REFUSED).map(|number| (refused_event(number), data(EVENTS + number)));
    let all = events.chain(refused).filter(|(event, _)| event.tenant == tenant);
    all.map(|(event, data)| (event.id, data)).collect()
}

fn main_file() -> String {
    let mut config = Config::new("");
    config.dispatch = format!("memory = \"{}MiB\"", DISPATCH / MIB);
    config.egress = "allow_cidrs = [\"192.0.2.0/24\", \"198.51.100.0/24\"]\nallow_ports = []".to_owned();
    format!("include = [\"tenants.d/*.toml\"]\n{}", config.text())
}

/// A breaker that is tried soon, so that the test need not wait long when all has healed.
const BREAKER: &str = "breaker = { failures = 10, pause = \"200ms\" }\n";

fn hook(tenant: &str, id: &str, host: &str, port: u16, lines: &str) -> String {
    let lines = format!("secret = \"{SECRET}\"\n{lines}");
    endpoint(tenant, id, &format!("http://{host}:{port}/{id}"), &lines)
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn acme(port: u16) -> String {
    tenant("acme", KEY)
        + &hook("acme", "named", "hooks.example.com", port, BREAKER)
        + &hook("acme", "near", OUTSIDE[1], port, BREAKER)
        + "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\n"
}

fn globex(port: u16) -> String {
    tenant("globex", GLOBEX) + &hook("globex", "hook", OUTSIDE[0], port, "retry = { waits = [\"1h\"] }")
}

/// One of its endpoints has no breaker: each event is tried again every few seconds.
fn initech(port: u16, component: &str) -> String {
    let waits = ["10s"; 30];
    tenant("initech", INITECH)
        + &format!(
            "[tenants.initech.plugins.p]\nfile = {component:?}\nconfig = {{ field = \"n\", minimum = 100 }}\n"
        )
        + &hook("initech", "shaped", OUTSIDE[0], port, &format!("{BREAKER}filters = [\"p\"]"))
        + &hook(
            "initech",
            "plain",
            OUTSIDE[0],
            port,
            &format!("breaker = false\nretry = {{ waits = {waits:?} }}"),
        )
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a file that can be written");
}
