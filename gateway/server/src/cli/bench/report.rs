//! What the bench prints: tables for people, JSON for scripts, both from the same figures.
//!
//! Every figure is a median over the rounds. The ratios are computed within each round and are the only figures to
//! compare with those of another day or machine.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use indicatif::HumanCount;
use serde::Serialize;

use super::Settings;
use super::rig::{Measured, Round, Run};
use super::scenario::Scenario;
use super::spread::{Spread, ratio};
use super::stages::{STAGES, StageShare};

/// A round is noisy where a sync takes longer than this, a few times what a quiet disk needs,
const NOISY_SYNC_MS: f64 = 0.5;
/// or others take more than this of the machine during one of its runs,
const NOISY_OTHERS: f64 = 0.1;
/// or where its relay is this far from the median of the relays.
const NOISY_RELAY: f64 = 0.2;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    settings: SettingsReport,
    /// Whether the journal lay on a file system in memory, where syncs cost nothing.
    journal_in_memory: bool,
    scenarios: BTreeMap<Scenario, ScenarioReport>,
}

#[derive(Debug, Serialize)]
struct SettingsReport {
    seconds: u64,
    rounds: u32,
    connections: usize,
    payload: usize,
    cores: usize,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct ScenarioReport {
    #[serde(flatten)]
    gateway: RunMedians,
    relay: RunMedians,
    delivered_ratio: f64,
    delivered_ratio_spread: Spread,
    cpu_ratio: f64,
    cpu_ratio_spread: Spread,
    /// Over all rounds, as are the duplicates and refusals.
    lost: u64,
    duplicates: u64,
    refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    noisy_rounds: usize,
    stages: Vec<StageShare>,
    journal_sync_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_endpoint: Option<DeadEndpointReport>,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
struct RunMedians {
    accepted_per_s: f64,
    delivered_per_s: f64,
    accept_p50_ms: f64,
    accept_p99_ms: f64,
    cpu_ms_per_event: f64,
    rss_mib: f64,
}

/// What the dead endpoint does to the good one.
#[derive(Debug, Serialize)]
struct DeadEndpointReport {
    undisturbed: RunMedians,
    /// Delivered per second with the dead endpoint over that without it.
    delivered_ratio: f64,
    delivered_ratio_spread: Spread,
    pending: Option<f64>,
}

impl RunMedians {
    /// None where there was no run.
    fn of(runs: &[&Run]) -> Option<Self> {
        let median = |value: fn(&Run) -> f64| Some(Spread::of(runs.iter().copied().map(value))?.median);
        Some(Self {
            accepted_per_s: median(|run| run.accepted_per_s)?,
            delivered_per_s: median(|run| run.delivered_per_s)?,
            accept_p50_ms: median(|run| run.accept_p50_ms)?,
            accept_p99_ms: median(|run| run.accept_p99_ms)?,
            cpu_ms_per_event: median(|run| run.cpu_ms_per_event)?,
            rss_mib: median(|run| run.rss_mib)?,
        })
    }
}

impl ScenarioReport {
    /// None where there was no round.
    fn of(measured: Measured) -> Option<Self> {
        let Measured { rounds, stages, pending, .. } = measured;
        let (relays, gateways): (Vec<_>, Vec<_>) =
            rounds.iter().map(|round| (&round.relay, &round.gateway)).unzip();
        let relay = RunMedians::of(&relays)?;
        let delivered = Spread::of(
            rounds.iter().map(|round| ratio(round.gateway.delivered_per_s, round.relay.delivered_per_s)),
        )?;
        let cpu = Spread::of(
            rounds.iter().map(|round| ratio(round.gateway.cpu_ms_per_event, round.relay.cpu_ms_per_event)),
        )?;
        let runs = || rounds.iter().flat_map(Round::runs);
        let refusal = runs().find_map(|run| run.refusal.clone());
        Some(Self {
            gateway: RunMedians::of(&gateways)?,
            delivered_ratio: delivered.median,
            delivered_ratio_spread: delivered,
            cpu_ratio: cpu.median,
            cpu_ratio_spread: cpu,
            lost: runs().map(|run| run.lost).sum(),
            duplicates: runs().map(|run| run.duplicates).sum(),
            refused: runs().map(|run| run.refused).sum(),
            refusal,
            noisy_rounds: rounds.iter().filter(|round| is_noisy(round, relay.delivered_per_s)).count(),
            stages: stages.shares(),
            journal_sync_us: stages.sync_mean_us(),
            dead_endpoint: DeadEndpointReport::of(&rounds, pending),
            relay,
            rounds,
        })
    }
}

impl DeadEndpointReport {
    fn of(rounds: &[Round], pending: Option<f64>) -> Option<Self> {
        let pairs = rounds.iter().filter_map(|round| Some((&round.gateway, round.undisturbed.as_ref()?)));
        let (ratios, undisturbed): (Vec<_>, Vec<_>) = pairs
            .map(|(with, without)| (ratio(with.delivered_per_s, without.delivered_per_s), without))
            .unzip();
        let delivered = Spread::of(ratios)?;
        Some(Self {
            undisturbed: RunMedians::of(&undisturbed)?,
            delivered_ratio: delivered.median,
            delivered_ratio_spread: delivered,
            pending,
        })
    }
}

fn is_noisy(round: &Round, median_relay: f64) -> bool {
    round.sync_ms > NOISY_SYNC_MS
        || round.others_share() > NOISY_OTHERS
        || (ratio(round.relay.delivered_per_s, median_relay) - 1.0).abs() > NOISY_RELAY
}

impl Report {
    pub(super) fn new(settings: &Settings, measured: Vec<Measured>) -> Self {
        let journal_in_memory = measured.iter().any(|measured| measured.journal_in_memory);
        let scenarios = measured
            .into_iter()
            .filter_map(|measured| Some((measured.scenario, ScenarioReport::of(measured)?)))
            .collect();
        let settings = SettingsReport {
            seconds: settings.time.as_secs(),
            rounds: settings.rounds,
            connections: settings.connections,
            payload: settings.payload,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        };
        Self { settings, journal_in_memory, scenarios }
    }

    /// Accepted events that did not arrive, over all scenarios.
    pub(super) fn lost(&self) -> u64 {
        self.scenarios.values().map(|scenario| scenario.lost).sum()
    }

    fn figures(&self) -> Table {
        let mut table = table([
            "scenario",
            "accepted/s",
            "delivered/s",
            "of the relay",
            "p50 ms",
            "p99 ms",
            "CPU ms/event",
            "x the relay",
            "RSS MiB",
            "duplicates",
            "lost",
        ]);
        for (scenario, report) in &self.scenarios {
            let ratios = [spread(&report.delivered_ratio_spread), spread(&report.cpu_ratio_spread)];
            let counts = [report.duplicates.to_string(), report.lost.to_string()];
            table.add_row(row(scenario.as_str(), &report.gateway, ratios, counts));
            if let Some(dead) = &report.dead_endpoint {
                table.add_row(row("  without it", &dead.undisturbed, Default::default(), Default::default()));
            }
            table.add_row(row("  relay", &report.relay, ["1".into(), "1".into()], Default::default()));
        }
        table
    }

    fn stages(&self) -> Table {
        let mut table = table(["scenario"].into_iter().chain(STAGES).chain(["journal sync"]));
        for (scenario, report) in &self.scenarios {
            let cell = |stage: &str| {
                let share = report.stages.iter().find(|share| share.stage == stage);
                share.map_or_else(String::new, |StageShare { mean_us, share, .. }| {
                    format!("{mean_us:.0} ({:.0} %)", share * 100.0)
                })
            };
            let sync = report.journal_sync_us.map_or_else(String::new, |mean| format!("{mean:.0}"));
            let cells = STAGES.into_iter().map(cell);
            table.add_row(std::iter::once(scenario.to_string()).chain(cells).chain([sync]));
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingsReport { seconds, rounds, connections, payload, cores } = self.settings;
        writeln!(
            f,
            "{rounds} rounds of {seconds} s, {connections} connections, {payload} bytes a request, {cores} cores; \
             medians, ratios with (lowest..highest round)"
        )?;
        writeln!(f, "{}", self.figures().trim_fmt())?;
        if self.scenarios.values().any(|report| !report.stages.is_empty()) {
            writeln!(f, "\nmean time of an event in each stage in us, waiting included (share of the sum)")?;
            writeln!(f, "{}", self.stages().trim_fmt())?;
        }
        for (scenario, report) in &self.scenarios {
            if let Some(dead) = &report.dead_endpoint {
                let pending =
                    dead.pending.map_or_else(|| "unknown".into(), |pending| format!("{pending:.0}"));
                let spread = spread(&dead.delivered_ratio_spread);
                writeln!(
                    f,
                    "\n{scenario}: {spread} of the deliveries without it, {pending} pending at the end"
                )?;
            }
            if report.refused > 0 {
                let refusal = report.refusal.as_deref().unwrap_or_default();
                writeln!(
                    f,
                    "\n{scenario}: {} events were refused, the first with {refusal}",
                    report.refused
                )?;
            }
            if report.noisy_rounds > 0 {
                let (noisy, rounds) = (report.noisy_rounds, report.rounds.len());
                writeln!(
                    f,
                    "\n{scenario}: {noisy} of {rounds} rounds were noisy (slow disk, busy machine, or a relay off its median)"
                )?;
            }
        }
        if self.journal_in_memory {
            writeln!(
                f,
                "\nthe journal lay in memory, where a sync costs nothing: set TMPDIR to a directory on a disk"
            )?;
        }
        Ok(())
    }
}

/// Lines between the cells on a terminal, blanks anywhere else.
fn table(header: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table.load_style(if std::io::stdout().is_terminal() { UTF8_FULL_CONDENSED } else { NOTHING });
    table.set_header(header.into_iter().collect::<Vec<_>>());
    // Figures to the right, below the name of their column.
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: &str, run: &RunMedians, [delivered, cpu]: [String; 2], counts: [String; 2]) -> Vec<String> {
    // Rates are not negative, and far below what a float holds exactly.
    let rate = |value: f64| HumanCount(value.round() as u64).to_string();
    let mut cells = vec![
        name.to_owned(),
        rate(run.accepted_per_s),
        rate(run.delivered_per_s),
        delivered,
        format!("{:.2}", run.accept_p50_ms),
        format!("{:.2}", run.accept_p99_ms),
        format!("{:.4}", run.cpu_ms_per_event),
        cpu,
        format!("{:.1}", run.rss_mib),
    ];
    cells.extend(counts);
    cells
}

fn spread(Spread { median, min, max }: &Spread) -> String {
    format!("{median:.2} ({min:.2}..{max:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::stages::StageTimes;
    use std::time::Duration;

    fn run(delivered_per_s: f64, cpu_ms_per_event: f64) -> Run {
        Run {
            accepted_per_s: delivered_per_s,
            delivered_per_s,
            accept_p50_ms: 1.0,
            accept_p99_ms: 4.0,
            cpu_ms_per_event,
            rss_mib: 10.0,
            accepted: 1_000,
            lost: 0,
            duplicates: 0,
            refused: 0,
            others_share: 0.02,
            refusal: None,
        }
    }

    fn round(relay: f64, gateway: f64) -> Round {
        Round { relay: run(relay, 0.02), gateway: run(gateway, 0.05), undisturbed: None, sync_ms: 0.1 }
    }

    fn report(scenario: Scenario, rounds: Vec<Round>) -> Report {
        let settings = Settings { time: Duration::from_secs(5), rounds: 3, connections: 64, payload: 1024 };
        let measured = Measured {
            scenario,
            rounds,
            stages: StageTimes::default(),
            pending: Some(49_990.0),
            journal_in_memory: false,
        };
        Report::new(&settings, vec![measured])
    }

    #[test]
    fn ratios_are_those_of_each_round_and_not_of_the_medians() {
        // The medians are 40 k and 20 k; no round had half of its own relay.
        let rounds = vec![round(20_000.0, 16_000.0), round(40_000.0, 24_000.0), round(50_000.0, 20_000.0)];
        let json = serde_json::to_value(report(Scenario::PassThrough, rounds)).unwrap();
        let scenario = &json["scenarios"]["pass-through"];
        assert_eq!(scenario["delivered_ratio"], 0.6);
        assert_eq!(scenario["delivered_ratio_spread"]["min"], 0.4);
        assert_eq!(scenario["delivered_ratio_spread"]["max"], 0.8);
        assert_eq!(scenario["cpu_ratio"], 2.5);
        assert_eq!(scenario["delivered_per_s"], 20_000.0);
        assert_eq!(scenario["relay"]["delivered_per_s"], 40_000.0);
        assert_eq!(scenario["noisy_rounds"], 2);
        for key in ["accepted_per_s", "accept_p50_ms", "accept_p99_ms", "cpu_ms_per_event", "rss_mib", "lost"]
        {
            assert!(scenario[key].is_number(), "{key}");
        }
    }

    #[test]
    fn a_slow_disk_a_busy_machine_or_an_unusual_relay_makes_a_round_noisy() {
        for (round, expected) in [
            (round(40_000.0, 20_000.0), false),
            (Round { sync_ms: 4.0, ..round(40_000.0, 20_000.0) }, true),
            (
                Round {
                    gateway: Run { others_share: 0.4, ..run(20_000.0, 0.05) },
                    ..round(40_000.0, 20_000.0)
                },
                true,
            ),
            (round(30_000.0, 20_000.0), true),
            (round(50_000.0, 20_000.0), true),
            (round(42_000.0, 20_000.0), false),
        ] {
            assert_eq!(is_noisy(&round, 40_000.0), expected, "{round:?}");
        }
    }

    #[test]
    fn the_dead_endpoint_is_compared_with_the_same_gateway_without_it() {
        let beside = |with, without| Round { undisturbed: Some(run(without, 0.05)), ..round(40_000.0, with) };
        let rounds = vec![beside(18_000.0, 20_000.0), beside(19_000.0, 19_000.0), beside(19_000.0, 20_000.0)];
        let report = report(Scenario::DeadEndpoint, rounds);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"]["dead-endpoint"]["dead_endpoint"]["delivered_ratio"], 0.95);
        let text = report.to_string();
        assert!(text.contains("dead-endpoint: 0.95 (0.90..1.00) of the deliveries without it"), "{text}");
        assert!(text.contains("49990 pending"), "{text}");
    }

    #[test]
    fn losses_are_summed_and_shown() {
        let mut lossy = round(40_000.0, 20_000.0);
        lossy.gateway.lost = 7;
        let report = report(Scenario::Filter, vec![lossy, round(40_000.0, 20_000.0)]);
        assert_eq!(report.lost(), 7);
        let text = report.to_string();
        assert!(
            text.lines().any(|line| line.trim_start().starts_with("filter") && line.ends_with('7')),
            "{text}"
        );
    }
}
