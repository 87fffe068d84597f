//! The retry table of an endpoint: a preset, and what it changes of it.

use std::time::Duration;

use hookweir_model::{RetryPolicy, Success};

use super::problem::{Fault, Report};
use super::quantity::{duration, show_duration};
use super::written::Value;

const HELP: &str = "write { preset = \"standard\" } or { waits = [\"5s\", \"5m\"], timeout = \"15s\" }";
const EXAMPLE: &str = "write a duration in quotes, such as \"5s\"";
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// A delivery that is tried for longer than this is of no use to anyone.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * DAY);
/// An attempt holds a slot of its endpoint; past this it is the receiver that should answer and work later.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5 * MINUTE);
const MOST_WAITS: usize = 50;

/// A preset by its name.
type Preset = (&'static str, fn() -> RetryPolicy);

/// Reads a retry table.
pub(super) fn policy(value: Option<Value<'_>>, report: &mut Report) -> RetryPolicy {
    let Some(table) = value.and_then(|value| value.table(HELP, report)) else {
        return RetryPolicy::standard();
    };
    table.allow(&["preset", "waits", "jitter", "timeout", "connect_timeout", "success"], report);
    let presets: [Preset; 2] = [("standard", RetryPolicy::standard), ("ims", RetryPolicy::ims)];
    let preset = table.get("preset").and_then(|value| value.one_of(&presets, report));
    let mut policy = preset.map_or_else(RetryPolicy::standard, |preset| preset());
    if let Some(waits) = table.get("waits").and_then(|value| waits(&value, report)) {
        policy.waits = waits;
    }
    if let Some(jitter) = table.get("jitter").and_then(|value| value.number(0.0..=1.0, report)) {
        policy.jitter = jitter;
    }
    if let Some(timeout) = table.get("timeout").and_then(|value| timeout(&value, LONGEST_TIMEOUT, report)) {
        policy.timeout = timeout;
    }
    match table.get("connect_timeout") {
        Some(value) => {
            if let Some(connect) = timeout(&value, policy.timeout, report) {
                policy.connect_timeout = connect;
            }
        }
        None => policy.connect_timeout = policy.connect_timeout.min(policy.timeout),
    }
    if let Some(codes) = table.get("success").and_then(|value| success(&value, report)) {
        policy.success = Success::Only(codes);
    }
    policy
}

fn waits(value: &Value<'_>, report: &mut Report) -> Option<Vec<Duration>> {
    let items = value.list("write the waits after attempt 1, 2, ..., such as [\"5s\", \"5m\"]", report)?;
    if items.len() > MOST_WAITS {
        let what = format!("{} waits are more than the {MOST_WAITS} that are allowed", items.len());
        value.refuse(Fault::new(what, "use fewer and longer waits"), report);
        return None;
    }
    let wait = |item: Value<'_>| {
        let wait = item.parsed(duration, EXAMPLE, report)?;
        let checked = if wait > LONGEST_WAIT { Err(too_long(wait, LONGEST_WAIT)) } else { Ok(wait) };
        item.take(checked, report)
    };
    Some(items.into_iter().filter_map(wait).collect())
}

fn timeout(value: &Value<'_>, longest: Duration, report: &mut Report) -> Option<Duration> {
    let timeout = value.parsed(duration, EXAMPLE, report)?;
    let checked = if timeout.is_zero() {
        Err(Fault::new("no attempt can succeed in no time", EXAMPLE))
    } else if timeout > longest {
        Err(too_long(timeout, longest))
    } else {
        Ok(timeout)
    };
    value.take(checked, report)
}

fn too_long(duration: Duration, longest: Duration) -> Fault {
    let longest = show_duration(longest);
    Fault::new(
        format!("{} is longer than {longest}", show_duration(duration)),
        format!("write at most \"{longest}\""),
    )
}

fn success(value: &Value<'_>, report: &mut Report) -> Option<Vec<u16>> {
    let help = "write the status codes that count as success, such as [200, 204]";
    let items = value.list(help, report)?;
    if items.is_empty() {
        value.refuse(Fault::new("with no status code no attempt can succeed", help), report);
        return None;
    }
    // Redirects are not followed and errors are errors: a receiver that has the event says so with 2xx.
    let code =
        |item: Value<'_>| item.whole_number(200..=299, report).and_then(|code| u16::try_from(code).ok());
    Some(items.into_iter().filter_map(code).collect())
}
