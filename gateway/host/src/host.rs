//! The plugin host as the gateway sees it: load a component, run a job, close.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::Digest;
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::cache::Cache;
use crate::compile::Compiler;
use crate::contract::{FaultKind, Job, Ran, Verdict};
use crate::error::{HostError, LoadError};
use crate::fair::Conduct;
use crate::fault::Cause;
use crate::inspect::{Exports, Inspection};
use crate::instance::{Linker, linker};
use crate::plugin::Plugin;
use crate::threads::Threads;
use crate::ticker::Ticker;
use crate::warm::Warm;
use crate::{chain, engine, load};

/// What the host needs to know to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where compiled plugins are kept. Nothing but the host may write there.
    pub cache_dir: PathBuf,
    pub compiler: Compiler,
    /// Threads that plugins run on.
    pub threads: usize,
    /// Bytes of the largest component that is taken.
    pub max_upload: usize,
}

impl Config {
    /// Room for a JavaScript engine of 12 MB or a Python of 18 MB.
    pub const MAX_UPLOAD: usize = 24 << 20;

    /// A thread for each core, and uploads of up to [`Config::MAX_UPLOAD`].
    pub fn new(cache_dir: PathBuf, compiler: Compiler) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cache_dir, compiler, threads, max_upload: Self::MAX_UPLOAD }
    }
}

/// The plugin host. Clones share everything.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker,
    cache: Cache,
    compiler: Compiler,
    max_upload: usize,
    /// The plugins in use, so that a component that many tenants share is loaded once.
    loaded: Mutex<HashMap<Digest, Weak<Plugin>>>,
    /// One compilation at a time: each may take as much as a whole core and 2 GiB.
    compiling: Semaphore,
    threads: Threads<Job, Ran>,
    ticker: Arc<Ticker>,
    warm: Arc<Warm>,
}

impl Host {
    /// Starts the threads. No plugin is loaded yet.
    pub fn new(config: Config) -> Result<Self, HostError> {
        let broken = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let threads = config.threads.max(1);
        // One more runs the jobs of tenants that overran.
        let engine = engine::for_running(threads + 1).map_err(broken)?;
        let linker = linker(&engine).map_err(broken)?;
        let cache = Cache::open(&config.cache_dir, &engine)?;
        let ticker = Ticker::start({
            let engine = engine.clone();
            move || engine.increment_epoch()
        });
        let ticker = Arc::new(ticker.map_err(HostError::Thread)?);
        let warm = Arc::new(Warm::new());
        let threads = Threads::start(threads, {
            let (ticker, warm) = (Arc::clone(&ticker), Arc::clone(&warm));
            move |job: &Job| {
                let _ticking = ticker.ticking();
                let ran = chain::run(job, &warm);
                let conduct = conduct(job, &ran);
                (ran, conduct)
            }
        });
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                linker,
                cache,
                compiler: config.compiler,
                max_upload: config.max_upload,
                loaded: Mutex::default(),
                compiling: Semaphore::new(1),
                threads: threads.map_err(HostError::Thread)?,
                ticker,
                warm,
            }),
        })
    }

    /// Makes a component ready to be called: from memory, from the cache, or by compiling it in a child process, which
    /// may take so much processor time.
    pub async fn load(&self, wasm: Bytes, compile_deadline: Duration) -> Result<Arc<Plugin>, LoadError> {
        let limit = self.inner.max_upload;
        if wasm.len() > limit {
            return Err(LoadError::TooLarge { size: wasm.len(), limit });
        }
        let Inspection { digest, exports, .. } = blocking({
            let wasm = wasm.clone();
            move || Inspection::of(&wasm).and_then(|found| found.verdict().map(|()| found))
        })
        .await??;
        if let Some(plugin) = self.ready(digest, wasm.len(), exports).await? {
            return Ok(plugin);
        }
        // The semaphore is never closed; a permit that can't be had would only mean compiling out of turn.
        let _turn = self.inner.compiling.acquire().await;
        // Another load may have compiled it while this one waited.
        if let Some(plugin) = self.ready(digest, wasm.len(), exports).await? {
            return Ok(plugin);
        }
        self.compile(&wasm, digest, exports, compile_deadline).await
    }

    /// Puts an event through an endpoint's plugins. Dropping the future abandons the job.
    pub async fn run(&self, job: Job) -> Ran {
        let Some(first) = job.steps.first().cloned() else {
            return Ran { verdict: Verdict::Keep(None), calls: Vec::new(), used: Vec::new() };
        };
        let tenant = job.tenant.clone();
        self.inner.threads.run(&tenant, job).await.unwrap_or_else(|| {
            let closed = Cause::new(FaultKind::Host, "the plugin host is closed");
            Ran { verdict: Verdict::Fault(chain::fault(&first, closed)), calls: Vec::new(), used: Vec::new() }
        })
    }

    /// Lets the instances go that wait for their tenant's next event, after a change of what is in use.
    pub fn cool(&self) {
        self.inner.warm.clear();
    }

    /// Ends the threads, each after the call that it is in, and waits for them. Jobs that wait end with a fault of
    /// kind [`FaultKind::Host`], and so do later ones. It blocks for no longer than a call's wall time.
    pub fn close(&self) {
        self.inner.threads.close();
        self.inner.ticker.close();
        self.inner.warm.clear();
    }

    /// The plugin from memory or from the cache, without compiling.
    async fn ready(
        &self,
        digest: Digest,
        size: usize,
        exports: Exports,
    ) -> Result<Option<Arc<Plugin>>, HostError> {
        if let Some(plugin) = self.inner.lock_loaded().get(&digest).and_then(Weak::upgrade) {
            return Ok(Some(plugin));
        }
        let host = self.clone();
        blocking(move || {
            let path = host.inner.cache.find(&digest)?;
            let component = load::map(&host.inner.engine, &path);
            let bound = component
                .map_err(|error| LoadError::Bounds(format!("{error:#}")))
                .and_then(|component| Plugin::bind(&host.inner.linker, &component, digest, size, exports));
            match bound {
                Ok(plugin) => Some(host.inner.share(plugin)),
                Err(error) => {
                    tracing::warn!(
                        target: "hookweir::plugin",
                        plugin = %digest,
                        %error,
                        "a compiled plugin in the cache is compiled again"
                    );
                    None
                }
            }
        })
        .await
    }

    async fn compile(
        &self,
        wasm: &Bytes,
        digest: Digest,
        exports: Exports,
        deadline: Duration,
    ) -> Result<Arc<Plugin>, LoadError> {
        let host = self.clone();
        let draft = blocking(move || host.inner.cache.draft()).await??;
        self.inner.compiler.compile(wasm, &draft, deadline).await?;
        let host = self.clone();
        let size = wasm.len();
        blocking(move || {
            let inner = &host.inner;
            let path = inner.cache.keep(&draft, &digest)?;
            let component = load::map(&inner.engine, &path);
            let bound = component
                .map_err(|error| LoadError::Bounds(format!("{error:#}")))
                .and_then(|component| Plugin::bind(&inner.linker, &component, digest, size, exports));
            // What can't be used need not be found again.
            bound.map(|plugin| inner.share(plugin)).inspect_err(|_| inner.cache.discard(&digest))
        })
        .await?
    }
}

impl Inner {
    fn lock_loaded(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Plugin>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the one copy of the plugin that all share: an earlier one if there is one.
    fn share(&self, plugin: Plugin) -> Arc<Plugin> {
        let mut loaded = self.lock_loaded();
        if let Some(earlier) = loaded.get(&plugin.digest()).and_then(Weak::upgrade) {
            return earlier;
        }
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        let plugin = Arc::new(plugin);
        loaded.insert(plugin.digest(), Arc::downgrade(&plugin));
        plugin
    }
}

/// Whether a job kept to its time. A call that overran on a warm instance and was made again counts with both.
fn conduct(job: &Job, ran: &Ran) -> Conduct {
    let overran = matches!(&ran.verdict, Verdict::Fault(fault) if fault.kind == FaultKind::Deadline)
        || job.steps.iter().zip(&ran.used).any(|(step, used)| used.processor > step.limits.deadline);
    if overran { Conduct::Overran } else { Conduct::Good }
}

/// Runs what reads files or hashes megabytes away from the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| HostError::Task)
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("cache", &self.cache)
            .field("compiler", &self.compiler)
            .field("max_upload", &self.max_upload)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
