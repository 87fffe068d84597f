//! The names of tenants and endpoints with the numbers that stand for them in the tables: all of them, in memory.
//!
//! Callers turn names into numbers before a write reaches the writer. A name that is new is kept in a commit of its
//! own first; since names are never removed, a number once seen is good for ever.

use std::collections::{BTreeMap, HashMap};

use hookweir_model::{EndpointId, EndpointKey, Shard, TenantId};
use rusqlite::Connection;

use super::fault::Fault;

#[derive(Debug, Default)]
pub(super) struct Directory {
    tenants: HashMap<TenantId, Tenant>,
    tenant_names: HashMap<i64, TenantId>,
    lanes: BTreeMap<i64, EndpointKey>,
}

#[derive(Debug)]
struct Tenant {
    id: i64,
    lanes: BTreeMap<EndpointId, i64>,
}

/// A name with its new number.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Tenant { id: i64, name: TenantId },
    Lane { id: i64, key: EndpointKey },
}

impl Directory {
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        let mut directory = Self::default();
        let mut tenants = connection.prepare("SELECT id, name FROM tenant")?;
        let mut rows = tenants.query([])?;
        while let Some(row) = rows.next()? {
            let name = TenantId::new(row.get_ref(1)?.as_str().unwrap_or_default());
            directory.add(Entry::Tenant {
                id: row.get(0)?,
                name: name.map_err(|_| Fault::damaged("a tenant's name"))?,
            });
        }
        let mut lanes = connection.prepare("SELECT id, tenant, endpoint FROM lane")?;
        let mut rows = lanes.query([])?;
        while let Some(row) = rows.next()? {
            let tenant = directory.tenant_names.get(&row.get::<_, i64>(1)?).cloned();
            let tenant = tenant.ok_or_else(|| Fault::damaged("the tenant of an endpoint"))?;
            let endpoint = EndpointId::new(row.get_ref(2)?.as_str().unwrap_or_default())
                .map_err(|_| Fault::damaged("an endpoint's name"))?;
            directory.add(Entry::Lane { id: row.get(0)?, key: EndpointKey::new(tenant, endpoint) });
        }
        Ok(directory)
    }

    /// Adds a name; a lane after its tenant.
    pub(super) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Tenant { id, name } => {
                self.tenant_names.insert(id, name.clone());
                self.tenants.entry(name).or_insert_with(|| Tenant { id, lanes: BTreeMap::new() });
            }
            Entry::Lane { id, key } => {
                if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
                    tenant.lanes.insert(key.endpoint.clone(), id);
                }
                self.lanes.insert(id, key);
            }
        }
    }

    pub(super) fn tenant(&self, name: &TenantId) -> Option<i64> {
        self.tenants.get(name).map(|tenant| tenant.id)
    }

    pub(super) fn tenant_name(&self, id: i64) -> Option<&TenantId> {
        self.tenant_names.get(&id)
    }

    pub(super) fn lane(&self, tenant: &TenantId, endpoint: &EndpointId) -> Option<i64> {
        self.tenants.get(tenant)?.lanes.get(endpoint).copied()
    }

    pub(super) fn lane_of(&self, key: &EndpointKey) -> Option<i64> {
        self.lane(&key.tenant, &key.endpoint)
    }

    pub(super) fn key(&self, lane: i64) -> Option<&EndpointKey> {
        self.lanes.get(&lane)
    }

    /// A tenant's lanes, by endpoint.
    pub(super) fn lanes_of(&self, tenant: &TenantId) -> Vec<(EndpointId, i64)> {
        let lanes = self.tenants.get(tenant).map(|tenant| &tenant.lanes);
        lanes.into_iter().flatten().map(|(endpoint, lane)| (endpoint.clone(), *lane)).collect()
    }

    pub(super) fn lanes_in(&self, shard: Shard) -> Vec<(EndpointKey, i64)> {
        self.lanes
            .iter()
            .filter(|(_, key)| Shard::of(key) == shard)
            .map(|(id, key)| (key.clone(), *id))
            .collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = i64> {
        self.lanes.keys().copied()
    }
}
