//! The names of tenants and endpoints with the numbers that stand for them in the tables: all of them, in memory.
//!
//! Callers turn names into numbers before a write reaches the writer. A name that is new is kept in a commit of its
//! own first; since names are never removed, a number once seen is good for ever.

use std::collections::{BTreeMap, HashMap};

use hookweir_model::{EndpointId, EndpointKey, Shard, TenantId};
use rusqlite::Connection;

use super::fault::Fault;
use super::record::name_crc;

#[derive(Debug, Default)]
pub(super) struct Directory {
    tenants: HashMap<TenantId, Tenant>,
    tenant_names: HashMap<i64, TenantId>,
    lanes: BTreeMap<i64, EndpointKey>,
    /// Some names have no checksum in the file, or another than fits.
    is_unkept: bool,
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

/// A kind of name, as the table and the index have it.
struct Names {
    table: &'static str,
    /// Takes the number, what it belongs to, the name and the checksum.
    by_table: &'static str,
    /// The same without the checksum.
    by_index: &'static str,
}

const TENANTS: Names = Names {
    table: "tenant",
    by_table: "SELECT id, NULL, name, crc FROM tenant NOT INDEXED",
    by_index: "SELECT id, NULL, name FROM tenant INDEXED BY sqlite_autoindex_tenant_1 WHERE name > ''",
};

const LANES: Names = Names {
    table: "lane",
    by_table: "SELECT id, tenant, endpoint, crc FROM lane NOT INDEXED",
    by_index: "SELECT id, tenant, endpoint FROM lane INDEXED BY sqlite_autoindex_lane_1 WHERE tenant > 0",
};

struct Name {
    /// The tenant that an endpoint belongs to.
    of: Option<i64>,
    text: String,
}

impl Name {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Self>> {
        let text = row.get_ref(2)?.as_str().ok().map(str::to_owned);
        Ok(text.zip(row.get(1).ok()).map(|(text, of)| Self { of, text }))
    }

    fn crc(&self, id: i64) -> i32 {
        match self.of {
            Some(of) => name_crc(&[id, of], &self.text),
            None => name_crc(&[id], &self.text),
        }
    }
}

fn lost(kind: &str, id: i64) {
    tracing::error!(
        target: "hookweir::journal",
        id,
        "the name of a {kind} is damaged in the journal: what was kept under it is out of reach"
    );
}

impl Directory {
    /// Reads all names. One that is not what was written is looked for in its index, and left out where it is damaged
    /// there too: nothing may be sent under another's name.
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        let mut directory = Self::default();
        for (id, name) in directory.whole_names(connection, &TENANTS)? {
            match TenantId::new(&name.text) {
                Ok(name) => directory.add(Entry::Tenant { id, name }),
                Err(_) => lost("tenant", id),
            }
        }
        for (id, name) in directory.whole_names(connection, &LANES)? {
            let tenant = name.of.and_then(|of| directory.tenant_names.get(&of).cloned());
            match tenant.zip(EndpointId::new(&name.text).ok()) {
                Some((tenant, endpoint)) => {
                    directory.add(Entry::Lane { id, key: EndpointKey::new(tenant, endpoint) });
                }
                None => lost("endpoint", id),
            }
        }
        Ok(directory)
    }

    /// The names whose checksum fits, by number. Names of earlier versions have none.
    fn whole_names(&mut self, connection: &Connection, names: &Names) -> Result<Vec<(i64, Name)>, Fault> {
        let mut statement = connection.prepare(names.by_table)?;
        let mut by_index = connection.prepare(names.by_index)?;
        let in_index = by_index.query_map([], |row| Ok((row.get(0)?, Name::read(row)?)))?;
        let mut in_index: BTreeMap<i64, Option<Name>> = in_index.collect::<Result<_, _>>()?;
        let mut rows = statement.query([])?;
        let mut whole = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let crc: Option<i32> = row.get(3).unwrap_or_default();
            let fits = |name: &Name| crc.is_none_or(|crc| crc == name.crc(id));
            let in_table = Name::read(row)?;
            let in_index = in_index.remove(&id).flatten();
            self.is_unkept |= crc.is_none();
            if in_table.as_ref().is_some_and(fits) {
                whole.extend(in_table.map(|name| (id, name)));
                continue;
            }
            self.is_unkept = true;
            // Where table and index say the same, it is the checksum that is damaged.
            let same = in_table
                .as_ref()
                .zip(in_index.as_ref())
                .is_some_and(|(a, b)| (a.of, &a.text) == (b.of, &b.text));
            match in_index {
                Some(name) if same || fits(&name) => whole.push((id, name)),
                _ => lost(names.table, id),
            }
        }
        // Rows that the table has lost.
        self.is_unkept |= !in_index.is_empty();
        whole.extend(in_index.into_iter().filter_map(|(id, name)| Some((id, name?))));
        Ok(whole)
    }

    /// Whether the file is to be given these names again.
    pub(super) fn is_unkept(&self) -> bool {
        self.is_unkept
    }

    /// Writes all names into a file that may have lost some.
    pub(super) fn keep(&self, connection: &Connection) -> Result<(), Fault> {
        let mut tenants =
            connection.prepare("INSERT OR REPLACE INTO tenant (id, name, crc) VALUES (?1, ?2, ?3)")?;
        for (id, name) in &self.tenant_names {
            tenants.execute((id, name.as_str(), name_crc(&[*id], name.as_str())))?;
        }
        let mut lanes = connection.prepare(
            "INSERT OR REPLACE INTO lane (id, tenant, endpoint, shard, crc) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (id, key) in &self.lanes {
            let Some(tenant) = self.tenant(&key.tenant) else { continue };
            let endpoint = key.endpoint.as_str();
            lanes.execute((id, tenant, endpoint, Shard::of(key).0, name_crc(&[*id, tenant], endpoint)))?;
        }
        Ok(())
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

    /// The number of the tenant whose lane it is.
    pub(super) fn tenant_of(&self, lane: i64) -> Option<i64> {
        self.tenant(&self.key(lane)?.tenant)
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
