//! The gateway's own clock, which only goes forward, beside the machine's wall clock, which jumps: boards without a
//! battery start in 1970, and a machine whose clock is wrong by days is set right while it works.
//!
//! Three times are told apart.
//!
//! - [`Clock::now`]: the gateway's own time. Whatever is *due* or *visible* is so by it. It begins as the wall clock and goes
//!   on by the monotonic one, over restarts too ([`resume`](resume::resume)), so that a wait is a span of time, whatever
//!   the wall clock does meanwhile.
//! - [`Clock::running`]: how long gateways have run on this journal. What is removed, or given up, for its *age* is judged
//!   by it: a stop is no age.
//! - The wall clock (`Timestamp::now`): for people and receivers, in what was received when, in signatures, in logs.
//!   [`Clock::wall`] shows the gateway's own time by it.
//!
//! A step of the wall clock changes nothing but what is shown. It is logged and counted: what the machine said before it was
//! wrong.

mod resume;
mod step;
mod watch;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hookweir_journal::{KeptClock, Oldest};
use hookweir_model::{Delivery, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch::{Receiver, Sender};
use tracing::warn;

use self::resume::{Readings, Resumed, resume};
use self::step::{Look, step};
pub(crate) use self::watch::Watch;

/// Which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    /// The gateway's own time, and the running time, when this process began.
    at_begin: Resumed,
    boot: String,
    /// How long the machine had slept when this process began, and since, in milliseconds: the monotonic clock stands still
    /// meanwhile, and so do timers.
    slept_before: u64,
    slept: AtomicU64,
    /// The wall clock less the gateway's own time when it was looked at last, in milliseconds.
    ahead: AtomicI64,
    forward: AtomicU64,
    back: AtomicU64,
    woken: Sender<()>,
}

/// Steps of the wall clock that were seen since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub forward: u64,
    pub back: u64,
}

impl Clock {
    /// Goes on with the clock as it was kept last.
    pub(crate) fn start(kept: Option<&KeptClock>) -> Self {
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let wall = Timestamp::now();
        let at_begin = resume(kept, &Readings { wall, uptime: uptime(), boot: &boot });
        Self {
            begun: Instant::now(),
            at_begin,
            boot,
            slept_before: asleep(),
            slept: AtomicU64::new(0),
            ahead: AtomicI64::new(wall.as_millis().saturating_sub(at_begin.time.as_millis())),
            forward: AtomicU64::new(0),
            back: AtomicU64::new(0),
            woken: Sender::new(()),
        }
    }

    /// The gateway's own time.
    pub(crate) fn now(&self) -> Timestamp {
        let slept = Duration::from_millis(self.slept.load(Relaxed));
        self.at_begin.time.after(self.begun.elapsed() + slept)
    }

    /// How long gateways have run on this journal, all runs together.
    pub(crate) fn running(&self) -> Duration {
        self.at_begin.running + self.begun.elapsed()
    }

    /// When this process began, by the wall clock as it is now.
    pub(crate) fn began(&self) -> Timestamp {
        self.wall(self.at_begin.time)
    }

    /// A moment of the gateway's own time as the wall clock shows it.
    pub(crate) fn wall(&self, time: Timestamp) -> Timestamp {
        // Who is shown a time compares it with the clock as it is now, whether or not a step was seen.
        self.look();
        Timestamp::from_millis(time.as_millis().saturating_add(self.ahead.load(Relaxed)))
    }

    /// When something came, by the wall clock as it is now: as it was said then, unless that can't be.
    pub(crate) fn came(&self, oldest: Oldest) -> Timestamp {
        let [after, before] = [oldest.after, oldest.before].map(|time| time.map(|time| self.wall(time)));
        step::came(oldest.received, after, before, self.wall(self.now()))
    }

    /// A delivery as it is shown.
    pub(crate) fn shown(&self, delivery: Delivery) -> Delivery {
        let received = delivery.received;
        // What is due at once says when it was received.
        let wall = |due| if due == received { due } else { self.wall(due) };
        Delivery { due: delivery.due.map(wall), ..delivery }
    }

    /// Looks whether the wall clock was set, or the machine has slept.
    pub(crate) fn look(&self) {
        let slept = asleep().saturating_sub(self.slept_before);
        if slept > self.slept.load(Relaxed).saturating_add(step::LEAST.unsigned_abs()) {
            self.slept.store(slept, Relaxed);
            self.woken.send_replace(());
        }
        let ahead = self.ahead.load(Relaxed);
        let look = Look { before: self.now(), wall: Timestamp::now(), after: self.now() };
        let Some(now_ahead) = step(look, ahead) else { return };
        if self.ahead.compare_exchange(ahead, now_ahead, Relaxed, Relaxed).is_err() {
            // Another has seen it.
            return;
        }
        let by = now_ahead.saturating_sub(ahead);
        let counter = if by > 0 { &self.forward } else { &self.back };
        counter.fetch_add(1, Relaxed);
        let size = humantime::format_duration(Duration::from_secs((by.unsigned_abs() + 500) / 1000));
        let direction = if by > 0 { "forward" } else { "back" };
        warn!(
            target: "hookweir::clock",
            %size,
            direction,
            now = %look.wall,
            "the wall clock was set; waits and ages go on by the gateway's own time"
        );
    }

    pub(crate) fn steps(&self) -> Steps {
        Steps { forward: self.forward.load(Relaxed), back: self.back.load(Relaxed) }
    }

    /// Told when the machine has slept: timers have stood still meanwhile.
    pub(crate) fn woken(&self) -> Receiver<()> {
        self.woken.subscribe()
    }

    /// The clock as it is, to be kept.
    pub(crate) fn to_keep(&self) -> KeptClock {
        KeptClock {
            running: self.running(),
            time: self.now(),
            wall: Timestamp::now(),
            uptime: uptime(),
            boot: self.boot.clone(),
        }
    }
}

/// How long the machine is up, its sleep included.
fn uptime() -> Duration {
    read(ClockId::Boottime)
}

/// How long the machine has slept since it is up, in milliseconds.
fn asleep() -> u64 {
    let awake = read(ClockId::Monotonic);
    u64::try_from(read(ClockId::Boottime).saturating_sub(awake).as_millis()).unwrap_or(u64::MAX)
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
