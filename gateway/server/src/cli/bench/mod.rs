//! `hookweir bench`: load, gateway, receiver and a bare relay in one run, and what the gateway costs as a ratio to the
//! relay.
//!
//! Each of the four is a process of its own, all started from this executable, on loopback. The gateway is the real
//! one, `hookweir serve` with a durable journal, measured through its sockets; nothing here reaches into it. How to read
//! the figures is in `docs/performance.md`.

mod clock;
mod control;
mod disk;
mod gateway;
mod latency;
mod load;
mod plot;
mod process;
mod receiver;
mod relay;
mod report;
mod rig;
mod scenario;
mod spread;
mod stages;
mod tally;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use self::report::{OpenLoop, Report};
use self::rig::Rig;
use self::scenario::Scenario;
use crate::cli::progress::Progress;
use crate::cli::show;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Load, gateway, receiver and relay share this machine, so that what counts is the gateway's part of the relay's
figures, taken one right after the other. The journal lies in the directory for temporary files: set TMPDIR to
the disk that is to be measured. Exits 1 when an accepted event was not delivered.

Examples:
  hookweir bench                                          all of it, about half an hour
  hookweir bench --scenario filter --seconds 2 --rounds 3 a first look
  hookweir bench --open-loop --plot bench.svg             fixed rates alone, and a picture of them
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
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = RangedU64ValueParser::<usize>::new().range(512..=1_000_000))]
    payload: usize,
    /// Fixed rates, whatever the answers do, instead of senders that wait for them; with --scenario those too
    #[arg(long)]
    open_loop: bool,
    /// A rate of the open loop, in events a second; may be given several times. If not given: 1000, and parts of the
    /// most that the gateway delivers
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    rate: Vec<u32>,
    /// Write throughput and latency over the rates of the open loop to an SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// A component to be filter and transformer in place of the shipped ones, in filter-transform and
    /// filter-transform-reuse; its config is {"minimum": 100}
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
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
    let Args {
        seconds, rounds, connections, payload, open_loop, rate, plot, plugin, json, mut scenario, ..
    } = args;
    let settings = Settings { time: Duration::from_secs(seconds), rounds, connections, payload };
    let wants_open_loop = open_loop || !rate.is_empty() || plot.is_some();
    let wants_all = scenario.is_empty() && !wants_open_loop;
    if wants_all {
        scenario = Scenario::ALL.to_vec();
    }
    scenario.sort();
    scenario.dedup();
    let rates = (wants_all || wants_open_loop).then_some(rate);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let own =
        plugin.map(|path| std::fs::read(&path).with_context(|| format!("{} can't be read", path.display())));
    let work = scenarios(settings, &scenario, rates, own.transpose()?);
    let report = runtime.block_on(LocalSet::new().run_until(unless_stopped(work)))?;
    if let (Some(path), Some(open)) = (plot, report.open_loop()) {
        plot::write(open, &path)?;
    }
    if json {
        show::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        show::print(&report.to_string())?;
    }
    let lost = report.lost();
    ensure!(lost == 0, "{lost} accepted events were never delivered");
    Ok(())
}

async fn scenarios(
    settings: Settings,
    scenarios: &[Scenario],
    rates: Option<Vec<u32>>,
    own: Option<Vec<u8>>,
) -> anyhow::Result<Report> {
    let steps =
        rates.as_ref().map_or(0, |rates| if rates.is_empty() { PARTS.len() + 1 } else { rates.len() });
    let progress = Progress::of_rounds((scenarios.len() + steps) as u64 * u64::from(settings.rounds));
    let mut rig = Rig::start(settings, own).await?;
    let mut measured = Vec::with_capacity(scenarios.len());
    for scenario in scenarios {
        measured.push(rig.measure(*scenario, &progress).await?);
    }
    let open_loop = match rates {
        None => None,
        Some(rates) => {
            let chosen = |most| if rates.is_empty() { usual_rates(most) } else { rates };
            let (most, steps) = rig.open_loop(chosen, &progress).await?;
            Some(OpenLoop::new(most, steps))
        }
    };
    Ok(Report::new(&settings, measured, open_loop))
}

/// The rates of the open loop beside 1,000 a second, as parts of the most that is delivered.
const PARTS: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 1.1];

fn usual_rates(most: f64) -> Vec<u32> {
    // Far below what 32 bits hold; a float that is not, is cut to that.
    let parts = PARTS.iter().map(|part| (most * part).round() as u32);
    let mut rates: Vec<u32> = std::iter::once(1000).chain(parts.filter(|rate| *rate > 0)).collect();
    rates.sort_unstable();
    rates.dedup();
    rates
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rates_are_parts_of_the_most_and_a_thousand() {
        assert_eq!(usual_rates(20_000.0), [1_000, 5_000, 10_000, 15_000, 18_000, 22_000]);
        assert_eq!(usual_rates(2_000.0), [500, 1_000, 1_500, 1_800, 2_200]);
        assert_eq!(usual_rates(0.0), [1_000]);
    }
}
