//! What an outage came to, for people.

use std::fmt;
use std::time::Duration;

use super::bounds::Bounds;

#[derive(Debug)]
pub(super) struct Ledger {
    pub bounds: Bounds,
    pub down: Duration,
    pub accepted: usize,
    pub failed: u64,
    pub openings: usize,
    pub recovered: u64,
    pub pending: u64,
    pub arrived: usize,
    pub duplicates: usize,
    pub most_under_way: usize,
    /// Which request was the first to have 1, 2, ... under way.
    pub growth: Vec<usize>,
    pub most_in_a_second: usize,
    /// From when the receiver was back until it answered what it held of the first requests, ...
    pub until_answered: Duration,
    /// ... and until the last one came.
    pub drained: Duration,
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { concurrency, per_second } = self.bounds;
        writeln!(f, "ledger of an outage of {:.1} s", self.down.as_secs_f64())?;
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<24}{value}");
        line("accepted", &self.accepted)?;
        line("failed attempts", &self.failed)?;
        line("breaker openings", &self.openings)?;
        line("recovered", &format_args!("{} that were exhausted", self.recovered))?;
        line("went by itself", &format_args!("{} that were pending", self.pending))?;
        line("arrived", &self.arrived)?;
        line("duplicates", &self.duplicates)?;
        line("most under way", &format_args!("{} of {concurrency}", self.most_under_way))?;
        line("1, 2, ... under way", &format_args!("from request {:?} on", self.growth))?;
        line("most in any second", &format_args!("{} at {per_second}/s", self.most_in_a_second))?;
        let (first, all) = (self.until_answered.as_secs_f64(), self.drained.as_secs_f64());
        line("seconds to drain", &format_args!("{all:.1}, {first:.1} of them before the first answer"))
    }
}
