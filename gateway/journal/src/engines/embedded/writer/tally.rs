//! What a group adds up and writes once: counts of deliveries by lane and status, of messages by
//! lane, and spans of receipt.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hookweir_model::{Status, Timestamp};

use super::op::minute;
use super::statements::Statements;
use crate::engines::embedded::fault::Fault;

#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<i64, [i64; Status::ALL.len()]>,
    /// Messages and dead letters.
    queues: BTreeMap<i64, (i64, i64)>,
    spans: BTreeMap<i64, (i64, i64)>,
}

impl Tally {
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.queues.clear();
        self.spans.clear();
    }

    pub(super) fn add(&mut self, lane: i64, status: Status) {
        self.change(lane, status, 1);
    }

    pub(super) fn remove(&mut self, lane: i64, status: Status) {
        self.change(lane, status, -1);
    }

    fn change(&mut self, lane: i64, status: Status, by: i64) {
        self.counts.entry(lane).or_default()[usize::from(status.code())] += by;
    }

    /// Notes by how many a queue's messages and dead letters change.
    pub(super) fn messages(&mut self, lane: i64, alive: i64, dead: i64) {
        let queue = self.queues.entry(lane).or_default();
        queue.0 += alive;
        queue.1 += dead;
    }

    /// Notes an event; their numbers come in rising order.
    pub(super) fn received(&mut self, seq: i64, at: Timestamp) {
        match self.spans.entry(minute(at)) {
            Entry::Vacant(entry) => {
                entry.insert((seq, seq));
            }
            Entry::Occupied(mut entry) => entry.get_mut().1 = seq,
        }
    }

    pub(super) fn write(&self, statements: &mut Statements<'_>) -> Result<(), Fault> {
        for (lane, by) in &self.counts {
            // In the order of their codes, as the columns are.
            let [pending, delivered, filtered, exhausted, failed, cancelled, expired] = by;
            let changes = (lane, pending, delivered, filtered, exhausted, failed, cancelled, expired);
            statements.add_counts.execute(changes)?;
        }
        for (lane, (alive, dead)) in &self.queues {
            statements.add_messages.execute((lane, alive, dead))?;
        }
        for (minute, (first, last)) in &self.spans {
            statements.extend_span.execute((minute, first, last))?;
        }
        Ok(())
    }
}
