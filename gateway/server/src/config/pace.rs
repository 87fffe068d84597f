//! How fast an endpoint may be tried: how many at a time, how many a second, and when it is left alone for a while.

use std::time::Duration;

use hookweir_model::{BreakerPolicy, PacePolicy};
use toml::de::DeValue;

use super::problem::{Fault, Report};
use super::quantity::{duration, show_duration};
use super::written::{Table, Value};

const DEFAULT_CONCURRENCY: u64 = 16;
/// Each attempt in flight holds a socket and its event's bytes.
const MOST_CONCURRENCY: u64 = 1024;
/// Beyond it a rate bounds nothing that the machine does not.
const MOST_PER_SECOND: u64 = 100_000;
const MOST_FAILURES: u64 = 1_000_000;

const RATE: &str = "write { per_second = 50 }";
const BREAKER: &str = "write { failures = 50, pause = \"10s\" }, or false for none";

/// Reads an endpoint's `concurrency`, `rate` and `breaker`.
pub(super) fn policy(table: &Table<'_>, report: &mut Report) -> PacePolicy {
    let concurrency = table
        .get("concurrency")
        .and_then(|value| value.whole_number(1..=MOST_CONCURRENCY, report))
        .unwrap_or(DEFAULT_CONCURRENCY);
    PacePolicy {
        concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
        per_second: table.get("rate").and_then(|value| rate(&value, report)),
        breaker: table
            .get("breaker")
            .map_or_else(|| Some(BreakerPolicy::default()), |value| breaker(&value, report)),
    }
}

fn rate(value: &Value<'_>, report: &mut Report) -> Option<u32> {
    let table = value.table(RATE, report)?;
    table.allow(&["per_second"], report);
    let per_second = table.need("per_second", RATE, report)?.whole_number(1..=MOST_PER_SECOND, report)?;
    u32::try_from(per_second).ok()
}

fn breaker(value: &Value<'_>, report: &mut Report) -> Option<BreakerPolicy> {
    let mut policy = BreakerPolicy::default();
    let Some(table) = value.as_table() else {
        match value.raw() {
            DeValue::Boolean(false) => {}
            DeValue::Boolean(true) => return Some(policy),
            _ => value.wrong_type("a table or false", BREAKER, report).unwrap_or_default(),
        }
        return None;
    };
    table.allow(&["failures", "pause"], report);
    if let Some(failures) =
        table.get("failures").and_then(|value| value.whole_number(1..=MOST_FAILURES, report))
    {
        policy.failures = u32::try_from(failures).unwrap_or(u32::MAX);
    }
    if let Some(pause) = table.get("pause").and_then(|value| pause(&value, report)) {
        policy.pause = pause;
    }
    Some(policy)
}

fn pause(value: &Value<'_>, report: &mut Report) -> Option<Duration> {
    let pause = value.parsed(duration, "write a duration in quotes, such as \"10s\"", report)?;
    let longest = BreakerPolicy::LONGEST_PAUSE;
    let checked = if pause.is_zero() {
        Err(Fault::new("a breaker without a pause stops nothing", BREAKER))
    } else if pause > longest {
        let what = format!("{} is longer than {}", show_duration(pause), show_duration(longest));
        Err(Fault::new(what, "a pause is doubled after each probe that fails: begin with a short one"))
    } else {
        Ok(pause)
    };
    value.take(checked, report)
}
