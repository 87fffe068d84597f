//! `hookweir plugin test`: sample events through the component, under a gateway's limits.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_host::{FaultKind, Limits, Plugin, Ran, Used, Verdict};
use hookweir_model::{Digest, PluginId, PluginRole, TenantId};
use serde_json::{Value, json};
use similar::TextDiff;

use super::dry_run::{Window, dry_run};
use super::folder::{Named, Subject};
use super::local::Local;
use super::results::{Failure, Results, expects_a_fault};
use crate::cli::client::AdminArgs;
use crate::cli::exit::Usage;
use crate::cli::{Exit, client, show};

/// A limit that is used up this far deserves a word: the next event may be a larger one.
const CLOSE: f64 = 0.7;

/// Bytes of data that events of orders or pushes have and more: cases that all have less leave the limits untried.
const ORDINARY: usize = 50_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin's folder, or a component
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Run one case alone, by its name in `events`
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Write what the plugin does now to `expected`, instead of comparing it; a fault, as a trap, is not written
    #[arg(long)]
    update: bool,
    /// Instead, ask a gateway what the component would change for this tenant, by its stored events; nothing is sent
    #[arg(long, conflicts_with_all = ["case", "update"])]
    tenant: Option<TenantId>,
    /// With --tenant: the plugin's name in the gateway [default: its name here]
    #[arg(long, requires = "tenant")]
    plugin: Option<PluginId>,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What one case came to.
struct Outcome {
    name: String,
    results: Results,
    ran: Ran,
    fault: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    let subject = Subject::at(&args.path)?;
    let wasm = subject.wasm()?;
    if let Some(tenant) = &args.tenant {
        let plugin = args.plugin.as_ref().unwrap_or(&subject.name);
        return client(dry_run(&args.admin, tenant, plugin, wasm, &args.window));
    }
    if args.window.is_given() {
        let advice =
            "--since, --until, --event-type and --limit choose a tenant's stored events: add --tenant";
        return Err(Usage(advice.to_owned()).into());
    }
    let cases = subject.cases(args.case.as_deref())?;
    let local = Local::start()?;
    let plugin = local.load(wasm)?;
    let expected = subject.folder.join("expected");
    if args.update {
        fs::create_dir_all(&expected).with_context(|| format!("can't make {}", expected.display()))?;
    }
    let mut outcomes = Vec::with_capacity(cases.len());
    for case in &cases {
        outcomes.push(try_case(&local, &subject, &plugin, case, &expected, args.update)?);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.fault.is_some()).count();
    let text = if args.admin.json {
        format!("{}\n", report(&subject, &plugin, &outcomes))
    } else {
        let largest = cases.iter().map(|named| named.case.event.data.len()).max().unwrap_or_default();
        told(&subject, &outcomes, args.update, largest)
    };
    show::print(&text)?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn try_case(
    local: &Local,
    subject: &Subject,
    plugin: &Arc<Plugin>,
    Named { name, case }: &Named,
    expected: &Path,
    update: bool,
) -> Result<Outcome> {
    let call = |reuse| -> Result<Ran> {
        let ran = local.run(subject.job(plugin, case, reuse));
        match &ran.verdict {
            Verdict::Fault(fault) if fault.kind == FaultKind::Host => anyhow::bail!("{}", fault.message),
            _ => Ok(ran),
        }
    };
    let ran = call(false)?;
    let results = Results::of(&ran, plugin.exports());
    let file = expected.join(format!("{name}.json"));
    let mut fault = match results.broken() {
        Some((role, failure)) => Some(broken(&file, role, failure, update)?),
        None if update => {
            fs::write(&file, results.file()?).with_context(|| format!("can't write {}", file.display()))?;
            None
        }
        None => compare(&file, &results)?,
    };
    // A second event must not see the first one. An instance that is reused shows whether it does.
    if fault.is_none() && subject.reuse {
        let again = Results::of(&call(true)?, plugin.exports());
        if again != results {
            let diff = diff(&pretty(&results.as_like(&Value::Null))?, &pretty(&again.as_like(&Value::Null))?);
            fault =
                Some(format!("a reused instance, which has seen other events, does something else:\n{diff}"));
        }
    }
    Ok(Outcome { name: name.clone(), results, ran, fault })
}

/// What is said of a plugin that broke: that is never a result, whatever the file says.
fn broken(file: &Path, role: PluginRole, failure: &Failure, update: bool) -> Result<String> {
    let Failure { kind, message } = failure;
    let (role, kind, shown) = (role.as_str(), kind.as_str(), file.display());
    let next = match wanted(file)? {
        _ if update => format!("nothing was written to {shown}: then run this again"),
        Some(wanted) if expects_a_fault(&wanted) => {
            format!("{shown} expects such a fault: then --update writes what it does")
        }
        Some(wanted) => format!("{shown} expects\n{}", pretty(&wanted)?),
        None => format!("{shown} is not there: then --update writes it"),
    };
    Ok(format!(
        "it broke as a {role} ({kind}): {message}\na fault is never what is expected: mend the plugin, or its `config` or \
         `limits`; {next}\n"
    ))
}

/// What a file of `expected` holds, if it is there.
fn wanted(file: &Path) -> Result<Option<Value>> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't read {shown}")),
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{shown} is not JSON"))
}

/// Says how the results differ from the file's.
fn compare(file: &Path, results: &Results) -> Result<Option<String>> {
    let Some(wanted) = wanted(file)? else {
        let shown = file.display();
        return Ok(Some(format!("{shown} is not there: --update writes what the plugin does now\n")));
    };
    if expects_a_fault(&wanted) {
        let now = pretty(&results.as_like(&wanted))?;
        return Ok(Some(format!(
            "{} expects a fault, which is never a result: --update writes what the plugin does now, which is\n{now}\n",
            file.display()
        )));
    }
    let found = results.as_like(&wanted);
    Ok((wanted != found).then_some(diff(&pretty(&wanted)?, &pretty(&found)?)))
}

fn pretty(value: &Value) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value)
}

/// What was expected with `-`, what came with `+`.
fn diff(wanted: &str, found: &str) -> String {
    TextDiff::from_lines(wanted, found)
        .unified_diff()
        .context_radius(2)
        .missing_newline_hint(false)
        .to_string()
}

/// For a person: a line a case, what failed in full, and how near the limits are.
///
/// `largest` is how many bytes the largest event's data has.
fn told(subject: &Subject, outcomes: &[Outcome], updated: bool, largest: usize) -> String {
    let mut rows = show::Rows::new(&["CASE", "RESULT", "TIME", "MEMORY", "OUTPUT", "LOG"]);
    for outcome in outcomes {
        let worst = Worst::of(&outcome.ran.used);
        let result = match (&outcome.fault, updated) {
            (Some(_), _) => "FAILED",
            (None, true) => "written",
            (None, false) => "ok",
        };
        rows.push([
            &outcome.name,
            result,
            &micros(worst.processor),
            &bytes(worst.memory),
            &bytes(worst.output),
            &bytes(worst.log),
        ]);
    }
    let mut text = rows.render(show::Look::of_stdout());
    for outcome in outcomes {
        let Some(fault) = &outcome.fault else { continue };
        let _ = write!(text, "\n{}:\n{}", show::escaped(&outcome.name), show::block(fault, "  "));
        for call in outcome.ran.calls.iter().filter(|call| !call.log.is_empty()) {
            let _ = write!(text, "  log of its {}:\n{}", call.role.as_str(), show::block(&call.log, "    "));
        }
    }
    let all: Vec<Used> = outcomes.iter().flat_map(|outcome| outcome.ran.used.iter().copied()).collect();
    let _ = write!(text, "\n{}", against_limits(&Worst::of(&all), &subject.limits));
    text.push_str(&small_alone(largest).unwrap_or_default());
    let failed = outcomes.iter().filter(|outcome| outcome.fault.is_some()).count();
    let passed = outcomes.len() - failed;
    let _ = match (failed, updated) {
        (0, true) => writeln!(text, "\n{passed} written to {}", subject.folder.join("expected").display()),
        (0, false) => writeln!(text, "\n{passed} passed"),
        (_, true) => writeln!(text, "\n{passed} written, {failed} FAILED"),
        (_, false) => writeln!(text, "\n{passed} passed, {failed} FAILED"),
    };
    text
}

/// What to say where all events are small: that they fit the limits tells little of an ordinary one.
fn small_alone(largest: usize) -> Option<String> {
    (largest < ORDINARY).then(|| {
        let size = bytes(largest);
        format!(
            "\nthe largest event here has {size} of data; a larger one takes more time and memory: try one of each size \
             that you expect\n"
        )
    })
}

/// The most that any of some calls took of each limit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Worst {
    processor: Duration,
    memory: usize,
    output: usize,
    log: usize,
}

impl Worst {
    fn of(calls: &[Used]) -> Self {
        calls.iter().fold(Self::default(), |worst, used| Self {
            processor: worst.processor.max(used.processor),
            memory: worst.memory.max(used.memory),
            output: worst.output.max(used.output),
            log: worst.log.max(used.log),
        })
    }
}

/// The largest call of each kind beside its limit.
fn against_limits(worst: &Worst, limits: &Limits) -> String {
    let part = |used: usize, limit: usize| {
        // A limit of nothing is reached at once.
        if limit == 0 { f64::from(u8::from(used > 0)) } else { used as f64 / limit as f64 }
    };
    let time = worst.processor.as_secs_f64() / limits.deadline.as_secs_f64();
    let lines = [
        ("time", micros(worst.processor), micros(limits.deadline), time),
        ("memory", bytes(worst.memory), bytes(limits.memory), part(worst.memory, limits.memory)),
        ("output", bytes(worst.output), bytes(limits.output), part(worst.output, limits.output)),
        ("log", bytes(worst.log), bytes(limits.log), part(worst.log, limits.log)),
    ];
    let mut rows = show::Rows::new(&["LIMIT", "MOST USED", "OF", "PART", ""]);
    for (name, used, limit, part) in lines {
        let warning = if part >= CLOSE { "close to its limit: a larger event may go over it" } else { "" };
        rows.push([name, &used, &limit, &format!("{:.0} %", part * 100.0), warning]);
    }
    rows.render(show::Look::of_stdout())
}

fn micros(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 { format!("{micros} us") } else { format!("{:.1} ms", time.as_secs_f64() * 1e3) }
}

fn bytes(count: usize) -> String {
    match count {
        count if count < 1 << 10 => format!("{count} B"),
        count if count < 1 << 20 => format!("{:.1} KiB", count as f64 / 1024.0),
        count => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// For a program: all of it, with the exact bytes of what was made.
fn report(subject: &Subject, plugin: &Plugin, outcomes: &[Outcome]) -> Value {
    let case = |outcome: &Outcome| {
        let calls = outcome.ran.calls.iter().zip(&outcome.ran.used).map(|(call, used)| {
            json!({
                "role": call.role.as_str(), "micros": used.processor.as_micros(), "memory": used.memory,
                "output": used.output, "log_bytes": used.log, "log": call.log,
            })
        });
        let made = outcome.results.transform.as_ref().and_then(|made| made.as_ref().ok());
        let made = made.map(|made| {
            json!({
                "content_type": made.content_type, "headers": made.headers, "data_base64": BASE64.encode(&made.data),
                "sha256": Digest::of(&made.data).to_string(),
            })
        });
        json!({
            "name": outcome.name, "passed": outcome.fault.is_none(), "fault": outcome.fault,
            "results": outcome.results.as_like(&Value::Null), "made": made, "calls": calls.collect::<Vec<_>>(),
        })
    };
    let Limits { deadline, memory, output, log } = subject.limits;
    let failed = outcomes.iter().filter(|outcome| outcome.fault.is_some()).count();
    json!({
        "plugin": subject.name, "digest": plugin.digest().to_string(), "world": plugin.exports().world(),
        "limits": { "micros": deadline.as_micros(), "memory": memory, "output": output, "log": log },
        "passed": outcomes.len() - failed, "failed": failed, "cases": outcomes.iter().map(case).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_to_its_limit_is_said() {
        let limits = Limits { deadline: Duration::from_millis(10), memory: 100, output: 100, log: 0 };
        let used = |processor, memory, output, log| Used {
            processor: Duration::from_micros(processor),
            memory,
            output,
            log,
            fresh: true,
        };
        let worst = Worst::of(&[used(100, 69, 0, 0), used(7_000, 10, 5, 0)]);
        let table = against_limits(&worst, &limits);
        let close: Vec<&str> = table.lines().filter(|line| line.contains("close")).collect();
        assert_eq!(close.len(), 1, "{table}");
        assert!(close[0].starts_with("time") && close[0].contains("70 %"), "{table}");
        assert!(against_limits(&Worst::of(&[used(0, 0, 0, 1)]), &limits).contains("100 %"));
    }

    #[test]
    fn small_cases_alone_are_told() {
        assert_eq!(small_alone(ORDINARY), None);
        let told = small_alone(1_536).unwrap();
        assert!(told.contains("the largest event here has 1.5 KiB of data"), "{told}");
    }

    #[test]
    fn a_diff_marks_what_was_expected_and_what_came() {
        let shown = diff("{\n  \"keep\": true\n}", "{\n  \"drop\": \"x\"\n}");
        assert!(shown.contains("-  \"keep\": true") && shown.contains("+  \"drop\": \"x\""), "{shown}");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([bytes(12), bytes(1536), bytes(17 << 20)], ["12 B", "1.5 KiB", "17.0 MiB"]);
        assert_eq!(
            [micros(Duration::from_micros(82)), micros(Duration::from_millis(12))],
            ["82 us", "12.0 ms"]
        );
    }
}
