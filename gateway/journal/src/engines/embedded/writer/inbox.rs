//! Where calls wait for the writer: bounded in number and in bytes, taken out a group at a time.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::op::Op;
use crate::Error;
use crate::engines::embedded::door::closed;

/// A group ends at this many events or settlements...
const GROUP_WEIGHT: usize = 1024;
/// ...or at this many bytes: what one commit takes then stays in the milliseconds.
const GROUP_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(in crate::engines::embedded) struct Inbox {
    max_calls: usize,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    ops: VecDeque<Op>,
    bytes: usize,
    /// Whether the writer sleeps: only then is it woken, since waking is a system call.
    asleep: bool,
    closed: bool,
    /// There is something to do for the writer that is no call.
    woken: bool,
}

/// How long to wait for the first call of a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    No,
    For(Duration),
    Forever,
}

impl Inbox {
    pub(in crate::engines::embedded) fn new(max_calls: usize, max_bytes: usize) -> Self {
        Self { max_calls, max_bytes, waiting: Mutex::default(), ready: Condvar::new() }
    }

    /// Hands a call to the writer. Only appends are refused when too much waits: the number of settlements is
    /// bounded by what is in flight, and losing one means a second delivery.
    pub(in crate::engines::embedded) fn push(&self, op: Op) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        let size = op.size();
        let is_over =
            waiting.ops.len() >= self.max_calls || waiting.bytes.saturating_add(size) > self.max_bytes;
        if is_over && op.may_be_refused() && !waiting.ops.is_empty() {
            return Err(Error::Busy);
        }
        waiting.bytes += size;
        waiting.ops.push_back(op);
        if mem::take(&mut waiting.asleep) {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Ends the writer's wait for a call.
    pub(in crate::engines::embedded) fn wake(&self) {
        let mut waiting = self.lock();
        waiting.woken = true;
        if mem::take(&mut waiting.asleep) {
            self.ready.notify_one();
        }
    }

    /// No call comes in after this; those that wait are still served.
    pub(in crate::engines::embedded) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    pub(in crate::engines::embedded) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Closes and forgets what waits, which tells the callers that nobody will answer.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.ops.clear();
    }

    /// Moves the next group into `group` and says whether more can ever come.
    pub(super) fn take(&self, wait: Wait, group: &mut Vec<Op>) -> bool {
        let mut waiting = self.lock();
        while waiting.ops.is_empty() && !waiting.closed && !waiting.woken {
            waiting.asleep = true;
            match wait {
                Wait::No => break,
                Wait::Forever => {
                    waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                Wait::For(span) => {
                    let woken =
                        self.ready.wait_timeout(waiting, span).unwrap_or_else(PoisonError::into_inner);
                    waiting = woken.0;
                    if woken.1.timed_out() {
                        break;
                    }
                }
            }
        }
        (waiting.asleep, waiting.woken) = (false, false);
        let (mut weight, mut bytes) = (0, 0);
        while weight < GROUP_WEIGHT && bytes < GROUP_BYTES {
            let Some(op) = waiting.ops.pop_front() else { break };
            weight += op.weight();
            bytes += op.size();
            group.push(op);
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        !(waiting.closed && waiting.ops.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_without_a_call_when_it_is_told_to() {
        let inbox = Inbox::new(1, 1);
        let mut group = Vec::new();
        inbox.wake();
        assert!(inbox.take(Wait::Forever, &mut group));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| inbox.take(Wait::Forever, &mut Vec::new()));
            inbox.wake();
            assert!(waits.join().unwrap());
        });
        assert!(group.is_empty());
    }
}
