//! How many bytes of data wait for each tenant, in memory: asked for each event of a tenant with a quota.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hookweir_model::TenantId;
use rusqlite::Connection;

use super::fault::Fault;

#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<HashMap<TenantId, i64>>);

impl Backlog {
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        let backlog = Self::default();
        backlog.reload(connection)?;
        Ok(backlog)
    }

    /// Takes what the file says in place of what was known.
    pub(super) fn reload(&self, connection: &Connection) -> Result<(), Fault> {
        let mut statement = connection.prepare(
            "SELECT t.name, sum(c.pending_bytes) FROM counts c JOIN lane l ON l.id = c.lane \
             JOIN tenant t ON t.id = l.tenant GROUP BY t.id",
        )?;
        let mut rows = statement.query([])?;
        let mut bytes = HashMap::new();
        while let Some(row) = rows.next()? {
            // A name that is none is told by the directory; the sweep counts again.
            if let Ok(name) = TenantId::new(row.get_ref(0)?.as_str().unwrap_or_default()) {
                bytes.insert(name, row.get(1)?);
            }
        }
        *self.lock() = bytes;
        Ok(())
    }

    pub(super) fn of(&self, tenant: &TenantId) -> u64 {
        self.lock().get(tenant).map_or(0, |bytes| u64::try_from(*bytes).unwrap_or(0))
    }

    /// Takes what a commit has changed.
    pub(super) fn change(&self, changes: impl Iterator<Item = (TenantId, i64)>) {
        let mut bytes = self.lock();
        for (tenant, by) in changes {
            *bytes.entry(tenant).or_default() += by;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
