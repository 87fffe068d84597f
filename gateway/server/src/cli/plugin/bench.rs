//! `hookweir plugin bench`: what a call costs, with a fresh instance for each event and with one that is reused.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use hookweir_host::{Plugin, Verdict};
use hookweir_model::PluginRole;
use serde_json::{Value, json};

use super::folder::Subject;
use super::histogram::{drawn, micros};
use super::local::{self, Local};
use crate::case::Case;
use crate::cli::{Exit, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin's folder, or a component
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Measure with one event alone, by its name in `events` [default: all, in turn]
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// How long to measure each of the two
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Calls before the measurement, so that code and caches are warm.
const WARM_UP: usize = 20;

/// What one way of calling came to: nanoseconds of processor time in the guest and its start, by role.
struct Measured {
    filter: Histogram<u64>,
    transformer: Histogram<u64>,
    /// Per event, all calls and the host's part, by the clock on the wall.
    whole: Histogram<u64>,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    anyhow::ensure!(args.seconds > 0.0 && args.seconds <= 600.0, "--seconds is more than 0 and at most 600");
    let subject = Subject::at(&args.path)?;
    let wasm = subject.wasm()?;
    let cases = cases(&subject, args.case.as_deref())?;
    let local = Local::start()?;
    let plugin = local.load(wasm)?;
    let time = Duration::from_secs_f64(args.seconds);
    let fresh = measure(&local, &subject, &plugin, &cases, false, time)?;
    let reused = measure(&local, &subject, &plugin, &cases, true, time)?;
    let text = if args.json {
        format!("{}\n", json!({"plugin": subject.name, "fresh": report(&fresh), "reused": report(&reused)}))
    } else {
        told(&fresh, &reused)
    };
    show::print(&text)?;
    Ok(Exit::Done)
}

fn cases(subject: &Subject, wanted: Option<&str>) -> Result<Vec<Case>> {
    if wanted.is_none() && !subject.folder.join("events").is_dir() {
        return Ok(vec![Case { event: Case::made_up(&local::tenant()?)?, config: None }]);
    }
    let mut cases: Vec<Case> = subject.cases(wanted)?.into_iter().map(|named| named.case).collect();
    // An instance is kept for one configuration: cases with others would measure how it is changed.
    if cases.iter().any(|case| case.config.is_none()) {
        cases.retain(|case| case.config.is_none());
    }
    Ok(cases)
}

fn measure(
    local: &Local,
    subject: &Subject,
    plugin: &Arc<Plugin>,
    cases: &[Case],
    reuse: bool,
    time: Duration,
) -> Result<Measured> {
    let empty = || Histogram::new(3).context("can't set up the histogram");
    let mut measured = Measured { filter: empty()?, transformer: empty()?, whole: empty()? };
    let mut started = Instant::now();
    for (round, case) in cases.iter().cycle().enumerate() {
        if round == WARM_UP {
            started = Instant::now();
        }
        if round > WARM_UP && started.elapsed() > time {
            break;
        }
        let job = subject.job(plugin, case, reuse);
        let clock = Instant::now();
        let ran = local.run(job);
        let whole = clock.elapsed();
        if let Verdict::Fault(fault) = &ran.verdict
            && fault.kind.is_plugins_own()
        {
            anyhow::bail!("the plugin failed: {}", fault.message);
        }
        if round < WARM_UP {
            continue;
        }
        measured.whole.record(nanos(whole))?;
        for (call, used) in ran.calls.iter().zip(&ran.used) {
            let times = match call.role {
                PluginRole::Filter => &mut measured.filter,
                PluginRole::Transformer => &mut measured.transformer,
            };
            times.record(nanos(used.processor))?;
        }
    }
    Ok(measured)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl Measured {
    /// The distributions that hold anything, with what they are of.
    fn parts(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        let parts =
            [("filter", &self.filter), ("transformer", &self.transformer), ("whole event", &self.whole)];
        parts.into_iter().filter(|(_, times)| !times.is_empty())
    }
}

fn told(fresh: &Measured, reused: &Measured) -> String {
    let mut text =
        "microseconds of processor time a call; a whole event by the clock, with the host's part\n"
            .to_owned();
    let mut rows = show::Rows::new(&["CALL", "INSTANCE", "CALLS", "P50", "P90", "P99", "MAX"]);
    for (instance, measured) in [("fresh", fresh), ("reused", reused)] {
        for (name, times) in measured.parts() {
            let at = |quantile: f64| micros(times.value_at_quantile(quantile));
            rows.push([
                name,
                instance,
                &times.len().to_string(),
                &at(0.5),
                &at(0.9),
                &at(0.99),
                &micros(times.max()),
            ]);
        }
    }
    text.push_str(&rows.render(show::Look::of_stdout()));
    let median = |measured: &Measured| measured.whole.value_at_quantile(0.5) as f64;
    let _ = writeln!(
        text,
        "\na whole event costs {:.2} times as much with a fresh instance",
        median(fresh) / median(reused)
    );
    for (instance, measured) in [("fresh", fresh), ("reused", reused)] {
        let _ = write!(text, "\nwhole event, {instance}, microseconds\n{}", drawn(&measured.whole));
    }
    text
}

fn report(measured: &Measured) -> Value {
    let part = |(name, times): (&str, &Histogram<u64>)| {
        let at = |quantile: f64| times.value_at_quantile(quantile);
        let figures = json!({
            "calls": times.len(), "p50_ns": at(0.5), "p90_ns": at(0.9), "p99_ns": at(0.99), "max_ns": times.max(),
        });
        (name.replace(' ', "_"), figures)
    };
    Value::Object(measured.parts().map(part).collect())
}
