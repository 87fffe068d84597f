//! `hookweir bench`: load, gateway, receiver and a bare relay in one run, and what the gateway costs as a ratio to the
//! relay.
//!
//! Each of the four is a process of its own, all started from this executable, on loopback. The gateway is the real
//! one, `hookweir serve` with a durable journal, measured through its sockets; nothing here reaches into it. How to read
//! the figures is in `docs/performance.md`.

mod control;
mod disk;
mod gateway;
mod load;
mod process;
mod progress;
mod receiver;
mod relay;
mod report;
mod rig;
mod scenario;
mod spread;
mod stages;
mod tally;

use std::fmt;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use self::progress::Progress;
use self::report::Report;
use self::rig::Rig;
use self::scenario::Scenario;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Load, gateway, receiver and relay share this machine, so that what counts is the gateway's part of the relay's
figures, taken one right after the other. The journal lies in the directory for temporary files: set TMPDIR to
the disk that is to be measured. Exits 1 when an accepted event was not delivered.

Examples:
  hookweir bench                                          all scenarios, about five minutes
  hookweir bench --scenario filter --seconds 2 --rounds 3 a first look
  hookweir bench --json > bench.json")]
pub(crate) struct Args {
    /// Seconds of each measured run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..=600))]
    seconds: u64,
    /// Rounds of each scenario: the relay, then the gateway
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    rounds: u32,
    /// Senders, each with a connection of its own and one event under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    connections: usize,
    /// Bytes of each request's body
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = RangedU64ValueParser::<usize>::new().range(256..=1_000_000))]
    payload: usize,
    /// Print JSON, each round included
    #[arg(long)]
    json: bool,
    /// Only this scenario; may be given several times
    #[arg(long, value_name = "NAME")]
    scenario: Vec<Scenario>,
    /// Be one of the processes of a bench that runs already
    #[arg(long, hide = true)]
    role: Option<Role>,
}

/// A process of the rig beside the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Load,
    Receiver,
    Relay,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Receiver => "receiver",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is the same for all scenarios.
#[derive(Debug, Clone, Copy)]
struct Settings {
    time: Duration,
    rounds: u32,
    connections: usize,
    payload: usize,
}

/// Runs the bench, or the part of it that `--role` names.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.role {
        Some(Role::Load) => load::run(),
        Some(Role::Receiver) => receiver::run(),
        Some(Role::Relay) => relay::run(),
        None => measure(args),
    }
}

fn measure(args: Args) -> anyhow::Result<()> {
    let Args { seconds, rounds, connections, payload, json, mut scenario, .. } = args;
    let settings = Settings { time: Duration::from_secs(seconds), rounds, connections, payload };
    if scenario.is_empty() {
        scenario = Scenario::ALL.to_vec();
    }
    scenario.sort();
    scenario.dedup();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report =
        runtime.block_on(LocalSet::new().run_until(unless_stopped(scenarios(settings, &scenario))))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    let lost = report.lost();
    ensure!(lost == 0, "{lost} accepted events were never delivered");
    Ok(())
}

async fn scenarios(settings: Settings, scenarios: &[Scenario]) -> anyhow::Result<Report> {
    let progress = Progress::new(scenarios.len() as u64 * u64::from(settings.rounds))?;
    let mut rig = Rig::start(settings).await?;
    let mut measured = Vec::with_capacity(scenarios.len());
    for scenario in scenarios {
        measured.push(rig.measure(*scenario, &progress).await?);
    }
    Ok(Report::new(&settings, measured))
}

/// On a signal the work is dropped, and the children are killed with it.
async fn unless_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}
