//! The composition root: from a checked configuration to a running gateway, and back to an orderly end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use hookweir_host::Host;
use hookweir_journal::Journal;
use hookweir_journal::engines::embedded::{Embedded, Options};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::accept::{self, Accept};
use crate::admin::{self, Admin, Changes};
use crate::background;
use crate::clock::{Clock, Watch};
use crate::config::{self, Config};
use crate::dispatch::{self, Dispatcher};
use crate::feed::Feed;
use crate::listen::{self, Budgets, Connections, Listening};
use crate::live::Live;
use crate::memory;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::plugins::{Loader, Plugins};
use crate::pull::Queues;
use crate::rotate;
use crate::telemetry::Telemetry;
use crate::upkeep;

/// The name under which the one node of the embedded engine holds its shards.
const NODE: &str = "local";
/// Leases of the embedded engine do not end; the number is for engines where they do.
const LEASE: Duration = Duration::from_secs(15);
/// How often a start looks whether the journal's disk has room for it.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);
/// What attempts in flight get when the gateway stops. With what is left of ten seconds the journal is closed.
const GRACE: Duration = Duration::from_secs(7);

/// A running gateway.
#[derive(Debug)]
pub(crate) struct App {
    pub accept_addr: SocketAddr,
    pub admin_addr: SocketAddr,
    live: Arc<ArcSwap<Live>>,
    host: Arc<Host>,
    plugins: Arc<Plugins>,
    changes: Changes,
    metrics: Arc<Metrics>,
    journal: Arc<dyn Journal>,
    clock: Arc<Clock>,
    /// Ends with this.
    _watch: Option<Watch>,
    dispatcher: Dispatcher,
    telemetry: Telemetry,
    stop: CancellationToken,
    broken: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The configuration asks for what can't be had: every problem that was found.
    Configuration(Vec<anyhow::Error>),
    /// The machine does not give what is needed.
    Machine(anyhow::Error),
}

/// Why a new configuration was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Its files have problems.
    Files(config::Problems),
    /// It asks for what can't be had: every problem that was found.
    Configuration(Vec<anyhow::Error>),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Machine(error)
    }
}

/// The plugin host of a gateway whose data lies in `data`.
pub(crate) fn host(data: &std::path::Path) -> Result<Host> {
    let program = std::env::current_exe().context("failed to find the path of this program")?;
    let config = hookweir_host::Config {
        cache_dir: data.join("plugins"),
        compiler: hookweir_host::Compiler { program, args: vec!["compile-plugin".into()] },
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
        max_upload: crate::config::MAX_PLUGIN_SIZE,
    };
    Host::new(config).context("failed to start the plugin host")
}

impl App {
    /// Binds both listeners before any slow work, then opens the journal, loads the plugins and starts the lanes.
    pub(crate) async fn start(mut config: Config) -> Result<Self, Refused> {
        raise_file_limit();
        let accept_listener = bind(config.accept.listen, "accept")?;
        let admin_listener = bind(config.admin.listen, "admin")?;
        let accept_addr =
            accept_listener.local_addr().context("failed to read the accept listener's address")?;
        let admin_addr =
            admin_listener.local_addr().context("failed to read the admin listener's address")?;
        config.egress.own_addresses = vec![accept_addr, admin_addr];

        let telemetry = Telemetry::start(config.otlp.as_ref())?;
        let journal = Arc::new(open_journal(&config).await?);
        let metrics = Arc::new(Metrics::new({
            let journal = Arc::clone(&journal);
            move || journal.stats()
        }));
        let journal: Arc<dyn Journal> = journal;
        let numbers = Arc::new(Numbers::open(&config.journal.path));
        let clock = Arc::new(start_clock(&*journal).await);
        let host = Arc::new(host(&config.journal.path)?);
        let max_age = config.journal.retention;
        let memory = memory_of_deliveries(&config);
        let states = journal.plugin_states().await.context("failed to read the plugins' states")?;
        let states = states.into_iter().collect();
        let loader = Loader { host: &host, journal: &*journal, states: &states };
        let live = Live::build(config, loader, None).await.map_err(Refused::Configuration)?;
        metrics.taken.note(live.troubles.clone());
        let live = Arc::new(ArcSwap::from_pointee(live));
        let plugins = Plugins::new(Arc::clone(&journal), Arc::clone(&host), Arc::clone(&live), states);
        let plugins = Arc::new(plugins);
        plugins.forget_pauses().await;

        let leases = journal.acquire_shards(NODE, LEASE).await.context("failed to take the shards")?;
        let (stop, broken) = (CancellationToken::new(), CancellationToken::new());
        let queues = Queues::new(
            Arc::clone(&journal),
            Arc::clone(&numbers),
            Arc::clone(&clock),
            stop.clone(),
            broken.clone(),
        );
        let feed: Arc<Feed> = Arc::default();
        let parts = dispatch::Parts {
            journal: Arc::clone(&journal),
            live: Arc::clone(&live),
            host: Arc::clone(&host),
            plugins: Arc::clone(&plugins),
            metrics: Arc::clone(&metrics),
            traces: telemetry.traces(),
            queues: Arc::clone(&queues),
            feed: Arc::clone(&feed),
            clock: Arc::clone(&clock),
            broken: broken.clone(),
            memory,
        };
        let dispatcher = Dispatcher::start(parts, &leases).await?;

        let (waiting, descriptors) = (memory::waiting(), listen::descriptors());
        let listening = Listening {
            accept: Connections::new((descriptors / 2).min(accept::CONNECTIONS), waiting),
            admin: Connections::new((descriptors / 4).min(admin::CONNECTIONS), waiting / 4),
            budgets: Budgets::new(waiting),
        };
        let path = Arc::new(accept::Path {
            journal: Arc::clone(&journal),
            dispatcher: dispatcher.clone(),
            metrics: Arc::clone(&metrics),
            traces: telemetry.traces(),
            broken: broken.clone(),
        });
        let accept = Arc::new(Accept {
            live: Arc::clone(&live),
            metrics: Arc::clone(&metrics),
            journal: Arc::clone(&journal),
            queues: Arc::clone(&queues),
            quotas: accept::Quotas::default(),
            path,
            budgets: listening.budgets.clone(),
            stop: stop.clone(),
        });
        let changes = Changes::default();
        let admin = Admin {
            live: Arc::clone(&live),
            journal: Arc::clone(&journal),
            dispatcher: dispatcher.clone(),
            plugins: Arc::clone(&plugins),
            host: Arc::clone(&host),
            queues: Arc::clone(&queues),
            uploads: Arc::default(),
            metrics: Arc::clone(&metrics),
            feed,
            clock: Arc::clone(&clock),
            guesses: Arc::default(),
            changes: changes.clone(),
            listening,
            numbers,
            streams: Arc::default(),
            stop: stop.clone(),
        };
        let senders = Arc::clone(&admin.listening.accept);
        let admin = admin::serve(admin_listener, admin, stop.clone());
        let admin = admin.context("failed to start the thread that answers who looks")?;
        let tasks = vec![
            tokio::spawn(accept::serve(accept_listener, senders, accept, stop.clone())),
            tokio::spawn(admin),
            background::spawn("upkeep", &stop, {
                let (journal, live) = (Arc::clone(&journal), Arc::clone(&live));
                let (clock, stop) = (Arc::clone(&clock), stop.clone());
                move || {
                    let (journal, live) = (Arc::clone(&journal), Arc::clone(&live));
                    upkeep::run(journal, live, Arc::clone(&clock), max_age, stop.clone())
                }
            }),
            background::spawn("resetting timers", &stop, {
                let (clock, dispatcher, stop) = (Arc::clone(&clock), dispatcher.clone(), stop.clone());
                move || {
                    reset_timers(Arc::clone(&clock), dispatcher.clone(), Arc::clone(&queues), stop.clone())
                }
            }),
        ];
        let watch = Watch::start(Arc::clone(&clock)).inspect_err(|error| {
            warn!(
                target: "hookweir::clock",
                %error,
                "the kernel does not tell of steps of the wall clock: they are seen within a minute"
            );
        });
        info!(target: "hookweir::listener", addr = %accept_addr, "accept listening");
        info!(target: "hookweir::listener", addr = %admin_addr, "admin listening");
        Ok(Self {
            accept_addr,
            admin_addr,
            live,
            host,
            plugins,
            changes,
            metrics,
            journal,
            clock,
            _watch: watch.ok(),
            dispatcher,
            telemetry,
            stop,
            broken,
            tasks,
        })
    }

    /// Puts the configuration that `load` reads in force, or leaves the old one as it is. Tenants in included files that can't
    /// be used stay as they are. Nothing else is changed from the reading on, so that no secret that is rotated meanwhile is
    /// lost.
    pub(crate) async fn reload(
        &self,
        load: impl FnOnce() -> Result<Config, config::Problems>,
    ) -> Result<(), NotTaken> {
        let taken = self.take(load).await;
        self.metrics.taken.note(match &taken {
            Ok(()) => self.live().troubles.clone(),
            Err(NotTaken::Files(problems)) => problems.lines(),
            Err(NotTaken::Configuration(problems)) => {
                problems.iter().map(|problem| format!("{problem:#}")).collect()
            }
        });
        taken
    }

    async fn take(&self, load: impl FnOnce() -> Result<Config, config::Problems>) -> Result<(), NotTaken> {
        let change = self.plugins.change().await;
        let mut config = load().map_err(NotTaken::Files)?;
        let before = change.live();
        config.egress.own_addresses.clone_from(&before.config.egress.own_addresses);
        config.keep_broken(&before.config);
        rotate::keep_ends(&mut config, &before.config);
        let vanished: Vec<_> = config::vanished(&before.config.includes, &config.includes).collect();
        if !vanished.is_empty() {
            return Err(NotTaken::Configuration(vanished));
        }
        let fixed = [
            ("accept.listen", config.accept.listen != before.config.accept.listen),
            ("admin.listen", config.admin.listen != before.config.admin.listen),
            ("[journal]", config.journal != before.config.journal),
            ("[dispatch]", config.dispatch != before.config.dispatch),
            ("[telemetry]", config.otlp != before.config.otlp),
        ];
        for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
            warn!(
                target: "hookweir::config",
                key,
                "a change of this takes a restart; the rest of the new configuration is in force"
            );
        }
        self.plugins.reload(change, config).await.map_err(NotTaken::Configuration)?;
        self.dispatcher.reloaded();
        self.dispatcher.note_absence().await;
        Ok(())
    }

    /// What is in force.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Completes when the journal can't be relied on any more.
    pub(crate) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Takes no more events, ends or gives up what is in flight, and closes the journal: within ten seconds.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let listeners = async {
            for task in self.tasks {
                // A task that panicked has logged it; the others must still end.
                let _ = task.await;
            }
            self.changes.ended().await;
        };
        tokio::join!(
            async {
                if tokio::time::timeout(GRACE, listeners).await.is_err() {
                    warn!(target: "hookweir::listener", "requests under way were cut");
                }
            },
            self.dispatcher.drain(GRACE)
        );
        self.live.load().outlets.close().await;
        if let Err(error) = self.journal.keep_clock(&self.clock.to_keep()).await {
            warn!(target: "hookweir::clock", %error, "failed to keep the clock");
        }
        self.journal.close().await;
        self.host.close();
        self.telemetry.stop().await;
    }
}

/// What deliveries may hold of the memory; says so where that is less than what is configured.
fn memory_of_deliveries(config: &Config) -> usize {
    let bytes = memory::of_deliveries(config.dispatch.memory);
    if let Some(configured) = config.dispatch.memory
        && u64::try_from(bytes).is_ok_and(|bytes| bytes < configured)
    {
        warn!(
            target: "hookweir::config",
            configured,
            bytes,
            "dispatch.memory is more than half of what this process may have: half of it is used"
        );
    }
    bytes
}

fn bind(address: SocketAddr, which: &str) -> Result<TcpListener> {
    listen::bind(address).map_err(|error| {
        let advice = unbound(error.kind(), which);
        anyhow::Error::from(error).context(format!("failed to listen on {address}: {advice}"))
    })
}

/// What to do about an address that can't be listened on.
fn unbound(kind: io::ErrorKind, which: &str) -> String {
    match kind {
        io::ErrorKind::AddrInUse => format!("change {which}.listen, or stop what uses that port"),
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has that address: change {which}.listen")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "ports below 1024 take a privilege (CAP_NET_BIND_SERVICE): grant it, or change {which}.listen"
            )
        }
        _ => format!("change {which}.listen"),
    }
}

/// Goes on with the clock that the journal keeps, and keeps it: from then on the next process finds out how long it was away.
async fn start_clock(journal: &dyn Journal) -> Clock {
    let kept = journal.kept_clock().await.unwrap_or_else(|error| {
        // It starts again: what is old is removed later for it, and nothing sooner.
        warn!(target: "hookweir::clock", %error, "failed to read the clock that was kept");
        None
    });
    let clock = Clock::start(kept.as_ref());
    if let Err(error) = journal.keep_clock(&clock.to_keep()).await {
        warn!(target: "hookweir::clock", %error, "failed to keep the clock");
    }
    clock
}

/// Resets timers whenever the machine has slept, until `stop`.
async fn reset_timers(
    clock: Arc<Clock>,
    dispatcher: Dispatcher,
    queues: Arc<Queues>,
    stop: CancellationToken,
) {
    let mut woken = clock.woken();
    loop {
        tokio::select! {
            changed = woken.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        dispatcher.woken();
        queues.woken();
    }
}

/// Opens the journal, as soon as its disk has room for what a start writes: a supervisor gives a program up that ends again
/// and again, and the disk may have room later.
async fn open_journal(config: &Config) -> Result<Embedded> {
    let mut is_told = false;
    loop {
        let path: PathBuf = config.journal.path.clone();
        let options = Options {
            on_damage: config.journal.on_damage,
            max_size: Some(config.journal.max_size),
            reserve: config.journal.reserve,
            waiting_bytes: memory::waiting(),
            ..Options::default()
        };
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, options)).await;
        match opened.context("opening the journal was broken off")? {
            Err(hookweir_journal::Error::Full(why)) => {
                if !std::mem::replace(&mut is_told, true) {
                    warn!(target: "hookweir::journal", "the journal can't be opened before there is room: {why}");
                }
                tokio::time::sleep(LOOK_FOR_ROOM).await;
            }
            opened => {
                return opened.with_context(|| {
                    format!("failed to open the journal in {}", config.journal.path.display())
                });
            }
        }
    }
}

/// Each connection takes a descriptor, and the usual soft limit of 1,024 is soon reached.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(target: "hookweir::process", %error, "failed to raise the limit of open files");
    }
}
