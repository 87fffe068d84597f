//! A host in a folder of its own, and jobs for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, Compiler, Config, Fault, Host, Job, Limits, Plugin, Step, Verdict};
use hookweir_model::{Event, EventId, EventType, PluginId, PluginRole, TenantId, Timestamp};
use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::guest;

/// The tests of this binary share a process. Those that look at its memory hold this for themselves.
static PROCESS: RwLock<()> = RwLock::const_new(());

/// Held by a test to its end, so that none that needs the process alone runs beside it.
#[derive(Debug)]
pub(crate) enum Place {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Place {
    pub(crate) async fn shared() -> Self {
        Self::Shared { _guard: PROCESS.read().await }
    }

    pub(crate) async fn alone() -> Self {
        Self::Alone { _guard: PROCESS.write().await }
    }
}

/// How many cases to try: few in an ordinary run, many where `HOOKWEIR_LONG` is set.
pub(crate) fn amount(short: u64, long: u64) -> u64 {
    if std::env::var_os("HOOKWEIR_LONG").is_some() { long } else { short }
}

pub(crate) struct Setup {
    pub host: Host,
    dir: TempDir,
    _place: Place,
}

impl Setup {
    pub(crate) async fn new(threads: usize) -> Self {
        Self::in_place(threads, compiler(), Place::shared().await)
    }

    /// For tests that look at the process's memory and time.
    pub(crate) async fn alone_with(threads: usize, compiler: Compiler) -> Self {
        Self::in_place(threads, compiler, Place::alone().await)
    }

    fn in_place(threads: usize, compiler: Compiler, place: Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = host_in(dir.path(), threads, compiler);
        Self { host, dir, _place: place }
    }

    pub(crate) fn cache_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn load(&self, wasm: Bytes) -> Arc<Plugin> {
        self.host.load(wasm, COMPILE_DEADLINE).await.unwrap()
    }

    /// Loads a guest and runs one event of tenant `evil` through it.
    pub(crate) async fn run(&self, role: PluginRole, wasm: Bytes, limits: Limits) -> hookweir_host::Ran {
        let plugin = self.load(wasm).await;
        let step = Step { limits, ..step("guest", role, &plugin) };
        self.host.run(job("evil", b"{}", vec![step])).await
    }

    /// Loads a guest, which must fail, and answers how.
    pub(crate) async fn fault(&self, role: PluginRole, wasm: Bytes, limits: Limits) -> Fault {
        match self.run(role, wasm, limits).await.verdict {
            Verdict::Fault(fault) => fault,
            other => panic!("the guest did not fail: {other:?}"),
        }
    }

    /// Calls a good plugin of another tenant.
    pub(crate) async fn assert_still_serves(&self) {
        let plugin = self.load(guest::echo_filter()).await;
        let ran = self.host.run(job("good", b"hello", vec![step("echo", PluginRole::Filter, &plugin)])).await;
        match ran.verdict {
            Verdict::Drop { reason, .. } => assert_eq!(reason, "hello"),
            other => panic!("the good plugin failed: {other:?}"),
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.host.close();
    }
}

/// The default ones but for the deadline, which thousands of endless calls wait for.
pub(crate) const LIMITS: Limits =
    Limits { deadline: Duration::from_millis(10), memory: 16 << 20, output: 2 << 20, log: 1 << 10 };

pub(crate) fn compiler() -> Compiler {
    Compiler { program: env!("CARGO_BIN_EXE_compile-plugin").into(), args: Vec::new() }
}

/// The compiler under limits that a shell sets, as arguments of its `ulimit`.
pub(crate) fn compiler_under(limits: Option<&str>) -> Compiler {
    let Some(limits) = limits else { return compiler() };
    let script = format!("ulimit -S {limits}; exec '{}'", env!("CARGO_BIN_EXE_compile-plugin"));
    Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }
}

pub(crate) fn host_in(dir: &Path, threads: usize, compiler: Compiler) -> Host {
    Host::new(Config { threads, ..Config::new(dir.join("cache"), compiler) }).unwrap()
}

pub(crate) fn step(id: &str, role: PluginRole, plugin: &Arc<Plugin>) -> Step {
    Step {
        id: PluginId::new(id).unwrap(),
        role,
        plugin: Arc::clone(plugin),
        config: "{}".into(),
        limits: LIMITS,
        reuse: None,
    }
}

pub(crate) fn job(tenant: &str, data: &[u8], steps: Vec<Step>) -> Job {
    let tenant = TenantId::new(tenant).unwrap();
    Job { event: event(&tenant, data), tenant, steps: steps.into() }
}

pub(crate) fn event(tenant: &TenantId, data: &[u8]) -> Arc<Event> {
    Arc::new(Event {
        tenant: tenant.clone(),
        id: EventId::new("evt_1").unwrap(),
        event_type: EventType::new("order.created").unwrap(),
        source: "/shop".to_owned(),
        subject: None,
        time: "2026-01-31T12:00:00Z".to_owned(),
        received: Timestamp::from_millis(0),
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data: Bytes::copy_from_slice(data),
    })
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
