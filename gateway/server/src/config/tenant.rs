//! The tenants of all files: their keys, plugins and endpoints.

use std::collections::{BTreeMap, HashMap};

use hookweir_model::{Digest, EndpointId, PluginRole, TenantId};
use secrecy::ExposeSecret as _;

use super::check::{Surroundings, bad_name, not_yet};
use super::checked::{ApiKey, Destination, Pull, Quota, Tenant};
use super::endpoint::endpoint;
use super::kind::access_ids;
use super::plugin::{self, plugin};
use super::problem::{Fault, Place, Report};
use super::quantity::size;
use super::secret;
use super::written::{Table, Value};
use crate::role::Role;

const KEYS: [&str; 6] = ["keys", "quota", "sources", "limits", "plugins", "endpoints"];

/// Less would refuse a tenant's first event.
const LEAST_PENDING: u64 = 1024;
/// Beyond it a quota bounds nothing that the machine does not.
const MOST_PER_SECOND: u64 = 1_000_000;

fn quota(value: &Value<'_>, report: &mut Report) -> Option<Quota> {
    const HELP: &str = "write { pending_size = \"1GiB\", events_per_second = 500 }, or one of the two";
    let table = value.table(HELP, report)?;
    table.allow(&["pending_size", "events_per_second"], report);
    let pending_size = table.get("pending_size").and_then(|value| {
        let bytes = value.parsed(size, "write a size in quotes, such as \"1GiB\"", report)?;
        let enough = Fault::new("it is less than 1 KiB", "no event would be taken: write a larger size");
        value.take(if bytes < LEAST_PENDING { Err(enough) } else { Ok(bytes) }, report)
    });
    let events_per_second = table
        .get("events_per_second")
        .and_then(|value| value.whole_number(1..=MOST_PER_SECOND, report))
        .and_then(|number| u32::try_from(number).ok());
    Some(Quota { pending_size, events_per_second })
}

/// The tenants read so far.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    found: BTreeMap<TenantId, (Tenant, Place)>,
    /// Which keys are taken, by digest, and where each stands.
    keys: HashMap<Digest, Place>,
    /// Which access ids of queues are taken, and where each stands.
    access: HashMap<String, Place>,
}

impl Tenants {
    /// Reads the tenants of one file.
    pub(super) fn read(&mut self, file: &Table<'_>, outside: &Surroundings<'_>, report: &mut Report) {
        let example = "write a table for each tenant: [tenants.acme]";
        let Some(tenants) = file.get("tenants").and_then(|tenants| tenants.table(example, report)) else {
            return;
        };
        for (key, value) in tenants.entries() {
            let id = TenantId::new(key.text).map_err(|error| bad_name("a tenant", key.text, &error));
            let id = id.map_err(|fault| report.add(&key.name, &key.place, fault)).ok();
            let Some(table) = value.table(example, report) else { continue };
            let file = outside.included(key.place.file);
            let tenant = Tenant { file, ..self.tenant(key.text, &table, outside, report) };
            let Some(id) = id else { continue };
            if let Some((_, first)) = self.found.get(&id) {
                let help = "keep all of a tenant in one file, or give one of them another name";
                let fault = Fault::new(format!("the tenant {:?} stands in two files", id.as_str()), help);
                report.add_pair(&key.name, &key.place, fault, first, "it was given here first");
                continue;
            }
            self.found.insert(id, (tenant, key.place));
        }
    }

    pub(super) fn into_tenants(self) -> BTreeMap<TenantId, Tenant> {
        self.found.into_iter().map(|(id, (tenant, _))| (id, tenant)).collect()
    }

    fn tenant(
        &mut self,
        name: &str,
        table: &Table<'_>,
        outside: &Surroundings<'_>,
        report: &mut Report,
    ) -> Tenant {
        table.allow(&KEYS, report);
        if let Some(value) = table.get("sources") {
            value.refuse_key(not_yet("a source", "leave it out"), report);
        }
        let quota = table.get("quota").and_then(|value| quota(&value, report)).unwrap_or_default();
        let keys = self.keys(table, outside, report);
        let ceilings = outside.ceilings.lowered_by(table.get("limits"), report);

        let mut plugins = BTreeMap::new();
        let example = "write a table for each plugin: [tenants.acme.plugins.large-only]";
        for (key, value) in table_of(table, "plugins", example, report).iter().flat_map(Table::entries) {
            let roles = outside.inspect.map(|_| roles(table, key.text)).unwrap_or_default();
            let Some(table) = value.table(example, report) else { continue };
            let plugin = plugin(&table, &roles, &ceilings, outside, report);
            match plugin::id(key.text) {
                Ok(id) => {
                    plugins.insert(id, plugin);
                }
                Err(fault) => report.add(&key.name, &key.place, fault),
            }
        }

        let mut endpoints = BTreeMap::new();
        let example = "write a table for each endpoint: [tenants.acme.endpoints.billing]";
        for (key, value) in table_of(table, "endpoints", example, report).iter().flat_map(Table::entries) {
            let Some(table) = value.table(example, report) else { continue };
            let endpoint = endpoint(&table, (name, key.text), &plugins, outside, report);
            if let Some(Destination::Pull(pull)) = endpoint.as_ref().map(|endpoint| &endpoint.target) {
                self.access(&table, pull, report);
            }
            match EndpointId::new(key.text).map_err(|error| bad_name("an endpoint", key.text, &error)) {
                Ok(id) => endpoints.extend(endpoint.map(|endpoint| (id, endpoint))),
                Err(fault) => report.add(&key.name, &key.place, fault),
            }
        }
        let plugins = plugins.into_iter().filter_map(|(id, found)| Some((id, found.plugin?))).collect();
        Tenant { file: None, keys, quota, plugins, endpoints }
    }

    /// Takes note of a queue's access ids. An id tells whose queue is meant, so no two may have the same.
    fn access(&mut self, table: &Table<'_>, pull: &Pull, report: &mut Report) {
        let values = access_ids(table);
        if values.len() != pull.access.len() {
            // One of them can't be used, which was reported.
            return;
        }
        for (value, access) in values.into_iter().zip(&pull.access) {
            let id = access.id.clone();
            if let Some(first) = self.access.get(&id) {
                let help = "an access id tells which queue is meant: give each queue ids of its own";
                let fault = Fault::new("this access id is in use already", help);
                report.add_pair(value.name(), value.place(), fault, first, "the same id stands here");
            } else {
                self.access.insert(id, value.place().clone());
            }
        }
    }

    /// Reads a tenant's API keys. A key names its tenant, so no two may have the same.
    fn keys(&mut self, table: &Table<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Vec<ApiKey> {
        let help = "add `keys = [{ env = \"NAME\" }]`, by which its senders are known; [] if nobody may send";
        let Some(value) = table.need("keys", help, report) else { return Vec::new() };
        let mut keys = Vec::new();
        for (item, key) in secret::keys(&value, &Role::OF_TENANT, outside, report) {
            let digest = Digest::of(key.secret.expose_secret().as_bytes());
            if let Some(first) = self.keys.get(&digest) {
                let fault = Fault::new(
                    "this key is in use already",
                    "a key tells who sends: give each tenant keys of its own, and each of them once",
                );
                report.add_pair(item.name(), item.place(), fault, first, "the same key stands here");
                continue;
            }
            self.keys.insert(digest, item.place().clone());
            keys.push(key);
        }
        keys
    }
}

/// What a tenant's endpoints use a plugin as, as far as they can be read; all that it can be where none names it.
fn roles(tenant: &Table<'_>, plugin: &str) -> Vec<PluginRole> {
    let endpoints = tenant.get("endpoints").and_then(|endpoints| endpoints.as_table());
    let endpoints: Vec<_> = endpoints.iter().flat_map(Table::entries).collect();
    let is_named = |list: &Value<'_>| {
        let is_it = |item: &Value<'_>| item.raw().as_str() == Some(plugin);
        list.as_list().is_some_and(|items| items.iter().any(is_it))
    };
    let uses = |key: &str| {
        endpoints.iter().filter_map(|(_, endpoint)| endpoint.as_table()?.get(key)).any(|list| is_named(&list))
    };
    let both = [(PluginRole::Filter, "filters"), (PluginRole::Transformer, "transformers")];
    let used: Vec<_> = both.iter().filter(|(_, key)| uses(key)).map(|(role, _)| *role).collect();
    if used.is_empty() { both.map(|(role, _)| role).to_vec() } else { used }
}

fn table_of<'a>(table: &Table<'a>, key: &str, example: &str, report: &mut Report) -> Option<Table<'a>> {
    table.get(key).and_then(|value| value.table(example, report))
}
