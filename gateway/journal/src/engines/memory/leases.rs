//! Who owns which shard, until when, and under which epoch: a pure function of the calls and the time.

use std::time::Duration;

use hookweir_model::{Epoch, SHARDS, Shard, Timestamp};

use crate::Lease;

pub(super) struct Leases(Vec<Slot>);

struct Slot {
    epoch: Epoch,
    held: Option<Held>,
}

struct Held {
    node: String,
    until: Timestamp,
}

impl Slot {
    fn held_by(&self, node: &str, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| held.node == node && now < held.until)
    }

    fn is_free(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_none_or(|held| now >= held.until)
    }
}

impl Leases {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Slot { epoch: Epoch(0), held: None }).collect())
    }

    pub(super) fn acquire(&mut self, node: &str, now: Timestamp, ttl: Duration) -> Vec<Lease> {
        for slot in self.0.iter_mut().filter(|slot| slot.is_free(now)) {
            slot.epoch.0 += 1;
            slot.held = Some(Held { node: node.to_owned(), until: now.after(ttl) });
        }
        self.of(node, now)
    }

    pub(super) fn renew(&mut self, node: &str, now: Timestamp, ttl: Duration) -> Vec<Lease> {
        for slot in self.0.iter_mut().filter(|slot| slot.held_by(node, now)) {
            slot.held = Some(Held { node: node.to_owned(), until: now.after(ttl) });
        }
        self.of(node, now)
    }

    pub(super) fn release(&mut self, node: &str) {
        for slot in &mut self.0 {
            if slot.held.as_ref().is_some_and(|held| held.node == node) {
                slot.held = None;
            }
        }
    }

    /// The epoch under which the shard was last given.
    pub(super) fn present(&self, shard: Shard) -> Epoch {
        self.0[usize::from(shard.0)].epoch
    }

    pub(super) fn highest(&self) -> Epoch {
        self.0.iter().map(|slot| slot.epoch).max().unwrap_or(Epoch(0))
    }

    fn of(&self, node: &str, now: Timestamp) -> Vec<Lease> {
        let held = |(shard, slot): (Shard, &Slot)| {
            slot.held_by(node, now).then_some(Lease { shard, epoch: slot.epoch })
        };
        Shard::all().zip(&self.0).filter_map(held).collect()
    }
}
