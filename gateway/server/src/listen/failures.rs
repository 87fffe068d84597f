//! Connections that can't be accepted, mostly for want of descriptors: told once, then by their number.

use std::time::Duration;

use tokio::time::Instant;

/// How often their number is told while it goes on.
const TELL: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Since the last one that was told, without it.
    count: u64,
    told: Option<Instant>,
    pause: Duration,
}

/// What to write to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Nothing,
    /// It has begun.
    First,
    /// There were so many more.
    More(u64),
}

impl Failures {
    /// One more. Answers what to tell of it, and how long to leave the listener alone.
    pub(super) fn failed(&mut self, now: Instant) -> (Tell, Duration) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let tell = match self.told {
            None => Tell::First,
            Some(told) if now.duration_since(told) >= TELL => Tell::More(self.count + 1),
            Some(_) => {
                self.count += 1;
                return (Tell::Nothing, self.pause);
            }
        };
        (self.count, self.told) = (0, Some(now));
        (tell, self.pause)
    }

    /// A connection was accepted: the number of failures that were not told yet is, once they are over for a while.
    pub(super) fn succeeded(&mut self, now: Instant) -> Tell {
        self.pause = Duration::ZERO;
        match self.told {
            Some(told) if now.duration_since(told) >= TELL => {
                let count = self.count;
                *self = Self::default();
                if count == 0 { Tell::Nothing } else { Tell::More(count) }
            }
            _ => Tell::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_once_and_then_by_their_number() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut failures = Failures::default();
        assert_eq!(failures.succeeded(at(0)), Tell::Nothing);
        assert_eq!(failures.failed(at(0)), (Tell::First, FIRST_PAUSE));
        for (second, milliseconds) in
            [(1, 20), (2, 40), (3, 80), (4, 160), (5, 320), (6, 640), (7, 1000), (8, 1000)]
        {
            assert_eq!(failures.failed(at(second)), (Tell::Nothing, Duration::from_millis(milliseconds)));
        }
        assert_eq!(failures.succeeded(at(9)), Tell::Nothing);
        assert_eq!(failures.failed(at(10)), (Tell::Nothing, FIRST_PAUSE), "a success ends the pauses");
        assert_eq!(failures.failed(at(60)).0, Tell::More(10));
        assert_eq!(failures.failed(at(61)).0, Tell::Nothing);
        assert_eq!(failures.succeeded(at(120)), Tell::More(1));
        assert_eq!(failures.failed(at(121)).0, Tell::First, "another time of want");
    }
}
