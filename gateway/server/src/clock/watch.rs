//! Hears of steps of the wall clock from the kernel, so that nothing has to look at it again and again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tracing::warn;

use super::Clock;

const NOTHING: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A thread that sleeps until the wall clock is set, or the machine has slept, and has the clock look then. It ends when this
/// is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    timer: Arc<OwnedFd>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// # Errors
    /// Where the kernel does not tell. Steps are then seen by upkeep each minute, by attempts and by
    /// `/metrics`.
    pub(crate) fn start(clock: Arc<Clock>) -> io::Result<Self> {
        let timer = Arc::new(timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?);
        let is_over = Arc::new(AtomicBool::new(false));
        // It never fires: the kernel cancels it.
        let never = Itimerspec { it_interval: NOTHING, it_value: Timespec { tv_sec: i64::MAX, tv_nsec: 0 } };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&*timer, flags, &never) {
            Ok(_) | Err(Errno::CANCELED) => {}
            Err(error) => return Err(error.into()),
        }
        let thread = thread::Builder::new().name("clock".to_owned());
        let (of_thread, is_over_of_thread) = (Arc::clone(&timer), Arc::clone(&is_over));
        thread.spawn(move || run(&clock, &of_thread, &is_over_of_thread))?;
        Ok(Self { timer, is_over })
    }
}

fn run(clock: &Clock, timer: &OwnedFd, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        match rustix::io::read(timer, &mut [0; 8]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CANCELED) => clock.look(),
            Err(error) => {
                warn!(
                    target: "hookweir::clock",
                    %error,
                    "the kernel does not tell of steps of the wall clock any more"
                );
                return;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let at_once = Itimerspec { it_interval: NOTHING, it_value: Timespec { tv_sec: 0, tv_nsec: 1 } };
        if let Err(error) = timerfd_settime(&*self.timer, TimerfdTimerFlags::empty(), &at_once) {
            warn!(target: "hookweir::clock", %error, "the thread that hears of the clock was not ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_thread_ends_with_it() {
        let clock = Arc::new(Clock::start(None));
        let watch = Watch::start(Arc::clone(&clock)).unwrap();
        assert_eq!(Arc::strong_count(&clock), 2);
        drop(watch);
        let begun = Instant::now();
        while Arc::strong_count(&clock) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it sleeps on");
            thread::yield_now();
        }
    }
}
