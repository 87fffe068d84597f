//! Changes of what is in force: reloads, uploads, rollbacks, pauses. Each is in the journal before it takes effect.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hookweir_host::{Host, Inspection, LoadError, Plugin};
use hookweir_journal::{Error, Journal};
use hookweir_model::{PluginKey, PluginState, Timestamp, Upload};

use super::slot::{Component, Loader, Slot, misfits, not_pinned};
use super::trial::Trial;
use super::watch::Watch;
use crate::config::{self, Config};
use crate::live::{Live, PluginProblem};

/// The plugins of all tenants, as far as they change while the gateway runs.
#[derive(Debug)]
pub(crate) struct Plugins {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) host: Arc<Host>,
    pub(super) live: Arc<ArcSwap<Live>>,
    /// What the journal has.
    states: Mutex<HashMap<PluginKey, PluginState>>,
    /// Held while a state is written, so that the last write is the last state. Taken after `changes`.
    writes: tokio::sync::Mutex<()>,
    /// Held while what is in force is replaced, so that no change is built upon a state that another has replaced.
    changes: tokio::sync::Mutex<()>,
}

/// What is in force, while nobody else replaces it.
#[must_use]
#[derive(Debug)]
pub(crate) struct Change<'a> {
    in_force: &'a ArcSwap<Live>,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl Change<'_> {
    pub(crate) fn live(&self) -> Arc<Live> {
        self.in_force.load_full()
    }

    pub(crate) fn put(&self, live: Live) {
        self.in_force.store(Arc::new(live));
    }
}

/// Why a plugin was not changed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The configuration has no such plugin.
    NotConfigured,
    /// Its component is a file's.
    FromFile,
    /// The state of things does not allow it; a sentence.
    Conflict(String),
    /// The component can't be taken; a sentence.
    Unusable(String),
    Journal(Error),
    /// The gateway could not do its part; the log has the cause.
    Host,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Journal(error)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Host(cause) => {
                tracing::error!(target: "hookweir::plugin", %cause, "a plugin could not be loaded");
                Self::Host
            }
            error => Self::Unusable(error.to_string()),
        }
    }
}

impl Plugins {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        host: Arc<Host>,
        live: Arc<ArcSwap<Live>>,
        states: HashMap<PluginKey, PluginState>,
    ) -> Self {
        let (writes, changes) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self { journal, host, live, states: Mutex::new(states), writes, changes }
    }

    /// Keeps everyone else from replacing what is in force, for a change that leaves the plugins as they are.
    pub(crate) async fn change(&self) -> Change<'_> {
        Change { in_force: &self.live, _held: self.changes.lock().await }
    }

    /// Puts a new configuration in force. A component that is new in it is tried first.
    ///
    /// # Errors
    /// What the main file asks for and can't be had. What included files ask for leaves their tenants as they are.
    pub(crate) async fn reload(&self, change: Change<'_>, config: Config) -> Result<(), Vec<anyhow::Error>> {
        let before = change.live();
        let states = self.states().clone();
        let loader = Loader { host: &self.host, journal: &*self.journal, states: &states };
        let mut live = Live::build(config, loader, Some(&before)).await?;
        let problems = self.try_changed(&live, &before).await;
        let is_included = |problem: &PluginProblem| {
            live.config.tenants.get(&problem.tenant).is_some_and(|tenant| tenant.file.is_some())
        };
        if !problems.iter().all(is_included) {
            return Err(problems.into_iter().map(anyhow::Error::from).collect());
        }
        for problem in &problems {
            live.put_back(&before, problem);
        }
        change.put(live);
        self.host.cool();
        self.forget_pauses().await;
        Ok(())
    }

    /// What the journal has of a plugin.
    pub(crate) fn state(&self, key: &PluginKey) -> PluginState {
        self.states().get(key).cloned().unwrap_or_default()
    }

    /// Takes a component: looked into, compiled, tried, kept, and then in force.
    pub(crate) async fn upload(&self, key: &PluginKey, wasm: Bytes) -> Result<(), Refused> {
        let live = self.live.load_full();
        let settings = of_upload(&live, key)?;
        let found = inspect(wasm.clone()).await?;
        if let Some(reason) = not_pinned(&settings, found.digest) {
            return Err(Refused::Conflict(reason));
        }
        check_fit(&live, key, found.exports)?;
        let plugin = self.host.load(wasm.clone(), settings.compile_deadline).await?;
        self.trial(&live, key, &plugin).run(&settings).await?;
        self.install(key, plugin, Some(wasm)).await
    }

    /// Puts the component in force that was there before; the present one takes its place.
    pub(crate) async fn rollback(&self, key: &PluginKey) -> Result<(), Refused> {
        let live = self.live.load_full();
        let settings = of_upload(&live, key)?;
        let upload = self.state(key).upload;
        let Some(previous) = upload.and_then(|upload| upload.previous) else {
            return Err(Refused::Conflict("there is no earlier component to go back to".to_owned()));
        };
        if let Some(reason) = not_pinned(&settings, previous) {
            return Err(Refused::Conflict(reason));
        }
        let wasm = self.journal.blob(previous).await?.ok_or(Error::NotFound("component"))?;
        let plugin = self.host.load(wasm, settings.compile_deadline).await?;
        self.install(key, plugin, None).await
    }

    /// Calls the plugin no more until it is resumed or has another component.
    pub(crate) async fn pause(&self, key: &PluginKey) -> Result<(), Refused> {
        let watch = self.watch(key)?;
        watch.pause(Timestamp::now());
        Ok(self.keep_pause(&watch).await?)
    }

    pub(crate) async fn resume(&self, key: &PluginKey) -> Result<(), Refused> {
        let watch = self.watch(key)?;
        watch.resume();
        Ok(self.keep_pause(&watch).await?)
    }

    /// Writes whether a component is paused, if it is still the one in force.
    pub(crate) async fn keep_pause(&self, watch: &Arc<Watch>) -> Result<(), Error> {
        let _writing = self.writes.lock().await;
        if !self.is_in_force(watch) {
            return Ok(());
        }
        let state = PluginState { paused: watch.paused(), ..self.state(&watch.key) };
        self.keep(&watch.key, state).await
    }

    /// Whether this component is called still: a call that began before a swap may end after it.
    pub(crate) fn is_in_force(&self, watch: &Arc<Watch>) -> bool {
        self.watch(&watch.key).is_ok_and(|current| Arc::ptr_eq(&current, watch))
    }

    fn watch(&self, key: &PluginKey) -> Result<Arc<Watch>, Refused> {
        let live = self.live.load();
        let slot = live.slot(key).ok_or(Refused::NotConfigured)?;
        match &slot.component {
            Ok(component) => Ok(Arc::clone(&component.watch)),
            Err(reason) => Err(Refused::Conflict(format!("it is not called as it is: {reason}"))),
        }
    }

    /// Replaces the component in force. The configuration may have changed since it was looked at, so it is asked again.
    async fn install(
        &self,
        key: &PluginKey,
        plugin: Arc<Plugin>,
        wasm: Option<Bytes>,
    ) -> Result<(), Refused> {
        let _changing = self.changes.lock().await;
        let live = self.live.load_full();
        let settings = of_upload(&live, key)?;
        let digest = plugin.digest();
        if let Some(reason) = not_pinned(&settings, digest) {
            return Err(Refused::Conflict(reason));
        }
        check_fit(&live, key, plugin.exports())?;
        let _writing = self.writes.lock().await;
        let before = self.state(key).upload;
        let is_kept = before.as_ref().is_some_and(|before| before.current == digest);
        if is_kept && live.slot(key).is_some_and(|slot| slot.component.is_ok()) {
            // It is in force already, paused or not.
            return Ok(());
        }
        if let Some(wasm) = wasm {
            self.journal.put_blob(wasm).await?;
        }
        if !is_kept {
            let previous = before.map(|before| before.current);
            let upload = Upload { current: digest, previous, at: Timestamp::now() };
            self.keep(key, PluginState { upload: Some(upload), paused: None }).await?;
        }
        tracing::info!(
            target: "hookweir::plugin",
            plugin = %key,
            digest = %digest.short(),
            "another component is in force"
        );
        let paused = self.state(key).paused;
        let component = Component { watch: Watch::new(key.clone(), digest, paused.as_ref()), plugin };
        let live = live.with_component(key, component).ok_or(Refused::NotConfigured)?;
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// Under `writes`.
    async fn keep(&self, key: &PluginKey, state: PluginState) -> Result<(), Error> {
        self.journal.put_plugin_state(key, &state).await?;
        self.states().insert(key.clone(), state);
        Ok(())
    }

    /// Forgets the pauses of components that are not in force any more: if they come back, they are called again.
    pub(crate) async fn forget_pauses(&self) {
        let live = self.live.load_full();
        let states = self.states().clone();
        for (key, state) in states.iter().filter(|(_, state)| state.paused.is_some()) {
            let slot = live.slot(key);
            let component = slot.and_then(|slot| slot.component.as_ref().ok());
            if component.is_none_or(|component| component.watch.is_paused()) {
                continue;
            }
            let _writing = self.writes.lock().await;
            if self.state(key) == *state
                && let Err(error) = self.keep(key, PluginState { paused: None, ..state.clone() }).await
            {
                tracing::warn!(
                    target: "hookweir::plugin",
                    plugin = %key,
                    %error,
                    "failed to forget the pause of an earlier component"
                );
            }
        }
    }

    /// Tries every file that another has taken the place of, or that has become a plugin, or whose settings changed.
    async fn try_changed(&self, live: &Live, before: &Live) -> Vec<PluginProblem> {
        let mut problems = Vec::new();
        for tenant in live.tenants() {
            for (id, slot) in &tenant.plugins {
                let key = PluginKey::new(tenant.id.clone(), id.clone());
                let Ok(component) = &slot.component else { continue };
                if slot.settings.source.is_upload() {
                    continue;
                }
                if before.slot(&key).is_some_and(|before| is_same(before, slot)) {
                    continue;
                }
                let tried = self.trial(live, &key, &component.plugin).run(&slot.settings).await;
                let reason = match tried {
                    Ok(()) => continue,
                    Err(Refused::Unusable(reason)) => reason,
                    Err(Refused::Journal(error)) => format!("no event to try it on could be read: {error}"),
                    Err(refused) => format!("it could not be tried: {refused:?}"),
                };
                problems.push(PluginProblem::new(&key, &slot.settings, reason));
            }
        }
        problems
    }

    fn trial<'a>(&'a self, live: &'a Live, key: &'a PluginKey, plugin: &'a Arc<Plugin>) -> Trial<'a> {
        Trial { journal: &*self.journal, host: &self.host, live, key, plugin }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<PluginKey, PluginState>> {
        // Entries are replaced whole, so the map is right after any panic.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a trial of the one says all that a trial of the other would.
fn is_same(before: &Slot, after: &Slot) -> bool {
    let digest = |slot: &Slot| slot.component.as_ref().ok().map(|component| component.plugin.digest());
    let (old, new) = (&before.settings, &after.settings);
    digest(before) == digest(after)
        && old.config == new.config
        && old.limits == new.limits
        && old.sample == new.sample
}

fn of_upload(live: &Live, key: &PluginKey) -> Result<Arc<config::Plugin>, Refused> {
    let settings = &live.slot(key).ok_or(Refused::NotConfigured)?.settings;
    if settings.source.is_upload() { Ok(Arc::clone(settings)) } else { Err(Refused::FromFile) }
}

fn check_fit(live: &Live, key: &PluginKey, exports: hookweir_host::Exports) -> Result<(), Refused> {
    let tenant = live.config.tenants.get(&key.tenant).ok_or(Refused::NotConfigured)?;
    let misfits = misfits(tenant, &key.plugin, exports);
    if misfits.is_empty() { Ok(()) } else { Err(Refused::Unusable(misfits.join("; "))) }
}

/// Looks into an upload, away from the runtime's own threads: it may have megabytes.
pub(super) async fn inspect(wasm: Bytes) -> Result<Inspection, Refused> {
    let look = move || Inspection::of(&wasm).and_then(|found| found.verdict().map(|()| found));
    let found = tokio::task::spawn_blocking(look).await.map_err(|_| Refused::Host)?;
    Ok(found?)
}
