//! Moves the engine's epoch on while plugins run, so that each running guest looks at its deadline once a millisecond.
//!
//! An idle gateway has no ticks: the thread sleeps until a call begins.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How far over its deadline a guest may run before it is looked at.
const TICK: Duration = Duration::from_millis(1);

/// Ticks that go on after the last call has ended. Calls that follow each other closely then wake no thread.
const LINGER: u32 = 50;

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    asleep: bool,
    closing: bool,
}

/// While it lives, the epoch moves.
pub(crate) struct Ticking<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread. `tick` is called once a millisecond while a [`Ticking`] lives.
    pub(crate) fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let thread = std::thread::Builder::new().name("plugin-ticker".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.tick_while_needed(&tick)
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Keeps the epoch moving until the guard is dropped.
    pub(crate) fn ticking(&self) -> Ticking<'_> {
        let mut state = self.shared.lock();
        state.running += 1;
        if state.asleep {
            self.shared.wake.notify_one();
        }
        drop(state);
        Ticking(&self.shared)
    }

    /// Ends the thread and waits for it.
    pub(crate) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(target: "hookweir::plugin", "the plugin ticker panicked");
        }
    }
}

impl Drop for Ticker {
    /// Lets the thread end; only [`Ticker::close`] waits for it.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a few numbers, whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick_while_needed(&self, tick: &dyn Fn()) {
        let mut idle_ticks = 0;
        let mut state = self.lock();
        while !state.closing {
            if state.running > 0 {
                idle_ticks = 0;
            }
            if idle_ticks == LINGER {
                state.asleep = true;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
                continue;
            }
            idle_ticks += 1;
            state = self.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            drop(state);
            tick();
            state = self.lock();
        }
    }
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn ticks_while_a_call_runs_and_sleeps_when_none_does() {
        let (tick, ticks) = mpsc::channel();
        let ticker = Ticker::start(move || tick.send(()).unwrap()).unwrap();
        for _ in 0..2 {
            let running = ticker.ticking();
            for _ in 0..3 {
                ticks.recv().unwrap();
            }
            drop(running);
            let mut idle_ticks = 0;
            while !ticker.shared.lock().asleep {
                idle_ticks += ticks.try_iter().count();
                assert!(idle_ticks < 10 * LINGER as usize, "it ticks on without a call");
                std::thread::yield_now();
            }
        }
        ticker.close();
        assert!(ticks.try_iter().count() <= LINGER as usize + 1);
    }
}
