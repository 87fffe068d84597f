//! The chains that a plugin stands in. A trial and a dry run run them as the endpoints' deliveries would.

use std::sync::Arc;

use hookweir_host::{Host, Job, Plugin, Ran, Step};
use hookweir_model::{EndpointId, Event, PluginId, PluginRole};

use super::history::users;
use super::slot::{fits, step};
use crate::config;
use crate::live::{Tenant, named};
use crate::operational;

/// The plugins of an endpoint, of which one is looked at; or that one alone, where no endpoint names it.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    /// More than one where they have the same plugins and were joined.
    endpoints: Vec<(&'a EndpointId, &'a config::Endpoint)>,
    names: Vec<(&'a PluginId, PluginRole)>,
}

impl<'a> Chain<'a> {
    /// The chains of all endpoints that name the plugin; where none does, the plugin alone, as all that it can be.
    pub(super) fn all(settings: &'a config::Tenant, plugin: &'a PluginId) -> Vec<Self> {
        let of = |(id, endpoint)| Self { endpoints: vec![(id, endpoint)], names: named(endpoint).collect() };
        let mut chains: Vec<_> = users(settings, plugin).map(of).collect();
        if chains.is_empty() {
            chains.push(Self::alone(plugin, &[PluginRole::Filter, PluginRole::Transformer]));
        }
        chains
    }

    fn alone(plugin: &'a PluginId, roles: &[PluginRole]) -> Self {
        Self { endpoints: Vec::new(), names: roles.iter().map(|role| (plugin, *role)).collect() }
    }

    /// The same without what comes after the plugin's last step.
    pub(super) fn up_to(mut self, plugin: &PluginId) -> Self {
        let last = self.names.iter().rposition(|(name, _)| *name == plugin);
        self.names.truncate(last.map_or(0, |last| last + 1));
        self
    }

    /// Whether an event goes through the same plugins in both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// Takes the endpoints of another that is the same.
    pub(super) fn join(&mut self, other: Self) {
        self.endpoints.extend(other.endpoints);
    }

    /// The endpoint that it is of, the first of several.
    pub(super) fn endpoint(&self) -> Option<&'a EndpointId> {
        self.endpoints.first().map(|(id, _)| *id)
    }

    pub(super) fn wants(&self, event: &Event) -> bool {
        let wants =
            |settings: &config::Endpoint| operational::wants(&settings.event_types, &event.event_type);
        self.endpoints.is_empty() || self.endpoints.iter().any(|(_, settings)| wants(settings))
    }

    /// What the plugin is used as.
    pub(super) fn roles<'b>(&'b self, plugin: &'b PluginId) -> impl Iterator<Item = PluginRole> + 'b {
        self.names.iter().filter(move |(name, _)| *name == plugin).map(|(_, role)| *role)
    }

    /// Its steps, with `new` in the place of `plugin`. What a component does not export is left out: endpoints name no
    /// such thing, and a plugin alone is run as what it is. The error is why they can't be run.
    pub(super) fn steps(
        &self,
        tenant: &Tenant,
        plugin: &PluginId,
        new: Option<&Arc<Plugin>>,
    ) -> Result<Arc<[Step]>, String> {
        let mut steps = Vec::with_capacity(self.names.len());
        for (name, role) in self.names.iter().copied() {
            let Some(slot) = tenant.plugins.get(name) else { continue };
            let component = match (new.filter(|_| name == plugin), &slot.component) {
                (Some(new), _) => new,
                (None, Ok(component)) => &component.plugin,
                (None, Err(reason)) => return Err(format!("plugin {name} has no component: {reason}")),
            };
            if fits(component.exports(), role) {
                steps.push(tried(step(name, role, &slot.settings, component)));
            }
        }
        Ok(steps.into())
    }
}

/// The same step on a fresh instance: what is only tried must not meet, or leave, what events left behind.
pub(super) fn tried(step: Step) -> Step {
    Step { reuse: None, ..step }
}

/// Puts an event through a chain's steps, as work of its tenant.
pub(super) async fn run(host: &Host, event: &Arc<Event>, steps: &Arc<[Step]>) -> Ran {
    let job = Job { tenant: event.tenant.clone(), event: Arc::clone(event), steps: Arc::clone(steps) };
    host.run(job).await
}
