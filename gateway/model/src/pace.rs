//! How fast an endpoint may be tried, as a value. What follows from it is decided where deliveries are dispatched.

use std::time::Duration;

/// What an endpoint's configuration says of its pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacePolicy {
    /// How many attempts may be in flight.
    pub concurrency: usize,
    /// How many may begin in a second; `None`: as many as fit.
    pub per_second: Option<u32>,
    /// `None`: it never opens.
    pub breaker: Option<BreakerPolicy>,
}

/// When a breaker opens, and for how long at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it.
    pub failures: u32,
    /// How long it stays open before a delivery goes out as a probe; twice as long after each probe that fails.
    pub pause: Duration,
}

impl BreakerPolicy {
    /// The longest time between two probes.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
}

impl Default for BreakerPolicy {
    /// Enough failures that no busy receiver's bad second opens it.
    fn default() -> Self {
        Self { failures: 50, pause: Duration::from_secs(10) }
    }
}
