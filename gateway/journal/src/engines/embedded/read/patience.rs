//! How long a list looks for what is wanted.

use std::time::{Duration, Instant};

/// As many rows as a page looks at in vain in any case: a slow moment does not cut a short list into pages. What is wanted is
/// not counted, so that a list of everything is cut by its limit alone, or among very many events of others.
const AT_LEAST: u32 = 128 * ROW;

/// What a row costs, in blocks that the index tells to hold nothing.
const ROW: u32 = 32;

/// A page that has looked at more than these ends when this is over, with what it has found.
const TIME: Duration = Duration::from_millis(8);

#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    /// In blocks that hold nothing.
    in_vain: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), in_vain: 0 }
    }

    /// A row was looked at and is not wanted.
    pub(super) fn looked_in_vain(&mut self) {
        self.in_vain = self.in_vain.saturating_add(ROW);
    }

    /// A block of numbers holds nothing.
    pub(super) fn passed_a_block(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    pub(super) fn is_over(&self) -> bool {
        self.in_vain > AT_LEAST && self.since.elapsed() >= TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_be_used_up() {
        let now = Instant::now();
        let mut patience = Patience { since: now.checked_sub(TIME).unwrap(), in_vain: AT_LEAST };
        assert!(!patience.is_over(), "a short list is not cut, however long it takes");
        patience.passed_a_block();
        assert!(patience.is_over());
        patience.in_vain = AT_LEAST - ROW;
        patience.looked_in_vain();
        assert!(!patience.is_over(), "so many rows are looked at in any case");
        patience.looked_in_vain();
        assert!(patience.is_over());
        patience.since = now + Duration::from_secs(3600);
        assert!(!patience.is_over(), "there is time left");
    }
}
