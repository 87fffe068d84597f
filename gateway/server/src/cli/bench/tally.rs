//! Which events were accepted and which arrived, in a few bytes: how many, and a sum over their ids.
//!
//! The load and the receiver are processes of their own and see hundreds of thousands of ids. Two sets of the same size
//! and the same sum of 64-bit hashes are the same set, for all that a benchmark needs.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

/// A set of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) count: u64,
    /// The wrapping sum of the ids' hashes; the order of the events does not matter to it.
    sum: u64,
}

impl Tally {
    /// Adds an event; what the bare relay carries has no id and is only counted.
    pub(super) fn add(&mut self, id: Option<u64>) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(id.unwrap_or(0));
    }
}

/// What stands for the delivery of an event to one of several endpoints; for the first it is the event's own hash.
pub(super) fn delivery(event: u64, endpoint: u64) -> u64 {
    event.wrapping_add(endpoint.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The hash of an event's id, the same in every process of this executable.
pub(super) fn fingerprint(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// How many of the accepted events did not arrive. Where the numbers are equal but the sets are not, one is missing at
/// least, and another came that was never acknowledged.
pub(super) fn lost(accepted: Tally, arrived: Tally) -> u64 {
    if accepted.count == arrived.count && accepted.sum != arrived.sum {
        1
    } else {
        accepted.count.saturating_sub(arrived.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ids: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for id in ids {
            tally.add(Some(fingerprint(id.as_bytes())));
        }
        tally
    }

    #[test]
    fn loss_is_told_from_the_sets() {
        for (accepted, arrived, expected) in [
            (tally(&[]), tally(&[]), 0),
            (tally(&["evt_a", "evt_b", "evt_c"]), tally(&["evt_c", "evt_a", "evt_b"]), 0),
            (tally(&["evt_a", "evt_b", "evt_c"]), tally(&["evt_c"]), 2),
            (tally(&["evt_a", "evt_b"]), tally(&["evt_a", "evt_x"]), 1),
            // An event whose answer was lost may arrive beside those that were accepted.
            (tally(&["evt_a"]), tally(&["evt_a", "evt_b"]), 0),
        ] {
            assert_eq!(lost(accepted, arrived), expected, "{accepted:?} {arrived:?}");
        }
    }

    #[test]
    fn what_has_no_id_is_counted() {
        let mut tally = Tally::default();
        tally.add(None);
        tally.add(None);
        assert_eq!(tally, Tally { count: 2, sum: 0 });
    }
}
