//! Notes in which blocks of numbers tenants have events and lanes deliveries, for lists.

use std::collections::HashMap;

use super::statements::Statements;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{ALL, bit, block, of_tenant};

/// How many fours of a block are noted for one that is present; with the next it counts as present in all. So rows are
/// written a few times in a block, and who is there often is looked for in all of it anyway.
const FOURS: u32 = 4;

/// Where who is known to be present in the newest block.
#[derive(Debug, Default)]
pub(super) struct Present {
    block: i64,
    fours: HashMap<i64, i64>,
}

impl Present {
    /// Forgets what may not be on disk, after a group that failed.
    pub(super) fn clear(&mut self) {
        self.fours.clear();
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
            self.fours.clear();
        }
        for id in [of_tenant(tenant)].iter().chain(lanes) {
            let known = self.fours.entry(*id).or_default();
            if let Some(fours) = added(*known, bit(seq)) {
                *known = fours;
                statements.be_present.execute((block, id, fours))?;
            }
        }
        Ok(())
    }
}

/// What is to be noted where `known` is, and something comes at `bit`.
const fn added(known: i64, bit: i64) -> Option<i64> {
    let fours = known | bit;
    if fours == known {
        None
    } else if fours.count_ones() > FOURS {
        Some(ALL)
    } else {
        Some(fours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_fours_are_noted_and_many_are_all() {
        for (known, seq, wanted) in [
            (0b0, 1, Some(0b1)),
            (0b1, 3, None),
            (0b1, 4, Some(0b11)),
            (0b1, 255, Some(i64::MIN | 0b1)),
            (0b111, 15, Some(0b1111)),
            (0b1111, 12, None),
            (0b1111, 16, Some(ALL)),
            (ALL, 200, None),
        ] {
            assert_eq!(added(known, bit(seq)), wanted, "{known:b}, {seq}");
        }
    }
}
