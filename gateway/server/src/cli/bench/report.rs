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
use super::rig::{Measured, Round, Run, Step};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    open_loop: Option<OpenLoop>,
}

/// Events that come at fixed rates, whatever the answers do.
#[derive(Debug, Serialize)]
pub(super) struct OpenLoop {
    /// What the gateway delivered in a second in a closed loop before.
    pub(super) most_per_s: f64,
    pub(super) steps: Vec<StepReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct StepReport {
    pub(super) rate: u32,
    #[serde(flatten)]
    pub(super) gateway: RunMedians,
    pub(super) relay: RunMedians,
    /// The p99 to the answer over that of the relay at this rate.
    accept_p99_ratio: f64,
    accept_p99_ratio_spread: Spread,
    cpu_ratio: f64,
    lost: u64,
    duplicates: u64,
    refused: u64,
    /// The median over the rounds of a sync's median time.
    sync_ms: f64,
    rounds: Vec<Round>,
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
    beside: Option<BesideReport>,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
pub(super) struct RunMedians {
    pub(super) accepted_per_s: f64,
    pub(super) delivered_per_s: f64,
    pub(super) accept_p50_ms: f64,
    pub(super) accept_p99_ms: f64,
    pub(super) accept_p999_ms: f64,
    pub(super) delivered_p50_ms: f64,
    pub(super) delivered_p99_ms: f64,
    pub(super) delivered_p999_ms: f64,
    pub(super) cpu_ms_per_event: f64,
    pub(super) rss_mib: f64,
    pub(super) written_per_byte: f64,
}

/// What the scenario's second gateway did in the same rounds.
#[derive(Debug, Serialize)]
struct BesideReport {
    /// What it is told from the first by.
    name: &'static str,
    #[serde(flatten)]
    medians: RunMedians,
    /// Delivered per second by the first over that of the second.
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
            accept_p50_ms: median(|run| run.accept.p50_ms)?,
            accept_p99_ms: median(|run| run.accept.p99_ms)?,
            accept_p999_ms: median(|run| run.accept.p999_ms)?,
            delivered_p50_ms: median(|run| run.delivered.p50_ms)?,
            delivered_p99_ms: median(|run| run.delivered.p99_ms)?,
            delivered_p999_ms: median(|run| run.delivered.p999_ms)?,
            cpu_ms_per_event: median(|run| run.cpu_ms_per_event)?,
            rss_mib: median(|run| run.rss_mib)?,
            written_per_byte: median(|run| run.written_per_byte)?,
        })
    }
}

impl ScenarioReport {
    /// None where there was no round.
    fn of(measured: Measured) -> Option<Self> {
        let Measured { scenario, rounds, stages, pending, .. } = measured;
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
            beside: scenario.beside().and_then(|name| BesideReport::of(name, &rounds, pending)),
            relay,
            rounds,
        })
    }
}

impl BesideReport {
    fn of(name: &'static str, rounds: &[Round], pending: Option<f64>) -> Option<Self> {
        let pairs = rounds.iter().filter_map(|round| Some((&round.gateway, round.beside.as_ref()?)));
        let (ratios, beside): (Vec<_>, Vec<_>) =
            pairs.map(|(run, beside)| (ratio(run.delivered_per_s, beside.delivered_per_s), beside)).unzip();
        let delivered = Spread::of(ratios)?;
        Some(Self {
            name,
            medians: RunMedians::of(&beside)?,
            delivered_ratio: delivered.median,
            delivered_ratio_spread: delivered,
            pending,
        })
    }
}

impl StepReport {
    /// None where there was no round.
    fn of(Step { rate, rounds }: Step) -> Option<Self> {
        let (relays, gateways): (Vec<_>, Vec<_>) =
            rounds.iter().map(|round| (&round.relay, &round.gateway)).unzip();
        let over = |value: fn(&Run) -> f64| {
            Spread::of(rounds.iter().map(|round| ratio(value(&round.gateway), value(&round.relay))))
        };
        let p99 = over(|run| run.accept.p99_ms)?;
        let sum = |value: fn(&Run) -> u64| rounds.iter().flat_map(Round::runs).map(value).sum();
        Some(Self {
            rate,
            gateway: RunMedians::of(&gateways)?,
            relay: RunMedians::of(&relays)?,
            accept_p99_ratio: p99.median,
            accept_p99_ratio_spread: p99,
            cpu_ratio: over(|run| run.cpu_ms_per_event)?.median,
            lost: sum(|run| run.lost),
            duplicates: sum(|run| run.duplicates),
            refused: sum(|run| run.refused),
            sync_ms: Spread::of(rounds.iter().map(|round| round.sync_ms))?.median,
            rounds,
        })
    }
}

impl OpenLoop {
    pub(super) fn new(most_per_s: f64, steps: Vec<Step>) -> Self {
        Self { most_per_s, steps: steps.into_iter().filter_map(StepReport::of).collect() }
    }

    fn table(&self) -> Table {
        let mut table = table([
            "events/s",
            "delivered/s",
            "p50",
            "p99",
            "p99.9",
            "relay p50",
            "p99",
            "p99.9",
            "p99 x the relay",
            "to delivered p50",
            "p99",
            "p99.9",
            "CPU ms/event",
            "x the relay",
            "sync ms",
            "lost",
        ]);
        for step in &self.steps {
            let StepReport { gateway, relay, .. } = step;
            let mut cells = vec![rate(f64::from(step.rate)), rate(gateway.delivered_per_s)];
            for run in [gateway, relay] {
                cells.extend(latencies([run.accept_p50_ms, run.accept_p99_ms, run.accept_p999_ms]));
            }
            cells.push(spread(&step.accept_p99_ratio_spread));
            let RunMedians { delivered_p50_ms, delivered_p99_ms, delivered_p999_ms, .. } = *gateway;
            cells.extend(latencies([delivered_p50_ms, delivered_p99_ms, delivered_p999_ms]));
            cells.push(format!("{:.4}", gateway.cpu_ms_per_event));
            cells.push(format!("{:.2}", step.cpu_ratio));
            cells.push(format!("{:.2}", step.sync_ms));
            cells.push(step.lost.to_string());
            table.add_row(cells);
        }
        table
    }
}

fn is_noisy(round: &Round, median_relay: f64) -> bool {
    round.sync_ms > NOISY_SYNC_MS
        || round.others_share() > NOISY_OTHERS
        || (ratio(round.relay.delivered_per_s, median_relay) - 1.0).abs() > NOISY_RELAY
}

impl Report {
    pub(super) fn new(settings: &Settings, measured: Vec<Measured>, open_loop: Option<OpenLoop>) -> Self {
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
        Self { settings, journal_in_memory, scenarios, open_loop }
    }

    /// Accepted events that did not arrive, over all runs.
    pub(super) fn lost(&self) -> u64 {
        let steps = self.open_loop.iter().flat_map(|open| &open.steps);
        self.scenarios.values().map(|scenario| scenario.lost).chain(steps.map(|step| step.lost)).sum()
    }

    pub(super) fn open_loop(&self) -> Option<&OpenLoop> {
        self.open_loop.as_ref()
    }

    fn figures(&self) -> Table {
        let mut table = table([
            "scenario",
            "accepted/s",
            "delivered/s",
            "of the relay",
            "CPU ms/event",
            "x the relay",
            "RSS MiB",
            "written/byte",
            "duplicates",
            "lost",
        ]);
        for (scenario, report) in &self.scenarios {
            let ratios = [spread(&report.delivered_ratio_spread), spread(&report.cpu_ratio_spread)];
            let counts = [report.duplicates.to_string(), report.lost.to_string()];
            table.add_row(row(scenario.as_str(), &report.gateway, ratios, counts));
            if let Some(BesideReport { name, medians, .. }) = &report.beside {
                table.add_row(row(&format!("  {name}"), medians, Default::default(), Default::default()));
            }
            table.add_row(row("  relay", &report.relay, ["1".into(), "1".into()], Default::default()));
        }
        table
    }

    fn latencies(&self) -> Table {
        let mut table =
            table(["scenario", "to the answer p50", "p99", "p99.9", "to delivered p50", "p99", "p99.9"]);
        for (scenario, report) in &self.scenarios {
            for (name, run) in [(scenario.as_str(), &report.gateway), ("  relay", &report.relay)] {
                let mut cells = vec![name.to_owned()];
                cells.extend(latencies([run.accept_p50_ms, run.accept_p99_ms, run.accept_p999_ms]));
                cells.extend(latencies([run.delivered_p50_ms, run.delivered_p99_ms, run.delivered_p999_ms]));
                table.add_row(cells);
            }
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
        if !self.scenarios.is_empty() {
            writeln!(f, "{}", self.figures().trim_fmt())?;
            writeln!(f, "\nlatencies in ms, from when an event is sent")?;
            writeln!(f, "{}", self.latencies().trim_fmt())?;
        }
        if self.scenarios.values().any(|report| !report.stages.is_empty()) {
            writeln!(f, "\nmean time of an event in each stage in us, waiting included (share of the sum)")?;
            writeln!(f, "{}", self.stages().trim_fmt())?;
        }
        for (scenario, report) in &self.scenarios {
            if let Some(BesideReport { name, delivered_ratio_spread, pending, .. }) = &report.beside {
                let pending = pending.map_or_else(|| "unknown".into(), |pending| format!("{pending:.0}"));
                let spread = spread(delivered_ratio_spread);
                writeln!(
                    f,
                    "\n{scenario}: {spread} of the deliveries of a gateway {name}, {pending} pending at the end"
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
        if let Some(open) = &self.open_loop {
            writeln!(
                f,
                "\nopen loop, signed; latencies in ms, from when an event is due; in a closed loop the gateway delivered \
                 {} a second",
                rate(open.most_per_s)
            )?;
            writeln!(f, "{}", open.table().trim_fmt())?;
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
    let mut cells = vec![
        name.to_owned(),
        rate(run.accepted_per_s),
        rate(run.delivered_per_s),
        delivered,
        format!("{:.4}", run.cpu_ms_per_event),
        cpu,
        format!("{:.1}", run.rss_mib),
        format!("{:.1}", run.written_per_byte),
    ];
    cells.extend(counts);
    cells
}

/// Rates are not negative, and far below what a float holds exactly.
fn rate(value: f64) -> String {
    HumanCount(value.round() as u64).to_string()
}

fn latencies(values: [f64; 3]) -> impl Iterator<Item = String> {
    values.into_iter().map(|value| format!("{value:.2}"))
}

fn spread(Spread { median, min, max }: &Spread) -> String {
    format!("{median:.2} ({min:.2}..{max:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::latency::Quantiles;
    use crate::cli::bench::stages::StageTimes;
    use std::time::Duration;

    const LATENCY: Quantiles = Quantiles { p50_ms: 1.0, p99_ms: 4.0, p999_ms: 9.0 };

    fn run(delivered_per_s: f64, cpu_ms_per_event: f64) -> Run {
        Run {
            accepted_per_s: delivered_per_s,
            delivered_per_s,
            accept: LATENCY,
            delivered: LATENCY,
            cpu_ms_per_event,
            rss_mib: 10.0,
            written_per_byte: 4.0,
            accepted: 1_000,
            lost: 0,
            duplicates: 0,
            refused: 0,
            others_share: 0.02,
            refusal: None,
        }
    }

    fn round(relay: f64, gateway: f64) -> Round {
        Round { relay: run(relay, 0.02), gateway: run(gateway, 0.05), beside: None, sync_ms: 0.1 }
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
        Report::new(&settings, vec![measured], None)
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
        for key in [
            "accepted_per_s",
            "accept_p50_ms",
            "accept_p99_ms",
            "accept_p999_ms",
            "delivered_p50_ms",
            "cpu_ms_per_event",
            "rss_mib",
            "written_per_byte",
            "lost",
        ] {
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
        let beside = |with, without| Round { beside: Some(run(without, 0.05)), ..round(40_000.0, with) };
        let rounds = vec![beside(18_000.0, 20_000.0), beside(19_000.0, 19_000.0), beside(19_000.0, 20_000.0)];
        let report = report(Scenario::DeadEndpoint, rounds);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"]["dead-endpoint"]["beside"]["delivered_ratio"], 0.95);
        let text = report.to_string();
        assert!(
            text.contains("dead-endpoint: 0.95 (0.90..1.00) of the deliveries of a gateway without it"),
            "{text}"
        );
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

    #[test]
    fn each_rate_of_the_open_loop_has_a_line() {
        let steps = [1_000, 20_000].map(|rate| Step { rate, rounds: vec![round(20_000.0, 20_000.0)] });
        let open = OpenLoop::new(25_000.0, steps.to_vec());
        let settings = Settings { time: Duration::from_secs(5), rounds: 1, connections: 64, payload: 1024 };
        let report = Report::new(&settings, Vec::new(), Some(open));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["open_loop"]["steps"][1]["accept_p99_ratio"], 1.0);
        assert_eq!(json["open_loop"]["steps"][1]["cpu_ratio"], 2.5);
        let text = report.to_string();
        assert!(text.contains("25,000 a second"), "{text}");
        for start in ["1,000", "20,000"] {
            assert!(text.lines().any(|line| line.trim_start().starts_with(start)), "{text}");
        }
    }
}
