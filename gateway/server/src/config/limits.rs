//! The limits of plugin calls: ceilings for all in `[plugins]`, and lower ones in a tenant or a plugin.

use std::time::Duration;

use hookweir_host::{COMPILE_DEADLINE, LONGEST_COMPILE, Limits};

use super::problem::{Fault, Report};
use super::quantity::{duration, show_duration, show_size, size};
use super::written::{Table, Value};

pub(super) const KEYS: [&str; 4] = ["deadline", "memory", "output", "log"];

/// In `[plugins]` alone: it concerns a component and not a call.
pub(super) const COMPILE_KEY: &str = "compile_deadline";

/// A component is compiled by one machine's speed, so that a slow one may be given more. One is compiled at a time.
const COMPILE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), LONGEST_COMPILE);

/// What no configuration may exceed. A call holds a plugin thread for its deadline and a slot of the instance pool
/// for its memory; both are sized for these.
const HIGHEST: Limits =
    Limits { deadline: Duration::from_millis(100), memory: 64 << 20, output: 16 << 20, log: 64 << 10 };
const LOWEST: Limits = Limits { deadline: Duration::from_millis(1), memory: 64 << 10, output: 1, log: 0 };

/// Limits that a lower level may only lower.
#[derive(Debug, Clone)]
pub(super) struct Ceilings {
    limits: Limits,
    /// The full name of the key that set each of [`KEYS`]; `None` for what is built in.
    set_by: [Option<String>; 4],
}

impl Ceilings {
    /// The ceilings of the whole gateway, from `[plugins]`.
    pub(super) fn of_gateway(table: Option<&Table<'_>>, report: &mut Report) -> Self {
        let highest = Self { limits: HIGHEST, set_by: [const { None }; 4] };
        let defaults =
            Self { limits: Limits::default(), set_by: KEYS.map(|key| Some(format!("plugins.{key}"))) };
        match table {
            Some(table) => lowered(table, &defaults, &highest, report),
            None => defaults,
        }
    }

    /// These ceilings, lowered by the `limits` of a tenant or a plugin.
    pub(super) fn lowered_by(&self, limits: Option<Value<'_>>, report: &mut Report) -> Self {
        let example = "write a table, such as { deadline = \"5ms\", memory = \"8MiB\" }";
        let Some(table) = limits.and_then(|limits| limits.table(example, report)) else {
            return self.clone();
        };
        table.allow(&KEYS, report);
        lowered(&table, self, self, report)
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }
}

/// Processor time that compiling one component may take.
pub(super) fn compile_deadline(table: Option<&Table<'_>>, report: &mut Report) -> Duration {
    let Some(value) = table.and_then(|table| table.get(COMPILE_KEY)) else { return COMPILE_DEADLINE };
    let read = value.parsed(duration, "write a duration in quotes, such as \"60s\"", report);
    let found = read.and_then(|found| bounded(&value, found, COMPILE_BOUNDS, show_duration, None, report));
    found.unwrap_or(COMPILE_DEADLINE)
}

/// Reads the four limits from a table: those that it leaves out are `otherwise`, and none may be above `ceiling`.
fn lowered(table: &Table<'_>, otherwise: &Ceilings, ceiling: &Ceilings, report: &mut Report) -> Ceilings {
    let mut lowered = otherwise.clone();
    for (key, set_by) in KEYS.iter().zip(&mut lowered.set_by) {
        if table.get(key).is_some() {
            *set_by = Some(format!("{}.{key}", table.name()));
        }
    }
    let of = |index: usize| ceiling.set_by[index].as_deref();
    if let Some(value) = table.get("deadline") {
        let bounds = (LOWEST.deadline, ceiling.limits.deadline);
        let read = value.parsed(duration, "write a duration in quotes, such as \"10ms\"", report);
        if let Some(found) =
            read.and_then(|found| bounded(&value, found, bounds, show_duration, of(0), report))
        {
            lowered.limits.deadline = found;
        }
    }
    let bytes = [
        ("memory", LOWEST.memory, ceiling.limits.memory, &mut lowered.limits.memory),
        ("output", LOWEST.output, ceiling.limits.output, &mut lowered.limits.output),
        ("log", LOWEST.log, ceiling.limits.log, &mut lowered.limits.log),
    ];
    for (index, (key, lowest, highest, limit)) in bytes.into_iter().enumerate() {
        let Some(value) = table.get(key) else { continue };
        let bounds = (as_u64(lowest), as_u64(highest));
        let read = value.parsed(size, "write a size in quotes, such as \"16MiB\"", report);
        if let Some(found) =
            read.and_then(|found| bounded(&value, found, bounds, show_size, of(index + 1), report))
        {
            *limit = usize::try_from(found).unwrap_or(highest);
        }
    }
    lowered
}

fn bounded<T: Copy + PartialOrd>(
    value: &Value<'_>,
    found: T,
    (lowest, highest): (T, T),
    show: fn(T) -> String,
    set_by: Option<&str>,
    report: &mut Report,
) -> Option<T> {
    let checked = if found > highest {
        let highest = show(highest);
        Err(match set_by {
            Some(key) => Fault::new(
                format!("{} is above the ceiling of {highest} that `{key}` sets", show(found)),
                format!("write at most \"{highest}\" here, or raise the ceiling"),
            ),
            None => Fault::new(
                format!("{} is above {highest}, the highest that can be set", show(found)),
                format!("write at most \"{highest}\""),
            ),
        })
    } else if found < lowest {
        Err(Fault::new(
            format!("{} is too low for any plugin to work", show(found)),
            format!("write at least \"{}\"", show(lowest)),
        ))
    } else {
        Ok(found)
    };
    value.take(checked, report)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
