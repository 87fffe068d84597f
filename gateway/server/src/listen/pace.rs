//! How fast bytes have to come or go: a pure function of what has moved when.

use std::time::Duration;

use tokio::time::Instant;

/// So long nothing at all may move.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Bytes a second that must have moved on the whole, beyond the first [`STALL`].
pub(super) const RATE: u64 = 1024;

/// One transfer: a body that is read, or bytes that wait to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    since: Instant,
    last: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) const fn start(now: Instant) -> Self {
        Self { since: now, last: now, bytes: 0 }
    }

    /// Takes note of bytes that have moved.
    pub(super) const fn moved(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.last = now;
    }

    /// When it is given up, unless more moves before.
    pub(super) fn deadline(&self) -> Instant {
        let on_the_whole = self.since
            + STALL
            + Duration::from_secs(1) * u32::try_from(self.bytes / RATE).unwrap_or(u32::MAX);
        on_the_whole.min(self.last + STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_follows_what_has_moved() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (moves, wanted) in [
            // Nothing comes.
            (&[][..], 30),
            // One byte every twenty seconds is too slow on the whole.
            (&[(20, 1), (29, 1)], 30),
            // A rate above the minimum goes on for as long as it does not stall.
            (&[(10, 30 << 10)], 40),
            (&[(10, 100 << 10), (35, 4 << 10), (64, 4 << 10)], 94),
            // What came fast at first does not excuse a standstill later.
            (&[(1, 1 << 30)], 31),
            // Exactly the minimal rate.
            (&[(20, 20 << 10), (40, 20 << 10), (60, 20 << 10)], 90),
        ] {
            let mut pace = Pace::start(start);
            for (seconds, bytes) in moves {
                assert!(at(*seconds) < pace.deadline(), "{moves:?}");
                pace.moved(*bytes, at(*seconds));
            }
            assert_eq!(pace.deadline(), at(wanted), "{moves:?}");
        }
    }
}
