//! What one call may use, and how it is noticed that it uses more.
//!
//! Each check ends the guest with an error of this module's own, so that the limit which was hit is known by type and
//! never read out of a text. Memory and tables are checked as they grow; time at each tick of the epoch.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;
use wasmtime::ResourceLimiter;

use crate::contract::Limits;
use crate::engine::TABLE_CEILING;

/// A call's wall time may be this many times its processor time. A busy machine makes a good plugin wait for its
/// turn, so only a guest that gets nowhere at all should meet this.
const WALL_FACTOR: u32 = 100;

/// A guest asked for more than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Overrun {
    #[error("it wanted {wanted} bytes of memory; its limit is {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("it wanted a table of {wanted} elements; the limit is {TABLE_CEILING}")]
    Table { wanted: usize },
    #[error("it used more than its {} ms of processor time", .limit.as_millis())]
    Processor { limit: Duration },
    #[error("it had not answered after {} ms", .limit.as_millis())]
    Wall { limit: Duration },
}

/// Counts the memory of one store.
#[derive(Debug)]
pub(crate) struct Space {
    limit: usize,
    /// Bytes over all linear memories of the component.
    memory: usize,
}

impl Space {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self { limit: limits.memory, memory: 0 }
    }

    /// Bytes over all memories now.
    pub(crate) const fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Space {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_sub(current).saturating_add(desired);
        if wanted > self.limit {
            // An answer of -1 would leave the guest to go on in a state that its author never tried.
            return Err(Overrun::Memory { wanted, limit: self.limit }.into());
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_CEILING {
            return Err(Overrun::Table { wanted: desired }.into());
        }
        Ok(true)
    }
}

/// Counts the time of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Reading,
    limit: Duration,
}

/// What the clocks say at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Processor time of the calling thread, since the thread began.
    processor: Duration,
    wall: Instant,
}

impl Clock {
    /// A clock that nobody has started: no call is under way.
    pub(crate) fn stopped(limits: &Limits) -> Self {
        let started = Reading { processor: Duration::ZERO, wall: Instant::now() };
        Self { started, limit: limits.deadline }
    }

    /// Starts the count. It is only meaningful on the thread that will run the guest.
    pub(crate) fn start(limits: &Limits) -> Self {
        Self { started: Reading::now(), limit: limits.deadline }
    }

    /// Processor time since the start. It is only meaningful on the thread that started the count.
    pub(crate) fn processor(&self) -> Duration {
        processor_time().saturating_sub(self.started.processor)
    }

    /// Says whether the call may go on.
    pub(crate) fn check(&self) -> Result<(), Overrun> {
        let now = Reading::now();
        judge(
            now.processor.saturating_sub(self.started.processor),
            now.wall.duration_since(self.started.wall),
            self.limit,
        )
    }
}

impl Reading {
    fn now() -> Self {
        Self { processor: processor_time(), wall: Instant::now() }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

fn judge(processor: Duration, wall: Duration, limit: Duration) -> Result<(), Overrun> {
    let wall_limit = limit.saturating_mul(WALL_FACTOR);
    if processor > limit {
        Err(Overrun::Processor { limit })
    } else if wall > wall_limit {
        Err(Overrun::Wall { limit: wall_limit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_counts_and_waiting_does_not() {
        let ms = Duration::from_millis;
        for (processor, wall, verdict) in [
            (0, 0, Ok(())),
            (10, 10, Ok(())),
            (11, 11, Err(Overrun::Processor { limit: ms(10) })),
            (1, 1000, Ok(())),
            (1, 1001, Err(Overrun::Wall { limit: ms(1000) })),
            (11, 1001, Err(Overrun::Processor { limit: ms(10) })),
        ] {
            assert_eq!(judge(ms(processor), ms(wall), ms(10)), verdict, "{processor} {wall}");
        }
    }

    #[test]
    fn memory_is_summed_over_all_memories() {
        const PAGE: usize = 64 << 10;
        let mut space = Space { limit: 4 * PAGE, memory: 0 };
        assert!(space.memory_growing(0, PAGE, None).unwrap());
        assert!(space.memory_growing(0, PAGE, None).unwrap());
        assert!(space.memory_growing(PAGE, 3 * PAGE, None).unwrap());
        let error = space.memory_growing(PAGE, 2 * PAGE, None).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Overrun::Memory { wanted: 5 * PAGE, limit: 4 * PAGE }));
    }

    #[test]
    fn tables_stop_at_the_ceiling() {
        let mut space = Space::new(&Limits::default());
        assert!(space.table_growing(0, TABLE_CEILING, None).unwrap());
        let error = space.table_growing(0, TABLE_CEILING + 1, None).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Overrun::Table { wanted: TABLE_CEILING + 1 }));
    }
}
