//! Notes in which blocks of numbers tenants have events and lanes deliveries, for lists.

use std::collections::HashSet;

use super::statements::Statements;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{block, of_tenant};

/// Who is known to be present in the newest block: each is written once for it.
#[derive(Debug, Default)]
pub(super) struct Present {
    block: i64,
    ids: HashSet<i64>,
}

impl Present {
    /// Forgets what may not be on disk, after a group that failed.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }

    /// Notes an event and its deliveries.
    pub(super) fn note(
        &mut self,
        statements: &mut Statements<'_>,
        seq: i64,
        tenant: i64,
        lanes: &[i64],
    ) -> Result<(), Fault> {
        let block = block(seq);
        if block != self.block {
            self.block = block;
            self.ids.clear();
        }
        for id in [of_tenant(tenant)].iter().chain(lanes) {
            if self.ids.insert(*id) {
                statements.be_present.execute((block, id))?;
            }
        }
        Ok(())
    }
}
