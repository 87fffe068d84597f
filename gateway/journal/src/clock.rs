//! The clock of the gateway that a journal belongs to, and age as it tells it.
//!
//! A wall clock jumps: boards without a battery start in 1970, a machine is set right by days. So the caller has a time
//! of its own, which only goes forward ([`KeptClock::time`]): deliveries are due and messages visible by it. And it
//! counts how long it has run ([`KeptClock::running`]): what is removed, or given up, for its age is judged by that.

use std::time::Duration;

use hookweir_model::Timestamp;

/// The clock at one moment, as it is kept for the next process. See [`Journal::keep_clock`](crate::Journal::keep_clock).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptClock {
    /// How long gateways have run on this journal, all runs together.
    pub running: Duration,
    /// The caller's own time, by which deliveries are due and messages visible.
    pub time: Timestamp,
    /// What the machine's wall clock said.
    pub wall: Timestamp,
    /// How long the machine was up, and which start of the machine that counts from.
    pub uptime: Duration,
    pub boot: String,
}

/// Which events and messages are old enough to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Those that were there when the clock was kept at this running time, or sooner.
    At(Duration),
    /// All that are there now.
    All,
}

/// The oldest of some events or messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oldest {
    /// When it came, by the wall clock of then.
    pub received: Timestamp,
    /// The caller's own time when the clock was kept last before it came; `None` where it was not kept before.
    pub after: Option<Timestamp>,
    /// The caller's own time when the clock was kept first with it there; `None` where it was not kept since.
    pub before: Option<Timestamp>,
}
