//! What readers see of a gateway that holds much and takes in events, and what its senders feel of the readers.
//!
//! `cargo run --release -p hookweir-tests --example readers [--deliveries N] [--rounds N] [--seconds N] [--readers N]
//! [--reads N] [--events N]`, after `cargo build --release`
//!
//! A gateway whose journal was filled with a day of events takes in 2,000 events a second at a fixed rate, whatever the
//! answers do; a latency runs from when an event was due. In turn it does so alone, and while readers ask for every list,
//! detail and page, each reader 20 times a second. At last one reader asks without a pause. The bench's own load and receiver
//! are used (`hookweir bench --role`). It fails where an answer is not a 200 or an event is lost, and not by the clock.

mod figures;
#[path = "../filler/mod.rs"]
mod filler;
mod history;
mod pages;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir_tests::{Admin, Gateway, Servant, eventually};
use serde_json::{Value, json};

use self::figures::{Asked, Round};
use self::pages::Page;
use self::reading::Reading;

/// Senders' connections: enough that an event is rarely due while none is free.
const CONNECTIONS: usize = 64;
/// How many times a usual run's seconds the run takes whose reader does not pause.
const UNPAUSED: u64 = 6;

#[derive(Debug, Clone, Copy)]
struct Options {
    deliveries: usize,
    rounds: usize,
    seconds: u64,
    readers: usize,
    /// Of each reader, in a second.
    reads: u32,
    events: u32,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options =
            Self { deliveries: 1_000_000, rounds: 3, seconds: 10, readers: 1, reads: 20, events: 2_000 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} takes a number"))?;
            let number: u32 = value.parse().map_err(|error| format!("{word} {value}: {error}"))?;
            if number == 0 {
                return Err(format!("{word} takes a number above 0"));
            }
            match word.as_str() {
                "--deliveries" => options.deliveries = number as usize,
                "--rounds" => options.rounds = number as usize,
                "--seconds" => options.seconds = number.into(),
                "--readers" => options.readers = number as usize,
                "--reads" => options.reads = number,
                "--events" => options.events = number,
                _ => return Err(format!("there is no option {word}")),
            }
        }
        Ok(options)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let options = Options::read().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let mut rig = Rig::start(options).await;
    println!("{}", stored(&rig.admin).await);
    let pages: Arc<[Page]> = pages::gather(&rig.admin).await.into();
    // What is done for the first time (connections, caches) is not measured.
    rig.run(&pages, Duration::from_secs(2), None).await;
    let mut asked = Asked::new(&pages);
    println!("{}", figures::ROUNDS);
    let usual = Duration::from_secs(options.seconds);
    let pause = Duration::from_secs(1) / options.reads;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let alone = rig.run(&pages, usual, None).await;
        let reading = Reading { readers: options.readers, pause: Some(pause) };
        let beside = rig.run(&pages, usual, Some((reading, &mut asked))).await;
        let round = Round { alone, beside };
        println!("{round}");
        rounds.push(round);
    }
    let without_pause = Reading { readers: 1, pause: None };
    let length = usual * u32::try_from(UNPAUSED).unwrap_or(1);
    let beside = rig.run(&pages, length, Some((without_pause, &mut asked))).await;
    println!("{}\n", figures::unpaused(&beside));
    print!("{asked}");
    println!("\n{}", stored(&rig.admin).await);
    figures::judge(&rounds, &asked).iter().for_each(|line| println!("{line}"));
    rig.gateway.terminate().await;
}

/// The gateway and the processes beside it.
struct Rig {
    options: Options,
    gateway: Gateway,
    admin: Admin,
    load: Servant,
    receiver: Servant,
    /// Deliveries that wait for something other than the receiver.
    waiting: u64,
}

impl Rig {
    async fn start(options: Options) -> Self {
        let (receiver, receives) = Servant::receiver().await;
        let mut gateway = Gateway::start(history::configuration(&receives.to_string())).await;
        gateway.terminate().await;
        let started = Instant::now();
        history::fill(&gateway.folder(), options.deliveries).await;
        println!("filled in {:.0} s", started.elapsed().as_secs_f64());
        gateway.start_again().await;
        let admin = gateway.admin();
        let waiting = pending(&admin).await;
        Self { options, gateway, admin, load: Servant::start("load"), receiver, waiting }
    }

    /// Offers events for so long, all of which have to arrive, while readers read.
    async fn run(
        &mut self,
        pages: &Arc<[Page]>,
        length: Duration,
        reading: Option<(Reading, &mut Asked)>,
    ) -> figures::Run {
        self.receiver.ask(&json!("Begin")).await;
        let plan = self.plan(length);
        let (outcome, reads) = match reading {
            None => (self.load.ask(&plan).await, 0),
            Some((reading, asked)) => {
                let before = asked.calls();
                let outcome = reading.during(&self.admin, pages, asked, self.load.ask(&plan)).await;
                (outcome, asked.calls() - before)
            }
        };
        assert_eq!(outcome["refused"], 0, "{outcome}");
        let (admin, waiting) = (&self.admin, self.waiting);
        eventually("all to be delivered", async || match pending(admin).await {
            pending if pending <= waiting => Ok(()),
            pending => Err(format!("{pending} are pending")),
        })
        .await;
        let report = self.receiver.ask(&json!("Report")).await;
        assert_eq!(report["Report"]["arrived"], outcome["expected"], "events were lost");
        let ms = |name: &str| outcome["latency"][name].as_f64().unwrap_or_else(|| panic!("{outcome}"));
        let seconds = outcome["seconds"].as_f64().unwrap_or(f64::NAN);
        let accepted = outcome["accepted"].as_f64().unwrap_or(f64::NAN);
        figures::Run { rate: accepted / seconds, p50: ms("p50_ms"), p99: ms("p99_ms"), reads }
    }

    fn plan(&self, length: Duration) -> Value {
        let sender =
            |(name, _)| json!({ "path": format!("/v1/tenants/{name}/events"), "key": history::key(name) });
        json!({
            "address": self.gateway.accept_address(),
            "tenants": history::TENANTS.map(sender),
            "event_type": "bench.event",
            "payload": 1024,
            "connections": CONNECTIONS,
            "fan_out": 1,
            "rate": self.options.events,
            "until": { "Elapsed": { "secs": length.as_secs(), "nanos": length.subsec_nanos() } },
        })
    }
}

async fn pending(admin: &Admin) -> u64 {
    admin.json("/readyz").await["pending"].as_u64().expect("a number")
}

/// What the gateway says that it holds.
async fn stored(admin: &Admin) -> String {
    let (mut all, mut by_status) = (0, std::collections::BTreeMap::<String, u64>::new());
    for (tenant, _) in history::TENANTS {
        for endpoint in admin.list(&format!("/v1/tenants/{tenant}/endpoints")).await {
            for (status, count) in endpoint["deliveries"].as_object().expect("counts") {
                let count = count.as_u64().expect("a number");
                all += count;
                *by_status.entry(status.clone()).or_default() += count;
            }
        }
    }
    by_status.retain(|_, count| *count > 0);
    let counts: Vec<_> = by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
    format!("{all} stored deliveries of {} tenants: {}", history::TENANTS.len(), counts.join(", "))
}
