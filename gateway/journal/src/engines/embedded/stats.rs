//! What the engine counts about itself, for metrics and for the test that proves group commit.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the histogram, in seconds: from a fast drive's sync to one that hangs.
const BOUNDS: [f64; 15] = [
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    5.0,
    f64::INFINITY,
];

/// A reading of the engine's counters since it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Transactions committed; each is one sync, whatever the number of calls that it served.
    pub commits: u64,
    /// Calls served by them.
    pub calls: u64,
    /// Stored events and requests whose checksum did not match when they were read.
    pub damaged: u64,
    /// Finished events that were removed before their retention, to make room.
    pub removed_early: u64,
    /// How long commits took, sync included.
    pub sync_seconds: Histogram,
}

/// A histogram as Prometheus wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub sum: f64,
    pub count: u64,
    /// Upper bound and number of values in the bucket alone, by bound; the last bound is [`f64::INFINITY`].
    pub buckets: Vec<(f64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    damaged: AtomicU64,
    removed_early: AtomicU64,
    nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
}

impl Counters {
    pub(super) fn committed(&self, calls: usize, took: Duration) {
        self.calls.fetch_add(calls as u64, Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.buckets[bucket(took.as_secs_f64())].fetch_add(1, Relaxed);
    }

    pub(super) fn damaged(&self) {
        self.damaged.fetch_add(1, Relaxed);
    }

    pub(super) fn removed_early(&self, events: u64) {
        self.removed_early.fetch_add(events, Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        let buckets: Vec<(f64, u64)> =
            BOUNDS.iter().zip(&self.buckets).map(|(bound, count)| (*bound, count.load(Relaxed))).collect();
        let commits = buckets.iter().map(|(_, count)| count).sum();
        Stats {
            commits,
            calls: self.calls.load(Relaxed),
            damaged: self.damaged.load(Relaxed),
            removed_early: self.removed_early.load(Relaxed),
            sync_seconds: Histogram {
                sum: Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64(),
                count: commits,
                buckets,
            },
        }
    }
}

fn bucket(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_under_their_bound() {
        for (seconds, wanted) in
            [(0.0, 0), (0.0001, 0), (0.00011, 1), (0.02, 7), (4.0, 13), (6.0, 14), (1e9, 14)]
        {
            assert_eq!(bucket(seconds), wanted, "{seconds}");
        }
    }
}
