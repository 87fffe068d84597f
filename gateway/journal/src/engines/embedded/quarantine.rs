//! Deliveries found damaged that the writer has not ended yet. Until it has, readers pass over them, so that one
//! damaged event does not hold up its lane while the disk is full.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Quarantine(Mutex<BTreeSet<(i64, i64)>>);

impl Quarantine {
    /// Takes a delivery in; says whether it is new here.
    pub(super) fn hold(&self, lane: i64, seq: i64) -> bool {
        self.lock().insert((lane, seq))
    }

    pub(super) fn release(&self, lane: i64, seq: i64) {
        self.lock().remove(&(lane, seq));
    }

    /// What is held of one lane.
    pub(super) fn of(&self, lane: i64) -> Vec<i64> {
        self.lock().range((lane, i64::MIN)..=(lane, i64::MAX)).map(|(_, seq)| *seq).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(i64, i64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
