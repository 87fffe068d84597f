//! The configuration in force, with its plugins loaded. It is swapped whole: whoever holds one sees one state.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hookweir_delivery::HttpClient;
use hookweir_host::{Host, Plugin, Step};
use hookweir_model::{Digest, EndpointId, EndpointKey, EventType, PluginId, PluginRole, TenantId};
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use crate::config::{self, Config};

/// What accept, dispatch and admin look up. Built by [`Live::build`], never changed.
#[derive(Debug)]
pub(crate) struct Live {
    pub config: Config,
    pub client: HttpClient,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    /// The digests of all API keys. A digest tells nothing of its key, so the map may be searched by it.
    keys: HashMap<Digest, TenantId>,
    admin_token: Option<Digest>,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub id: TenantId,
    pub endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    /// The ids in a fixed order, so that deliveries of one event are always written in it.
    order: Vec<EndpointId>,
    pub plugins: HashMap<PluginId, Arc<Plugin>>,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub key: EndpointKey,
    pub settings: config::Endpoint,
    /// Filters, then transformers, each in its configured order.
    pub chain: Arc<[Step]>,
}

/// A plugin of the configuration can't be used.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} of tenant {tenant} ({file}): {problem}")]
pub(crate) struct PluginProblem {
    pub tenant: TenantId,
    pub plugin: PluginId,
    pub file: String,
    pub problem: String,
}

/// Who is asking, told by a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    Admin,
    Tenant(TenantId),
}

impl Live {
    /// Loads every plugin and puts the pieces together. All plugins that can't be used are reported at once.
    pub(crate) async fn build(
        config: Config,
        host: &Host,
        before: Option<&Self>,
    ) -> Result<Self, Vec<anyhow::Error>> {
        let mut problems = Vec::new();
        let mut tenants = HashMap::with_capacity(config.tenants.len());
        let mut keys = HashMap::new();
        for (id, settings) in &config.tenants {
            for key in &settings.keys {
                keys.insert(Digest::of(key.expose_secret().as_bytes()), id.clone());
            }
            match Tenant::build(id, settings, host).await {
                Ok(tenant) => {
                    tenants.insert(id.clone(), Arc::new(tenant));
                }
                Err(found) => problems.extend(found.into_iter().map(anyhow::Error::from)),
            }
        }
        // Connections are kept over a reload, unless the policy that allowed them has changed.
        let client = match before {
            Some(before) if before.config.egress == config.egress => Ok(before.client.clone()),
            _ => HttpClient::new(config.egress.clone()).context("failed to set up the HTTP client"),
        };
        match client {
            Ok(client) if problems.is_empty() => {
                let admin_token =
                    config.admin.token.as_ref().map(|token| Digest::of(token.expose_secret().as_bytes()));
                Ok(Self { client, tenants, keys, admin_token, config })
            }
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
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
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        let digest = Digest::of(token.as_bytes());
        let same = |other: &Digest| bool::from(other.as_bytes().ct_eq(digest.as_bytes()));
        if self.admin_token.as_ref().is_some_and(same) {
            return Some(Caller::Admin);
        }
        let (known, tenant) = self.keys.get_key_value(&digest)?;
        same(known).then(|| Caller::Tenant(tenant.clone()))
    }

    /// Whether the admin listener asks for a token.
    pub(crate) fn needs_token(&self) -> bool {
        self.admin_token.is_some()
    }
}

impl Tenant {
    async fn build(
        id: &TenantId,
        settings: &config::Tenant,
        host: &Host,
    ) -> Result<Self, Vec<PluginProblem>> {
        let mut problems = Vec::new();
        let mut plugins = HashMap::with_capacity(settings.plugins.len());
        let problem = |plugin: &PluginId, file: &config::PluginFile, problem: String| PluginProblem {
            tenant: id.clone(),
            plugin: plugin.clone(),
            file: file.file.display().to_string(),
            problem,
        };
        for (name, file) in &settings.plugins {
            match host.load(file.wasm.clone()).await {
                Ok(plugin) => {
                    plugins.insert(name.clone(), plugin);
                }
                Err(error) => problems.push(problem(name, file, error.to_string())),
            }
        }
        let mut endpoints = HashMap::with_capacity(settings.endpoints.len());
        for (endpoint, endpoint_settings) in &settings.endpoints {
            let mut chain = Vec::new();
            let filters = endpoint_settings.filters.iter().map(|name| (name, PluginRole::Filter));
            let transformers =
                endpoint_settings.transformers.iter().map(|name| (name, PluginRole::Transformer));
            for (name, role) in filters.chain(transformers) {
                // A plugin that is missing here was reported above, or by the check of the configuration.
                let (Some(plugin), Some(file)) = (plugins.get(name), settings.plugins.get(name)) else {
                    continue;
                };
                let exports = plugin.exports();
                let fits = match role {
                    PluginRole::Filter => exports.filter,
                    PluginRole::Transformer => exports.transformer,
                };
                if fits {
                    chain.push(step(name, role, plugin, file));
                } else {
                    let role = role.as_str();
                    let text = format!("endpoint {endpoint} uses it as a {role}, and it exports no {role}");
                    problems.push(problem(name, file, text));
                }
            }
            let key = EndpointKey::new(id.clone(), endpoint.clone());
            let endpoint_settings = endpoint_settings.clone();
            endpoints.insert(
                endpoint.clone(),
                Arc::new(Endpoint { key, settings: endpoint_settings, chain: chain.into() }),
            );
        }
        if problems.is_empty() {
            let order = settings.endpoints.keys().cloned().collect();
            Ok(Self { id: id.clone(), endpoints, order, plugins })
        } else {
            Err(problems)
        }
    }

    /// The endpoints that an event of this type goes to, those that are switched off included: their deliveries wait.
    pub(crate) fn matching(&self, event_type: &EventType) -> Vec<EndpointId> {
        let wants = |endpoint: &&EndpointId| {
            self.endpoints.get(*endpoint).is_some_and(|endpoint| {
                endpoint.settings.event_types.iter().any(|pattern| pattern.matches(event_type))
            })
        };
        self.order.iter().filter(wants).cloned().collect()
    }
}

fn step(name: &PluginId, role: PluginRole, plugin: &Arc<Plugin>, file: &config::PluginFile) -> Step {
    Step {
        id: name.clone(),
        role,
        plugin: Arc::clone(plugin),
        config: Arc::clone(&file.config),
        limits: file.limits,
        reuse: None,
    }
}
