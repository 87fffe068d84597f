//! What a lane has in memory: a plain state machine that neither waits nor reads nor sends.
//!
//! A delivery is in one of three places: *held* here (waiting in `ready`, in flight, or answered but not yet settled),
//! or only on disk, or final. The invariant that everything else stands on: **a held delivery is not taken a second
//! time, and one that is not held will be read from disk.** So nothing is sent twice within a process, and a lane can
//! let go of what it has no room for.
//!
//! In flight is what was taken and is not settled: an answer that the journal does not have yet is as much at risk as
//! one that is still awaited. So after a crash at most `concurrency` deliveries of an endpoint are sent a second time.

use std::collections::{HashSet, VecDeque};

use hookweir_journal::Seq;
use hookweir_model::Timestamp;

use super::timer::Timer;

/// How many deliveries a lane keeps waiting in memory.
pub(super) const CAPACITY: usize = 4096;
/// A lane that is behind reads when fewer than this many wait, ...
const LOW: usize = 64;
/// ... and reads this many at once.
pub(super) const READ: usize = 256;

/// A delivery in a queue; what else it carries is the caller's.
pub(super) trait Entry {
    fn seq(&self) -> Seq;
    fn never_tried(&self) -> bool;
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    ready: VecDeque<T>,
    held: HashSet<Seq>,
    /// Taken and not yet settled.
    in_flight: usize,
    /// Never-tried deliveries may be on disk that are not held here.
    behind: bool,
    /// Retries may be due on disk that are not held here.
    retries_due: bool,
    /// Set while a read of the journal is under way.
    read: Option<Read>,
    /// The latest never-tried delivery that a read brought. An offer that comes later than its delivery was read must
    /// be told apart, since that delivery may be settled already.
    disk_seen: Option<Seq>,
    /// When the timer of this lane fires.
    timer: Timer<Timestamp>,
}

/// What happened while a read was under way, and the read can't know.
#[derive(Debug, Default)]
struct Read {
    /// Deliveries settled meanwhile: the read may still show them as pending.
    settled: HashSet<Seq>,
    missed: bool,
    retries_due: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            held: HashSet::new(),
            in_flight: 0,
            behind: false,
            retries_due: false,
            read: None,
            disk_seen: None,
            timer: Timer::default(),
        }
    }
}

impl<T: Entry> Queue<T> {
    /// Takes a delivery that was just kept in the journal, if there is room and nothing older waits on disk.
    /// Otherwise it stays on disk and the lane is behind.
    pub(super) fn offer(&mut self, entry: T) {
        let seq = entry.seq();
        let was_read = self.disk_seen.is_some_and(|seen| seq <= seen);
        if self.behind || was_read || self.ready.len() >= CAPACITY {
            self.miss();
        } else if self.held.insert(seq) {
            self.ready.push_back(entry);
        }
    }

    /// Notes that there may be something on disk to be tried at once.
    pub(super) fn miss(&mut self) {
        self.behind = true;
        if let Some(read) = &mut self.read {
            read.missed = true;
        }
    }

    /// Notes that the time of a retry has come.
    pub(super) fn retry_due(&mut self) {
        self.retries_due = true;
        if let Some(read) = &mut self.read {
            read.retries_due = true;
        }
    }

    /// Notes that anything may be on disk, tried or not.
    pub(super) fn look_again(&mut self) {
        self.miss();
        self.retry_due();
    }

    /// Whether there is a delivery to try, and another may be in flight.
    pub(super) fn may_take(&self, concurrency: usize) -> bool {
        self.in_flight < concurrency && !self.ready.is_empty()
    }

    /// The next delivery to try, if another may be in flight.
    pub(super) fn take(&mut self, concurrency: usize) -> Option<T> {
        if self.in_flight >= concurrency {
            return None;
        }
        let entry = self.ready.pop_front()?;
        self.in_flight += 1;
        Some(entry)
    }

    /// The journal has the result of a delivery that was taken: it is no longer held, and another may be taken.
    pub(super) fn settled(&mut self, seq: Seq) {
        self.in_flight -= 1;
        self.held.remove(&seq);
        if let Some(read) = &mut self.read {
            read.settled.insert(seq);
        }
    }

    /// Lets go of a delivery that was taken and is as it was: it stays on disk until it is read again.
    pub(super) fn left(&mut self, seq: Seq) {
        self.in_flight -= 1;
        self.held.remove(&seq);
        self.look_again();
    }

    /// Starts a read if one is wanted and answers what it should leave out.
    pub(super) fn begin_read(&mut self) -> Option<Vec<Seq>> {
        let wanted = (self.behind || self.retries_due) && self.ready.len() < LOW;
        if !wanted || self.read.is_some() {
            return None;
        }
        self.read = Some(Read::default());
        Some(self.held())
    }

    /// Takes what a read brought. `full` says that it stopped at its limit, so that there may be more.
    pub(super) fn end_read(&mut self, entries: Vec<T>, full: bool) {
        let Some(read) = self.read.take() else { return };
        for entry in entries {
            let seq = entry.seq();
            if entry.never_tried() {
                self.disk_seen = self.disk_seen.max(Some(seq));
            }
            if !read.settled.contains(&seq) && self.held.insert(seq) {
                self.ready.push_back(entry);
            }
        }
        self.behind = full || read.missed;
        self.retries_due = full || read.retries_due;
    }

    /// Gives up a read that failed: it is still wanted.
    pub(super) fn abandon_read(&mut self) {
        self.read = None;
    }

    /// Lets go of everything that is not in flight, for a lane that is switched off.
    pub(super) fn park(&mut self) -> Vec<T> {
        for entry in &self.ready {
            self.held.remove(&entry.seq());
        }
        // What was let go may be part of a read under way, which then brings it back: that is fine, it is not lost.
        self.look_again();
        self.ready.drain(..).collect()
    }

    /// Whether a timer must be set for `due`, because none is set or it fires later.
    pub(super) fn arm(&mut self, due: Timestamp) -> bool {
        self.timer.arm(due)
    }

    /// Whether the timer for `due` is the one that counts; it is spent then.
    pub(super) fn fire(&mut self, due: Timestamp) -> bool {
        let counts = self.timer.fire(due);
        if counts {
            self.retry_due();
        }
        counts
    }

    pub(super) fn held(&self) -> Vec<Seq> {
        self.held.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Item {
        seq: u64,
        fresh: bool,
    }

    impl Entry for Item {
        fn seq(&self) -> Seq {
            Seq(self.seq)
        }

        fn never_tried(&self) -> bool {
            self.fresh
        }
    }

    fn fresh(seq: u64) -> Item {
        Item { seq, fresh: true }
    }

    fn retry(seq: u64) -> Item {
        Item { seq, fresh: false }
    }

    fn drain(queue: &mut Queue<Item>) -> Vec<u64> {
        std::iter::from_fn(|| queue.take(usize::MAX)).map(|item| item.seq).collect()
    }

    #[test]
    fn offers_are_taken_in_order_up_to_the_concurrency() {
        let mut queue = Queue::default();
        (1..=3).for_each(|seq| queue.offer(fresh(seq)));
        assert_eq!(queue.take(2).map(|item| item.seq), Some(1));
        assert_eq!(queue.take(2).map(|item| item.seq), Some(2));
        assert_eq!(queue.take(2), None, "two are in flight");
        queue.settled(Seq(1));
        assert_eq!(queue.take(2).map(|item| item.seq), Some(3));
        assert_eq!(queue.begin_read(), None, "nothing is on disk that is not here");
    }

    #[test]
    fn what_has_no_room_is_read_later_and_nothing_is_held_twice() {
        let mut queue = Queue::default();
        let capacity = u64::try_from(CAPACITY).unwrap();
        (1..=capacity + 2).for_each(|seq| queue.offer(fresh(seq)));
        assert_eq!(queue.begin_read(), None, "enough is waiting");
        assert_eq!(drain(&mut queue).len(), CAPACITY);
        let skip = queue.begin_read().unwrap();
        assert_eq!(skip.len(), CAPACITY, "those in flight are left out");
        queue.end_read(vec![fresh(1), fresh(capacity + 1), fresh(capacity + 2)], false);
        assert_eq!(drain(&mut queue), [capacity + 1, capacity + 2], "1 is still in flight");
        assert_eq!(queue.begin_read(), None);
    }

    #[test]
    fn a_delivery_settled_while_a_read_was_under_way_is_not_taken_again() {
        let mut queue = Queue::default();
        queue.offer(fresh(1));
        assert_eq!(drain(&mut queue), [1]);
        queue.miss();
        assert_eq!(queue.begin_read(), Some(vec![Seq(1)]));
        queue.settled(Seq(1));
        queue.end_read(vec![fresh(1), fresh(2)], false);
        assert_eq!(drain(&mut queue), [2]);
    }

    #[test]
    fn an_offer_that_comes_after_its_delivery_was_read_is_not_taken_again() {
        let mut queue = Queue::default();
        queue.miss();
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(5)], false);
        assert_eq!(drain(&mut queue), [5]);
        queue.settled(Seq(5));
        queue.offer(fresh(5));
        assert_eq!(drain(&mut queue), [0; 0], "5 is settled");
        assert_eq!(queue.begin_read(), Some(vec![]), "the disk says what is really pending");
        queue.end_read(vec![], false);
        queue.offer(fresh(6));
        assert_eq!(drain(&mut queue), [6]);
    }

    #[test]
    fn an_offer_refused_while_a_read_was_under_way_asks_for_another() {
        let mut queue = Queue::default();
        queue.miss();
        queue.begin_read().unwrap();
        queue.offer(fresh(9));
        assert_eq!(queue.begin_read(), None, "one read at a time");
        queue.end_read(vec![], false);
        assert_eq!(queue.begin_read(), Some(vec![]));
    }

    #[test]
    fn fresh_offers_are_taken_while_only_retries_are_read() {
        let mut queue = Queue::default();
        assert!(queue.arm(Timestamp::from_millis(10)));
        assert!(!queue.arm(Timestamp::from_millis(20)));
        assert!(queue.arm(Timestamp::from_millis(5)));
        assert!(!queue.fire(Timestamp::from_millis(10)), "an earlier timer took its place");
        assert!(queue.fire(Timestamp::from_millis(5)));
        queue.begin_read().unwrap();
        queue.offer(fresh(7));
        queue.end_read(vec![retry(3), fresh(7)], false);
        assert_eq!(drain(&mut queue), [7, 3]);
        assert_eq!(queue.begin_read(), None);
    }

    #[test]
    fn a_full_read_is_followed_by_another() {
        let mut queue = Queue::default();
        queue.miss();
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(1)], true);
        assert_eq!(queue.begin_read(), Some(vec![Seq(1)]));
    }

    #[test]
    fn what_is_left_as_it_was_is_read_again() {
        let mut queue = Queue::default();
        queue.offer(fresh(1));
        assert_eq!(drain(&mut queue), [1]);
        queue.miss();
        assert_eq!(queue.begin_read(), Some(vec![Seq(1)]), "it is in flight");
        queue.left(Seq(1));
        queue.end_read(vec![], false);
        assert_eq!(queue.begin_read(), Some(vec![]), "that read left it out");
        queue.end_read(vec![fresh(1)], false);
        assert_eq!(drain(&mut queue), [1]);
    }

    #[test]
    fn a_parked_lane_lets_go_and_reads_again() {
        let mut queue = Queue::default();
        (1..=3).for_each(|seq| queue.offer(fresh(seq)));
        assert_eq!(queue.take(1).map(|item| item.seq), Some(1));
        assert_eq!(queue.park(), [fresh(2), fresh(3)]);
        assert_eq!(queue.begin_read(), Some(vec![Seq(1)]), "only what is in flight is held");
        queue.end_read(vec![fresh(2), fresh(3)], false);
        assert_eq!(drain(&mut queue), [2, 3]);
    }
}
