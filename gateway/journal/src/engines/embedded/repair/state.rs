//! Whether the file is to be rebuilt, and whether it may be now.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rebuildings in a row: more of them mean a disk that goes on damaging what is written.
const IN_A_ROW: usize = 3;
const A_ROW: Duration = Duration::from_secs(3600);

/// After one that failed, for want of room for example.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(in crate::engines::embedded) struct State(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// What was found.
    wanted: Option<String>,
    begun: Vec<Instant>,
    failed: Option<Instant>,
}

impl State {
    /// Notes that the file has a damaged page; says whether that is news.
    pub(in crate::engines::embedded) fn want(&self, why: &str) -> bool {
        let mut inner = self.lock();
        let is_new = inner.wanted.is_none();
        inner.wanted.get_or_insert_with(|| why.to_owned());
        is_new
    }

    pub(in crate::engines::embedded) fn is_wanted(&self) -> bool {
        self.lock().wanted.is_some()
    }

    /// Whether a damaged file may be rebuilt now.
    pub(in crate::engines::embedded) fn may_begin(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        inner.begun.retain(|begun| now.duration_since(*begun) < A_ROW);
        let waits = inner.failed.is_some_and(|failed| now.duration_since(failed) < AGAIN);
        !waits && inner.begun.len() < IN_A_ROW
    }

    /// What is wrong, where the file is to be rebuilt now.
    pub(in crate::engines::embedded) fn begin(&self, now: Instant) -> Option<String> {
        if !self.may_begin(now) {
            return None;
        }
        let mut inner = self.lock();
        let why = inner.wanted.clone()?;
        inner.begun.push(now);
        Some(why)
    }

    pub(in crate::engines::embedded) fn done(&self) {
        let mut inner = self.lock();
        (inner.wanted, inner.failed) = (None, None);
    }

    /// One that failed has changed nothing, and does not count.
    pub(in crate::engines::embedded) fn failed(&self, now: Instant) {
        let mut inner = self.lock();
        inner.begun.pop();
        inner.failed = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_only_so_often() {
        let (state, start) = (State::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.begin(start), None, "nothing is wrong");
        assert!(state.want("a page"));
        assert!(!state.want("another"), "known already");
        for second in 0..3 {
            assert_eq!(state.begin(at(second)).as_deref(), Some("a page"));
            state.done();
            assert!(state.want("a page"));
        }
        assert_eq!(state.begin(at(9)), None, "three within an hour");
        assert!(state.begin(at(3601)).is_some());
        state.failed(at(3601));
        assert_eq!(state.begin(at(3605)), None, "there may be room in a while");
        assert!(state.begin(at(3612)).is_some());
    }
}
