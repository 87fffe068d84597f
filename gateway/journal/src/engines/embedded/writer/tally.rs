//! What a group adds up and writes once: counts of deliveries by lane and status, of messages by
//! lane, and spans of receipt.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hookweir_model::{Status, Timestamp};

use super::op::minute;
use super::statements::Statements;
use crate::engines::embedded::fault::Fault;

/// What changes of a lane.
#[derive(Debug, Default)]
struct Changed {
    by_status: [i64; Status::ALL.len()],
    pending_bytes: i64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<i64, Changed>,
    /// Messages and dead letters.
    queues: BTreeMap<i64, (i64, i64)>,
    spans: BTreeMap<i64, (i64, i64)>,
    /// Events of which a delivery has ended.
    ended: Vec<i64>,
}

impl Tally {
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.queues.clear();
        self.spans.clear();
        self.ended.clear();
    }

    /// Notes a delivery of an event with so much data.
    pub(super) fn add(&mut self, lane: i64, status: Status, size: i64) {
        self.change(lane, status, 1, size);
    }

    pub(super) fn remove(&mut self, lane: i64, status: Status, size: i64) {
        self.change(lane, status, -1, -size);
    }

    fn change(&mut self, lane: i64, status: Status, by: i64, size: i64) {
        let lane = self.counts.entry(lane).or_default();
        lane.by_status[usize::from(status.code())] += by;
        if status == Status::Pending {
            lane.pending_bytes += size;
        }
    }

    /// Corrects what a lane has pending, in deliveries and bytes.
    pub(super) fn correct(&mut self, lane: i64, pending: i64, bytes: i64) {
        let lane = self.counts.entry(lane).or_default();
        lane.by_status[usize::from(Status::Pending.code())] += pending;
        lane.pending_bytes += bytes;
    }

    /// By how much the bytes that wait change, by lane.
    pub(super) fn pending_bytes(&self) -> impl Iterator<Item = (i64, i64)> {
        self.counts.iter().map(|(lane, changed)| (*lane, changed.pending_bytes)).filter(|(_, by)| *by != 0)
    }

    /// Notes by how many a queue's messages and dead letters change.
    pub(super) fn messages(&mut self, lane: i64, alive: i64, dead: i64) {
        let queue = self.queues.entry(lane).or_default();
        queue.0 += alive;
        queue.1 += dead;
    }

    /// Notes that a delivery of this event has ended.
    pub(super) fn ended(&mut self, seq: i64) {
        self.ended.push(seq);
    }

    pub(super) fn all_ended(&self) -> &[i64] {
        &self.ended
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
        for (lane, Changed { by_status, pending_bytes }) in &self.counts {
            // In the order of their codes, as the columns are.
            let [pending, delivered, filtered, exhausted, failed, cancelled, expired] = by_status;
            let by =
                (lane, pending, delivered, filtered, exhausted, failed, cancelled, expired, pending_bytes);
            statements.add_counts.execute(by)?;
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
