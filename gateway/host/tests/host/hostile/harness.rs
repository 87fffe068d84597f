//! What must hold for every hostile guest, whatever it does:
//!
//! - it ends as the table says, by a limit that is named;
//! - its call takes no more processor time than its deadline and [`SLACK`];
//! - a neighbour's calls, made at the same time, all have their right results;
//! - after a hundred good calls the process has no more memory than before, but for a mebibyte;
//! - the same host goes on.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, FaultKind, Plugin, Ran, Verdict};
use hookweir_model::PluginRole::{Filter, Transformer};
use tokio::task::JoinSet;

use super::cases::{Case, End};
use crate::guest;
use crate::setup::{LIMITS, Setup, compiler_under, job, resident, step};

/// How far over its deadline a call may run: the next look at it is a millisecond off, and its memory is given back
/// after it.
pub(super) const SLACK: Duration = Duration::from_millis(5);

const THREADS: usize = 2;

pub(super) const MEBIBYTE: usize = 1 << 20;

/// Calls whose processor time is measured. The middle one counts: where others use the machine, the thread that moves
/// the clock on may itself come late.
pub(super) const MEASURED: usize = 3;

/// Hostile calls in line while the neighbour makes its own.
const BESIDE: usize = 8;

const NEIGHBOURS_CALLS: usize = 100;

pub(super) struct Harness {
    setup: Setup,
    good: Arc<Plugin>,
}

impl Harness {
    /// A host of two threads, in a process that runs no other test, whose compiler is started under these limits.
    pub(super) async fn new(limits: Option<&str>) -> Self {
        let setup = Setup::alone_with(THREADS, compiler_under(limits)).await;
        let good = setup.load(guest::echo_filter()).await;
        let harness = Self { setup, good };
        harness.settle().await;
        harness
    }

    /// Brings the process to where an ordinary day brings it: a plugin thread's stack grows once, by the 512 KiB that
    /// any guest may use. Two tenants at once keep both threads busy, since neither may have both.
    async fn settle(&self) {
        let deep = self.load(guest::hostile("03-recursion")).await;
        tokio::join!(self.calls("good", &deep, BESIDE), self.calls("evil", &deep, BESIDE));
        self.good_calls(2 * NEIGHBOURS_CALLS).await;
    }

    pub(super) async fn load(&self, wasm: Bytes) -> Arc<Plugin> {
        self.setup.load(wasm).await
    }

    /// Holds one case to all that must hold, and answers its line of the ledger.
    pub(super) async fn run(&self, case: &Case) -> String {
        let (number, name) = (case.number, case.guest.name());
        let wasm = case.guest.component();
        let before;
        let took = if let End::Refused(sentence) = case.end {
            before = resident();
            let (loaded, ()) =
                tokio::join!(self.setup.host.load(wasm, COMPILE_DEADLINE), self.good_calls(NEIGHBOURS_CALLS));
            let text = loaded.map(|plugin| plugin.digest()).unwrap_err().to_string();
            assert!(text.contains(sentence), "{name}: {text}");
            "not loaded".to_owned()
        } else {
            let plugin = self.setup.load(wasm).await;
            before = resident();
            let times = self.measured_calls(case, &plugin).await;
            let (ended, ()) = tokio::join!(self.crowd(&plugin, BESIDE), self.good_calls(NEIGHBOURS_CALLS));
            for ran in &ended {
                assert_end(case, ran);
            }
            let [_, middle, most] = times;
            assert!(middle <= deadline() + SLACK, "{name}: a call took {middle:?} of processor time");
            format!("{middle:.1?}, at most {most:.1?}")
        };
        self.good_calls(NEIGHBOURS_CALLS).await;
        let after = resident();
        assert!(after <= before + MEBIBYTE, "{name}: {before} bytes were in use, and then {after}");
        let kept = after.saturating_sub(before) >> 10;
        let calls = NEIGHBOURS_CALLS;
        format!("| {number} | {name} | {} | {took} | +{kept} KiB | {calls} of {calls} |", case.end.in_words())
    }

    /// The processor time of calls that are made alone, in order of length.
    async fn measured_calls(&self, case: &Case, plugin: &Arc<Plugin>) -> [Duration; MEASURED] {
        let mut times = [Duration::ZERO; MEASURED];
        for time in &mut times {
            let started = processor();
            let [ran] = self.crowd(plugin, 1).await.try_into().unwrap();
            *time = processor().saturating_sub(started);
            assert_end(case, &ran);
        }
        times.sort();
        times
    }

    /// Makes calls of the hostile tenant, all at once.
    pub(super) async fn crowd(&self, plugin: &Arc<Plugin>, count: usize) -> Vec<Ran> {
        self.calls("evil", plugin, count).await
    }

    async fn calls(&self, tenant: &str, plugin: &Arc<Plugin>, count: usize) -> Vec<Ran> {
        let role = if plugin.exports().filter { Filter } else { Transformer };
        let mut calls = JoinSet::new();
        for _ in 0..count {
            let host = self.setup.host.clone();
            let job = job(tenant, b"{}", vec![step("guest", role, plugin)]);
            calls.spawn(async move { host.run(job).await });
        }
        calls.join_all().await
    }

    /// Makes calls of another tenant, all at once, each on data of its own, and checks their results.
    pub(super) async fn good_calls(&self, count: usize) {
        let mut calls = JoinSet::new();
        for number in 0..count {
            let host = self.setup.host.clone();
            let data = format!("event {number}");
            let job = job("good", data.as_bytes(), vec![step("echo", Filter, &self.good)]);
            calls.spawn(async move { (data, host.run(job).await.verdict) });
        }
        while let Some(ended) = calls.join_next().await {
            let (data, verdict) = ended.unwrap();
            assert!(matches!(&verdict, Verdict::Drop { reason, .. } if *reason == data), "{verdict:?}");
        }
    }
}

pub(super) fn deadline() -> Duration {
    LIMITS.deadline
}

pub(super) fn assert_deadline(ran: &Ran) {
    let stuck = matches!(&ran.verdict, Verdict::Fault(fault) if fault.kind == FaultKind::Deadline);
    assert!(stuck, "{:?}", ran.verdict);
}

fn assert_end(case: &Case, ran: &Ran) {
    let name = case.guest.name();
    assert_eq!(ran.used.len(), ran.calls.len(), "{name}: a call that failed is accounted for too");
    match (&case.end, &ran.verdict) {
        (End::Fails(kind, message), Verdict::Fault(fault)) => {
            assert_eq!(fault.kind, *kind, "{name}: {}", fault.message);
            assert!(fault.message.starts_with(message), "{name}: {}", fault.message);
        }
        (End::Keeps(log), Verdict::Keep(None)) => {
            let kept = &ran.calls[0].log;
            assert!(kept.starts_with(log), "{name}: {kept}");
        }
        (End::Drops(wanted), Verdict::Drop { reason, .. }) => assert_eq!(reason, wanted, "{name}"),
        (End::Makes(length), Verdict::Keep(Some(made))) => assert_eq!(made.data.len(), *length, "{name}"),
        (_, verdict) => panic!("{name}: {verdict:?}"),
    }
}

impl End {
    /// For the ledger.
    fn in_words(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Fails(kind, _) => kind.as_str(),
            Self::Keeps(_) => "kept",
            Self::Drops(_) => "dropped",
            Self::Makes(_) => "handed on",
        }
    }
}

/// Processor time that this process's plugin threads have used so far, by the system's own count. It waits until they
/// sleep, since the count of a running thread lags behind.
pub(super) fn processor() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let mut nanos = 0;
    for thread in threads {
        // A thread of the runtime may end in between.
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        // Not the compile child's and not the ticker's.
        let runs_plugins =
            |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit()) || rest.trim_end() == "back";
        if !name.strip_prefix("plugin-").is_some_and(runs_plugins) {
            continue;
        }
        while !fs::read_to_string(thread.join("stat")).unwrap().contains(") S ") {
            std::thread::yield_now();
        }
        let counted = fs::read_to_string(thread.join("schedstat")).unwrap();
        nanos += counted.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    assert!(nanos > 0, "the system does not count the time of threads (schedstat)");
    Duration::from_nanos(nanos)
}
