//! A plugin host on this machine, the same that a gateway has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hookweir_host::{Host, Job, LONGEST_COMPILE, Plugin, Ran};
use hookweir_model::TenantId;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::app;

/// Where compiled plugins are kept, so that the next run of a command does not compile again.
enum Cache {
    Kept(PathBuf),
    /// There is no home for it.
    Passing(TempDir),
}

pub(super) struct Local {
    runtime: Runtime,
    host: Host,
    /// Removed, where it is not to be kept, when the host is gone.
    _cache: Cache,
}

impl Local {
    pub(super) fn start() -> Result<Self> {
        Self::with(match home() {
            Some(home) => Cache::Kept(home.join("hookweir")),
            None => Cache::Passing(tempfile::tempdir().context("can't make a folder for compiled plugins")?),
        })
    }

    /// With the compiled plugins of a gateway's data directory.
    pub(super) fn at(data: &Path) -> Result<Self> {
        Self::with(Cache::Kept(data.to_owned()))
    }

    fn with(cache: Cache) -> Result<Self> {
        let folder = match &cache {
            Cache::Kept(path) => path.as_path(),
            Cache::Passing(folder) => folder.path(),
        };
        let host = app::host(folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: runtime.context("can't start the runtime")?, host, _cache: cache })
    }

    pub(super) fn load(&self, wasm: Vec<u8>) -> Result<Arc<Plugin>> {
        let load = self.host.load(Bytes::from(wasm), LONGEST_COMPILE);
        self.runtime.block_on(load).context("the gateway would not take this plugin")
    }

    pub(super) fn run(&self, job: Job) -> Ran {
        self.runtime.block_on(self.host.run(job))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.host.close();
    }
}

/// The user's folder for what can be made again.
fn home() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

/// Whose events they are. A plugin is not told.
pub(super) fn tenant() -> Result<TenantId> {
    TenantId::new("local").context("the name of the tenant")
}
