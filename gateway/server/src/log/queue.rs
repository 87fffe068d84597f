//! The lines that wait to be written. They are bounded in bytes, and adding one never waits for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a line takes beside its bytes, about.
const OVERHEAD: usize = 64;

/// Lines between those who log and the one who writes.
#[derive(Debug)]
pub(super) struct Queue {
    /// Bytes that may wait. A longer line is taken where nothing else waits.
    most: usize,
    state: Mutex<State>,
    added: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Lines that found no room since the writer asked last.
    dropped: u64,
    /// The writer has a line that is not written yet.
    is_writing: bool,
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub line: Box<[u8]>,
    /// Lines that were dropped since the last one.
    pub dropped: u64,
}

impl Queue {
    pub(super) const fn new(most: usize) -> Self {
        let state = State { lines: VecDeque::new(), bytes: 0, dropped: 0, is_writing: false };
        Self { most, state: Mutex::new(state), added: Condvar::new(), written: Condvar::new() }
    }

    /// Adds a line, or drops it where too much waits; answers whether it was added.
    pub(super) fn push(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        let cost = line.len() + OVERHEAD;
        if state.bytes > 0 && state.bytes + cost > self.most {
            state.dropped += 1;
            return false;
        }
        state.bytes += cost;
        state.lines.push_back(line.into());
        self.added.notify_one();
        true
    }

    /// Waits for a line. The one before it is written, or given up.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
        state.is_writing = false;
        self.written.notify_all();
        let mut state = self
            .added
            .wait_while(state, |state| state.lines.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.pop_front().unwrap_or_default();
        state.bytes -= line.len() + OVERHEAD;
        state.is_writing = true;
        Next { line, dropped: std::mem::take(&mut state.dropped) }
    }

    /// Whether no line waits behind the one that is written now.
    pub(super) fn is_last(&self) -> bool {
        self.lock().lines.is_empty()
    }

    /// Waits until all lines are written, for so long at most; answers whether they are.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self.written.wait_timeout_while(self.lock(), patience, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_and_the_order_is_kept() {
        let queue = Queue::new(2 * (4 + OVERHEAD));
        let added: Vec<bool> = ["aaaa", "bbbb", "cccc", "d"].map(|line| queue.push(line.as_bytes())).into();
        assert_eq!(added, [true, true, false, false]);
        assert_eq!(queue.next(), Next { line: b"aaaa"[..].into(), dropped: 2 });
        assert!(queue.push(b"eeee"), "there is room again");
        assert_eq!(queue.next(), Next { line: b"bbbb"[..].into(), dropped: 0 });
        assert!(!queue.is_last());
        assert_eq!(queue.next(), Next { line: b"eeee"[..].into(), dropped: 0 });
        assert!(queue.is_last());
    }

    #[test]
    fn a_line_that_is_longer_than_all_is_taken_where_it_is_alone() {
        let queue = Queue::new(8);
        assert!(queue.push(&[b'x'; 100]));
        assert!(!queue.push(b""));
        assert_eq!(queue.next().line.len(), 100);
        assert!(queue.push(b""));
    }

    #[test]
    fn nobody_waits_longer_than_he_wants_for_a_writer_that_stands_still() {
        let queue = Queue::new(1024);
        assert!(queue.drain(Duration::ZERO), "nothing was written yet");
        queue.push(b"a");
        assert!(!queue.drain(Duration::from_millis(1)), "it waits");
        queue.next();
        assert!(!queue.drain(Duration::from_millis(1)), "it is being written");
        std::thread::scope(|scope| {
            scope.spawn(|| queue.next());
            assert!(queue.drain(Duration::from_secs(60)), "it was written");
            // The writer's wait has an end only with a line.
            queue.push(b"b");
        });
    }
}
