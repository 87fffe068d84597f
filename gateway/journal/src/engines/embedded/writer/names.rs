//! Giving numbers to new names.

use hookweir_model::{Shard, TenantId};

use super::op::Name;
use super::statements::Statements;
use crate::engines::embedded::directory::Entry;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::name_crc;

pub(super) fn register(statements: &mut Statements<'_>, names: &[Name]) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for name in names {
        match name {
            Name::Tenant(name) => {
                entries.push(Entry::Tenant { id: tenant(statements, name)?, name: name.clone() });
            }
            Name::Lane(key) => {
                let tenant = tenant(statements, &key.tenant)?;
                entries.push(Entry::Tenant { id: tenant, name: key.tenant.clone() });
                let endpoint = key.endpoint.as_str();
                statements.add_lane.execute((tenant, endpoint, Shard::of(key).0))?;
                let id: i64 = statements.lane.query_row((tenant, endpoint), |row| row.get(0))?;
                statements.sum_lane.execute((id, name_crc(&[id, tenant], endpoint)))?;
                entries.push(Entry::Lane { id, key: key.clone() });
            }
        }
    }
    Ok(entries)
}

fn tenant(statements: &mut Statements<'_>, name: &TenantId) -> Result<i64, Fault> {
    statements.add_tenant.execute((name.as_str(),))?;
    let id: i64 = statements.tenant.query_row((name.as_str(),), |row| row.get(0))?;
    statements.sum_tenant.execute((id, name_crc(&[id], name.as_str())))?;
    Ok(id)
}
