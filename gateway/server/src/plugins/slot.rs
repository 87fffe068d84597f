//! A plugin of the configuration and the component that it has: loaded from its file, or from what was uploaded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::{Exports, Host, LoadError, Plugin, Reuse, Step};
use hookweir_journal::Journal;
use hookweir_model::{Digest, PluginId, PluginKey, PluginRole, PluginState};

use super::watch::Watch;
use crate::config::{self, PluginSource};

/// What the configuration says of a plugin, and what it has.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub settings: Arc<config::Plugin>,
    /// The error is why it can't be called: deliveries that need it wait.
    pub component: Result<Component, String>,
}

impl Slot {
    pub(crate) fn is_paused(&self) -> bool {
        self.component.as_ref().is_ok_and(|component| component.watch.is_paused())
    }
}

/// A component in force.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub plugin: Arc<Plugin>,
    pub watch: Arc<Watch>,
}

/// Why a component from a file can't be used.
#[derive(Debug)]
pub(crate) struct Unloaded {
    pub reason: String,
    /// It could not be compiled here and now, and may be a good one.
    pub is_of_compiling: bool,
}

impl From<String> for Unloaded {
    fn from(reason: String) -> Self {
        Self { reason, is_of_compiling: false }
    }
}

/// What plugins are loaded with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub host: &'a Host,
    pub journal: &'a dyn Journal,
    pub states: &'a HashMap<PluginKey, PluginState>,
}

impl Loader<'_> {
    /// Loads what the plugin has. The error is about a file that can't be used; an upload that can't be
    /// used, or isn't there, is no reason to refuse a configuration: its deliveries wait for the next one.
    ///
    /// The watch of `before` goes on where the component is the same.
    pub(crate) async fn slot(
        &self,
        key: &PluginKey,
        settings: &config::Plugin,
        before: Option<&Slot>,
    ) -> Result<Slot, Unloaded> {
        let component = match &settings.source {
            PluginSource::File { path, digest } => {
                let path = path.clone();
                let digest = *digest;
                let read = move || config::read_component(&path, digest);
                Ok(self.configured(digest, read, settings, before).await?)
            }
            PluginSource::Builtin { builtin, digest } => {
                let builtin = *builtin;
                Ok(self.configured(*digest, move || Ok(builtin.wasm()), settings, before).await?)
            }
            PluginSource::Upload { .. } => self.uploaded(key, settings, before).await,
        };
        let component = component.map(|plugin| {
            let same = before.and_then(|before| before.component.as_ref().ok());
            let same = same.filter(|before| before.plugin.digest() == plugin.digest());
            let paused = self.states.get(key).and_then(|state| state.paused.as_ref());
            let watch = same.map(|before| Arc::clone(&before.watch));
            let watch = watch.unwrap_or_else(|| Watch::new(key.clone(), plugin.digest(), paused));
            Component { plugin, watch }
        });
        if let Err(reason) = &component {
            tracing::warn!(
                target: "hookweir::plugin",
                plugin = %key,
                reason,
                "a plugin can't be called; deliveries that need it wait"
            );
        }
        Ok(Slot { settings: Arc::new(settings.clone()), component })
    }

    /// Loads the component that the configuration names, unless it is loaded already.
    async fn configured(
        &self,
        digest: Digest,
        read: impl FnOnce() -> Result<Bytes, String> + Send + 'static,
        settings: &config::Plugin,
        before: Option<&Slot>,
    ) -> Result<Arc<Plugin>, Unloaded> {
        if let Some(loaded) = loaded_before(before, digest) {
            return Ok(loaded);
        }
        let read = tokio::task::spawn_blocking(read).await;
        let wasm = read.map_err(|_| "reading its file was broken off".to_owned())??;
        let loaded = self.host.load(wasm, settings.compile_deadline).await;
        loaded
            .map_err(|error| Unloaded { reason: error.to_string(), is_of_compiling: error.is_of_compiling() })
    }

    async fn uploaded(
        &self,
        key: &PluginKey,
        settings: &config::Plugin,
        before: Option<&Slot>,
    ) -> Result<Arc<Plugin>, String> {
        let upload = self.states.get(key).and_then(|state| state.upload.as_ref());
        let Some(upload) = upload else { return Err("nothing was uploaded for it yet".to_owned()) };
        if let Some(reason) = not_pinned(settings, upload.current) {
            return Err(reason);
        }
        if let Some(loaded) = loaded_before(before, upload.current) {
            return Ok(loaded);
        }
        let unusable = |why: &dyn std::fmt::Display| {
            format!("what was uploaded for it (sha256 {}) can't be used: {why}", upload.current.short())
        };
        let wasm: Bytes = match self.journal.blob(upload.current).await {
            Ok(Some(wasm)) => wasm,
            Ok(None) => return Err(unusable(&"its bytes are gone")),
            Err(error) => return Err(unusable(&error)),
        };
        let loaded = self.host.load(wasm, settings.compile_deadline).await;
        loaded.map_err(|error: LoadError| unusable(&error))
    }
}

/// The component, if it was in force until now.
fn loaded_before(before: Option<&Slot>, digest: Digest) -> Option<Arc<Plugin>> {
    let loaded = before?.component.as_ref().ok()?;
    (loaded.plugin.digest() == digest).then(|| Arc::clone(&loaded.plugin))
}

/// Why the configuration does not want this component, if it doesn't.
pub(crate) fn not_pinned(settings: &config::Plugin, digest: Digest) -> Option<String> {
    match settings.source {
        PluginSource::Upload { pin: Some(pin) } if pin != digest => {
            Some(format!("the configuration pins it to sha256 {pin}, and this component is {digest}"))
        }
        _ => None,
    }
}

/// The endpoints of a tenant that use a plugin as what it is not, a sentence each.
pub(crate) fn misfits(tenant: &config::Tenant, plugin: &PluginId, exports: Exports) -> Vec<String> {
    let of_role = |role: PluginRole| {
        let users = tenant.endpoints.iter().filter(move |(_, endpoint)| {
            let names = match role {
                PluginRole::Filter => &endpoint.filters,
                PluginRole::Transformer => &endpoint.transformers,
            };
            !fits(exports, role) && names.contains(plugin)
        });
        let role = role.as_str();
        users.map(move |(id, _)| format!("endpoint {id} uses it as a {role}, and it exports no {role}"))
    };
    of_role(PluginRole::Filter).chain(of_role(PluginRole::Transformer)).collect()
}

pub(crate) const fn fits(exports: Exports, role: PluginRole) -> bool {
    match role {
        PluginRole::Filter => exports.filter,
        PluginRole::Transformer => exports.transformer,
    }
}

/// A plugin's place in a chain, with a component.
pub(crate) fn step(id: &PluginId, role: PluginRole, settings: &config::Plugin, plugin: &Arc<Plugin>) -> Step {
    Step {
        id: id.clone(),
        role,
        plugin: Arc::clone(plugin),
        config: Arc::clone(&settings.config),
        limits: settings.limits,
        reuse: settings.reuse.then(Reuse::default),
    }
}
