//! The configuration in force, with its plugins loaded. It is swapped whole: whoever holds one sees one state.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hookweir_delivery::{Outlets, system_trust};
use hookweir_host::Step;
use hookweir_model::{
    Digest, EndpointId, EndpointKey, EventType, PluginId, PluginKey, PluginRole, Subscriptions, TenantId,
};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::api::Sees;
use crate::config::{self, Config, Destination, PluginSource, Quota};
use crate::operational;
use crate::plugins::{Component, Loader, Slot, Unloaded, Watch, misfits, step};
use crate::problem::Problem;
use crate::role::{Action, Role};

/// What accept, dispatch and admin look up. Built by [`Live::build`], never changed.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub config: Arc<Config>,
    pub outlets: Outlets,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    /// The digests of all keys. A digest tells nothing of its key, so the map may be searched by it.
    keys: Arc<HashMap<Digest, Caller>>,
    /// The queues' access keys, by id.
    access: Arc<HashMap<String, Access>>,
    needs_token: bool,
    /// What of the configuration is not in force, or can't be called, a line each.
    pub troubles: Vec<String>,
}

/// Which queue an access key opens.
#[derive(Debug)]
pub(crate) struct Access {
    pub queue: EndpointKey,
    pub secret: SecretString,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub id: TenantId,
    pub endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    /// The ids in a fixed order, so that deliveries of one event are always written in it, ...
    order: Vec<EndpointId>,
    /// ... and what each of them wants.
    subscriptions: Subscriptions,
    pub quota: Quota,
    pub plugins: HashMap<PluginId, Slot>,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub key: EndpointKey,
    pub settings: config::Endpoint,
    pub chain: Chain,
}

impl Endpoint {
    /// Whether it makes of an event what that other state of it makes: by the same plugins, under the same limits and
    /// configurations, in the same format.
    pub(crate) fn shapes_as(&self, other: &Self) -> bool {
        let same_step = |(one, other): (&Step, &Step)| {
            one.id == other.id
                && one.role == other.role
                && one.plugin.digest() == other.plugin.digest()
                && one.config == other.config
                && one.limits == other.limits
        };
        let (steps, others) = (&self.chain.steps, &other.chain.steps);
        std::ptr::eq(self, other)
            || (self.settings.format == other.settings.format
                && self.chain.missing == other.chain.missing
                && steps.len() == others.len()
                && steps.iter().zip(others.iter()).all(same_step))
    }
}

/// An endpoint's plugins: filters, then transformers, each in its configured order.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Whole, unless a plugin is missing.
    pub steps: Arc<[Step]>,
    /// Of each plugin in it, once.
    watches: Vec<Arc<Watch>>,
    /// Why the chain can't be run: a plugin of it has no component.
    missing: Option<String>,
}

impl Chain {
    /// Whether deliveries wait, since a plugin is paused or has no component. An event is never sent past a plugin.
    pub(crate) fn waits(&self) -> bool {
        self.missing.is_some() || self.watches.iter().any(|watch| watch.is_paused())
    }

    /// Why deliveries wait, in a sentence.
    pub(crate) fn reason(&self) -> Option<String> {
        let paused = || {
            let (watch, paused) = self.watches.iter().find_map(|watch| Some((watch, watch.paused()?)))?;
            Some(format!("plugin {} is paused: {}", watch.key.plugin, paused.reason))
        };
        self.missing.clone().or_else(paused)
    }

    pub(crate) fn watch(&self, plugin: &PluginId) -> Option<&Arc<Watch>> {
        self.watches.iter().find(|watch| watch.key.plugin == *plugin)
    }
}

/// A plugin of the configuration can't be used.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} of tenant {tenant} ({source_name}): {problem}")]
pub(crate) struct PluginProblem {
    pub tenant: TenantId,
    pub plugin: PluginId,
    pub source_name: String,
    pub problem: String,
}

impl PluginProblem {
    pub(crate) fn new(key: &PluginKey, settings: &config::Plugin, problem: String) -> Self {
        let source_name = match &settings.source {
            PluginSource::File { path, .. } => path.display().to_string(),
            PluginSource::Builtin { builtin, .. } => format!("built-in {}", builtin.name),
            PluginSource::Upload { .. } => "uploaded".to_owned(),
        };
        Self { tenant: key.tenant.clone(), plugin: key.plugin.clone(), source_name, problem }
    }
}

/// Who is asking, told by a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose key it is; `None`: an operator's, who sees all tenants.
    pub tenant: Option<TenantId>,
    pub role: Role,
}

impl Caller {
    /// Refuses what the role does not reach to.
    pub(crate) fn may(&self, action: Action) -> Result<(), Problem> {
        if self.role.may(action) {
            return Ok(());
        }
        let enough = match action {
            Action::Send => "\"send\" or \"admin\"",
            Action::Read => "\"read\", \"operate\" or \"admin\"",
            Action::Operate => "\"operate\" or \"admin\"",
            Action::Administer => "\"admin\"",
        };
        let role = self.role.as_str();
        Err(Problem::Forbidden(format!("this key's role is {role:?}, and this takes {enough}")))
    }

    /// Whether it sees where a receiver's URL leads behind its host: who may only look does not.
    pub(crate) fn sees_urls(&self) -> bool {
        self.role.may(Action::Operate)
    }

    /// What it sees of attempts: the addresses of the network that the gateway stands in are for operators.
    pub(crate) fn sees_of_attempts(&self) -> Sees {
        Sees { urls: self.sees_urls(), network: self.tenant.is_none() }
    }

    /// Whether it sees this tenant.
    pub(crate) fn sees(&self, tenant: &TenantId) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

impl Live {
    /// Loads every plugin and puts the pieces together.
    ///
    /// A plugin that can't be compiled, or that stands in an included file and can't be used, is its tenant's trouble alone:
    /// the tenant stays as it was `before`, or the endpoints that need the plugin wait. All other plugins that can't be used
    /// are reported at once.
    pub(crate) async fn build(
        mut config: Config,
        loader: Loader<'_>,
        before: Option<&Self>,
    ) -> Result<Self, Vec<anyhow::Error>> {
        let mut problems = Vec::new();
        let mut troubles = config.problems.clone();
        let mut tenants = HashMap::with_capacity(config.tenants.len());
        let mut kept = Vec::new();
        for (id, settings) in &config.tenants {
            let old = before.and_then(|before| before.tenant(id.as_str()));
            let (tenant, failed) = Tenant::build(id, settings, loader, old.map(Arc::as_ref)).await;
            if failed.iter().any(|failed| settings.file.is_none() && !failed.is_of_compiling) {
                problems.extend(failed.into_iter().map(|failed| anyhow::Error::from(failed.problem)));
                continue;
            }
            troubles.extend(failed.iter().map(|failed| failed.problem.to_string()));
            let old = old.filter(|_| !failed.is_empty());
            let old = old.and_then(|old| Some((old, before?.config.tenants.get(id)?)));
            match old {
                Some((old, settings)) => {
                    kept.push((id.clone(), settings.clone()));
                    tenants.insert(id.clone(), Arc::clone(old));
                }
                None => drop(tenants.insert(id.clone(), Arc::new(tenant))),
            }
        }
        config.tenants.extend(kept);
        // Connections are kept over a reload, unless the policy that allowed them has changed, or the machine has got
        // authorities, or lost them.
        let is_same = |before: &Self| {
            before.config.egress == config.egress && before.outlets.system_trust() == system_trust()
        };
        let outlets = match before {
            Some(before) if is_same(before) => {
                before.outlets.look_again();
                Ok(before.outlets.clone())
            }
            _ => Outlets::new(config.egress.clone()).context("failed to set up the way out"),
        };
        match outlets {
            Ok(outlets) if problems.is_empty() => Ok(Self {
                outlets,
                tenants,
                keys: Arc::new(keys(&config)),
                access: Arc::new(access(&config)),
                needs_token: config.admin.token.is_some(),
                config: Arc::new(config),
                troubles,
            }),
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }

    /// Puts a tenant back to what it was `before`, for this reason; one that is new has its plugin not called.
    pub(crate) fn put_back(&mut self, before: &Self, problem: &PluginProblem) {
        let PluginProblem { tenant: id, plugin, problem: reason, .. } = problem;
        self.troubles.push(problem.to_string());
        let mut config = Config::clone(&self.config);
        match (before.tenants.get(id), before.config.tenants.get(id)) {
            (Some(tenant), Some(settings)) => {
                self.tenants.insert(id.clone(), Arc::clone(tenant));
                config.tenants.insert(id.clone(), settings.clone());
            }
            _ => {
                let (Some(tenant), Some(settings)) = (self.tenants.get(id), config.tenants.get(id)) else {
                    return;
                };
                let mut plugins = tenant.plugins.clone();
                if let Some(slot) = plugins.get_mut(plugin) {
                    slot.component = Err(reason.clone());
                }
                self.tenants.insert(id.clone(), Arc::new(Tenant::assemble(id, settings, plugins)));
            }
        }
        self.keys = Arc::new(keys(&config));
        self.access = Arc::new(access(&config));
        self.config = Arc::new(config);
    }

    /// The same configuration with another component for one plugin, which must be in it.
    pub(crate) fn with_component(&self, key: &PluginKey, component: Component) -> Option<Self> {
        let mut live = self.clone();
        let settings = self.config.tenants.get(&key.tenant)?;
        let mut plugins = self.tenants.get(&key.tenant)?.plugins.clone();
        plugins.get_mut(&key.plugin)?.component = Ok(component);
        let tenant = Tenant::assemble(&key.tenant, settings, plugins);
        live.tenants.insert(key.tenant.clone(), Arc::new(tenant));
        Some(live)
    }

    /// The same configuration with a tenant's secrets replaced: other settings must be as they are.
    pub(crate) fn with_secrets(&self, tenant: &TenantId, settings: config::Tenant) -> Self {
        let (mut live, mut config) = (self.clone(), Config::clone(&self.config));
        let plugins = self.tenants.get(tenant).map(|tenant| tenant.plugins.clone()).unwrap_or_default();
        live.tenants.insert(tenant.clone(), Arc::new(Tenant::assemble(tenant, &settings, plugins)));
        config.tenants.insert(tenant.clone(), settings);
        live.config = Arc::new(config);
        live
    }

    /// Why no https receiver is trusted, or not as the machine would have it, and what to do; `None` where all is well, or no
    /// receiver depends on it.
    pub(crate) fn distrust(&self) -> Option<String> {
        let warning = self.outlets.system_trust().warning().filter(|_| self.config.trusts_the_machine());
        warning.map(|(what, help)| format!("{what}; {help}, and reload"))
    }

    pub(crate) fn slot(&self, key: &PluginKey) -> Option<&Slot> {
        self.tenants.get(&key.tenant)?.plugins.get(&key.plugin)
    }

    pub(crate) fn tenant(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    pub(crate) fn endpoint(&self, key: &EndpointKey) -> Option<&Arc<Endpoint>> {
        self.tenants.get(&key.tenant)?.endpoints.get(&key.endpoint)
    }

    /// Whose bearer token this is. The comparison that decides takes the same time wherever the digests differ.
    pub(crate) fn caller(&self, token: &str) -> Option<&Caller> {
        let digest = Digest::of(token.as_bytes());
        let (known, caller) = self.keys.get_key_value(&digest)?;
        bool::from(known.as_bytes().ct_eq(digest.as_bytes())).then_some(caller)
    }

    /// The access key of this id. An id is no secret; what is signed with its secret tells whether it may be used.
    pub(crate) fn access(&self, id: &str) -> Option<&Access> {
        self.access.get(id)
    }

    /// Whether the admin listener asks for a token.
    pub(crate) fn needs_token(&self) -> bool {
        self.needs_token
    }
}

/// A plugin of a tenant that can't be used.
struct Failed {
    problem: PluginProblem,
    is_of_compiling: bool,
}

impl Tenant {
    /// The tenant, and the plugins of it that can't be used: what needs them would wait.
    async fn build(
        id: &TenantId,
        settings: &config::Tenant,
        loader: Loader<'_>,
        before: Option<&Self>,
    ) -> (Self, Vec<Failed>) {
        let mut failed = Vec::new();
        let mut plugins = HashMap::with_capacity(settings.plugins.len());
        for (name, plugin) in &settings.plugins {
            let key = PluginKey::new(id.clone(), name.clone());
            let before = before.and_then(|before| before.plugins.get(name));
            let mut slot = match loader.slot(&key, plugin, before).await {
                Ok(slot) => slot,
                Err(Unloaded { reason, is_of_compiling }) => {
                    let problem = PluginProblem::new(&key, plugin, reason.clone());
                    failed.push(Failed { problem, is_of_compiling });
                    plugins.insert(
                        name.clone(),
                        Slot { settings: Arc::new(plugin.clone()), component: Err(reason) },
                    );
                    continue;
                }
            };
            let exports = slot.component.as_ref().ok().map(|component| component.plugin.exports());
            let misfits = exports.map(|exports| misfits(settings, name, exports)).unwrap_or_default();
            if let Some(reason) = misfits.first().cloned() {
                match plugin.source {
                    // At a start nobody is left to go on as before, and the upload can only be mended once this runs.
                    PluginSource::Upload { .. } if before.is_none() => {
                        tracing::error!(
                            target: "hookweir::plugin",
                            plugin = %key,
                            reason,
                            "deliveries wait for an upload that fits"
                        );
                    }
                    _ => failed.extend(misfits.into_iter().map(|misfit| Failed {
                        problem: PluginProblem::new(&key, plugin, misfit),
                        is_of_compiling: false,
                    })),
                }
                slot.component = Err(reason);
            }
            plugins.insert(name.clone(), slot);
        }
        (Self::assemble(id, settings, plugins), failed)
    }

    /// Puts the endpoints' chains together from the components that there are.
    fn assemble(id: &TenantId, settings: &config::Tenant, plugins: HashMap<PluginId, Slot>) -> Self {
        let endpoint = |(name, settings): (&EndpointId, &config::Endpoint)| {
            let key = EndpointKey::new(id.clone(), name.clone());
            let chain = chain(settings, &plugins);
            (name.clone(), Arc::new(Endpoint { key, settings: settings.clone(), chain }))
        };
        Self {
            id: id.clone(),
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            order: settings.endpoints.keys().cloned().collect(),
            subscriptions: Subscriptions::new(
                settings.endpoints.values().map(|endpoint| endpoint.event_types.as_slice()),
            ),
            quota: settings.quota,
            plugins,
        }
    }

    /// The endpoints that an event of this type goes to, those that are switched off included: their deliveries wait.
    pub(crate) fn matching(&self, event_type: &EventType) -> Vec<EndpointId> {
        let wanting = if operational::is_operational(event_type) {
            self.subscriptions.wanting_by_name(event_type)
        } else {
            self.subscriptions.wanting(event_type)
        };
        wanting.into_iter().filter_map(|place| self.order.get(place)).cloned().collect()
    }
}

/// Who may ask, by the digests of the keys. An operator's key goes before a tenant's of the same text.
fn keys(config: &Config) -> HashMap<Digest, Caller> {
    let digest = |secret: &SecretString| Digest::of(secret.expose_secret().as_bytes());
    let mut keys = HashMap::new();
    for (id, settings) in &config.tenants {
        for key in &settings.keys {
            keys.insert(digest(&key.secret), Caller { tenant: Some(id.clone()), role: key.role });
        }
    }
    let admin = &config.admin;
    let token = admin.token.iter().map(|token| (token, Role::Admin));
    for (secret, role) in token.chain(admin.keys.iter().map(|key| (&key.secret, key.role))) {
        keys.insert(digest(secret), Caller { tenant: None, role });
    }
    keys
}

/// All queues' access keys. That no id stands twice was checked.
fn access(config: &Config) -> HashMap<String, Access> {
    let mut access = HashMap::new();
    for (tenant, settings) in &config.tenants {
        for (endpoint, settings) in &settings.endpoints {
            let Destination::Pull(pull) = &settings.target else { continue };
            let queue = EndpointKey::new(tenant.clone(), endpoint.clone());
            access.extend(
                pull.access
                    .iter()
                    .map(|key| (key.id.clone(), Access { queue: queue.clone(), secret: key.secret.clone() })),
            );
        }
    }
    access
}

/// The plugins that an endpoint names, in the order in which they run.
pub(crate) fn named(settings: &config::Endpoint) -> impl Iterator<Item = (&PluginId, PluginRole)> {
    let filters = settings.filters.iter().map(|name| (name, PluginRole::Filter));
    filters.chain(settings.transformers.iter().map(|name| (name, PluginRole::Transformer)))
}

fn chain(settings: &config::Endpoint, plugins: &HashMap<PluginId, Slot>) -> Chain {
    let mut steps = Vec::new();
    let mut watches: Vec<Arc<Watch>> = Vec::new();
    for (name, role) in named(settings) {
        // The check of the configuration has seen to it that each is there.
        let Some(slot) = plugins.get(name) else { continue };
        match &slot.component {
            Ok(component) => {
                steps.push(step(name, role, &slot.settings, &component.plugin));
                if !watches.iter().any(|watch| watch.key.plugin == *name) {
                    watches.push(Arc::clone(&component.watch));
                }
            }
            Err(reason) => {
                let missing = Some(format!("plugin {name} has no component: {reason}"));
                return Chain { steps: [].into(), watches, missing };
            }
        }
    }
    Chain { steps: steps.into(), watches, missing: None }
}
