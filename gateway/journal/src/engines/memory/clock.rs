//! The clock and its notes in a map.

use std::collections::BTreeMap;
use std::time::Duration;

use hookweir_model::Timestamp;

use crate::{KeptClock, Old, Oldest, Seq};

#[derive(Default)]
pub(super) struct State {
    pub kept: Option<KeptClock>,
    /// The caller's own time, and the last event and message that were there, by running time.
    notes: BTreeMap<Duration, (Timestamp, Seq, u64)>,
}

impl State {
    pub(super) fn keep(&mut self, clock: &KeptClock, last: Seq, message: u64) {
        let is_known = self.notes.values().any(|(_, event, number)| (*event, *number) == (last, message));
        if !is_known {
            self.notes.insert(clock.running, (clock.time, last, message));
        }
        self.kept = Some(clock.clone());
    }

    /// The last event and the last message that are old.
    pub(super) fn last(&self, old: Old) -> (Seq, u64) {
        match old {
            Old::All => (Seq(u64::MAX), u64::MAX),
            Old::At(running) => {
                let note = self.notes.range(..=running).next_back();
                note.map_or((Seq(0), 0), |(_, (_, event, message))| (*event, *message))
            }
        }
    }

    pub(super) fn oldest_event(&self, seq: Seq, received: Timestamp) -> Oldest {
        self.oldest(received, |(_, event, _)| *event >= seq)
    }

    pub(super) fn oldest_message(&self, number: u64, received: Timestamp) -> Oldest {
        self.oldest(received, |(_, _, message)| *message >= number)
    }

    fn oldest(&self, received: Timestamp, is_there: impl Fn(&(Timestamp, Seq, u64)) -> bool) -> Oldest {
        let after = self.notes.values().rev().find(|note| !is_there(note)).map(|note| note.0);
        let before = self.notes.values().find(|note| is_there(note)).map(|note| note.0);
        Oldest { received, after, before }
    }
}
