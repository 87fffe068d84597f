//! How long a list looks for what is wanted.

use std::time::{Duration, Instant};

/// As many numbers as a page goes through in any case, which is as many as the largest page holds: a slow moment does not
/// cut a short list into pages.
const AT_LEAST: i64 = 512;

/// A page that has gone through them ends when this is over, with what it has found.
const TIME: Duration = Duration::from_millis(8);

#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    passed: i64,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), passed: 0 }
    }

    /// So many numbers are looked at now.
    pub(super) fn pass(&mut self, numbers: i64) {
        self.passed = self.passed.saturating_add(numbers);
    }

    pub(super) fn is_over(&self) -> bool {
        self.passed > AT_LEAST && self.since.elapsed() >= TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_be_used_up() {
        let now = Instant::now();
        let mut patience = Patience { since: now.checked_sub(TIME).unwrap(), passed: 0 };
        patience.pass(AT_LEAST);
        assert!(!patience.is_over(), "a short list is not cut, however long it takes");
        patience.pass(1);
        assert!(patience.is_over());
        patience.since = now + Duration::from_secs(3600);
        assert!(!patience.is_over(), "there is time left");
    }
}
