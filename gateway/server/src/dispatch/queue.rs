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
/// ... and they take less than this, ...
const LOW_BYTES: usize = 4 << 20;
/// ... and reads this many at once, as far as it gets room for them.
pub(super) const READ: usize = 256;

/// A delivery in a queue; what else it carries is the caller's.
pub(super) trait Entry {
    fn seq(&self) -> Seq;
    fn never_tried(&self) -> bool;
    /// What it takes in memory.
    fn bytes(&self) -> usize;
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    ready: VecDeque<T>,
    /// What `ready` takes in memory.
    ready_bytes: usize,
    held: HashSet<Seq>,
    /// Taken and not yet settled.
    in_flight: usize,
    /// Never-tried deliveries may be on disk that are not held here.
    behind: bool,
    /// Retries may be due on disk that are not held here.
    retries_due: bool,
    /// Whether room was asked for, for a read that has not begun.
    asked: bool,
    /// What the next read has to have room for at least, where that is known.
    needs: Option<usize>,
    /// Whether it waits until another attempt may begin in the whole gateway.
    gated: bool,
    /// Set while a read of the journal is under way.
    read: Option<Read>,
    /// The latest never-tried delivery that a read brought. An offer that comes later than its delivery was read must
    /// be told apart, since that delivery may be settled already.
    disk_seen: Option<Seq>,
    /// When the timer of this lane fires, by the gateway's own time.
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
            ready_bytes: 0,
            held: HashSet::new(),
            in_flight: 0,
            behind: false,
            retries_due: false,
            asked: false,
            needs: None,
            gated: false,
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
            self.push(entry);
        }
    }

    fn push(&mut self, entry: T) {
        self.ready_bytes += entry.bytes();
        self.ready.push_back(entry);
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
        self.ready_bytes -= entry.bytes();
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
        self.dropped(seq);
        self.look_again();
    }

    /// The same, but it is read again only when the lane is told to look again.
    pub(super) fn dropped(&mut self, seq: Seq) {
        self.in_flight -= 1;
        self.held.remove(&seq);
    }

    fn wants_read(&self) -> bool {
        let is_low = self.ready.len() < LOW && (self.ready.is_empty() || self.ready_bytes < LOW_BYTES);
        (self.behind || self.retries_due) && is_low && self.read.is_none()
    }

    /// Whether room for a read must be asked for, and for how many bytes: `portion` where nothing is known.
    pub(super) fn ask(&mut self, portion: usize) -> Option<usize> {
        if self.asked || !self.wants_read() {
            return None;
        }
        self.asked = true;
        Some(self.needs.unwrap_or(portion))
    }

    /// Asks no more for room, for now.
    pub(super) fn withdraw(&mut self) -> Option<Vec<Seq>> {
        self.asked = false;
        None
    }

    /// Starts a read if one is still wanted, now that there is room for it, and answers what it should leave out.
    pub(super) fn begin_read(&mut self) -> Option<Vec<Seq>> {
        self.asked = false;
        if !self.wants_read() {
            return None;
        }
        self.read = Some(Read::default());
        Some(self.held())
    }

    /// Takes what a read brought. `full` says that it stopped at its limit, so that there may be more, and `needs` what the next
    /// has to have room for.
    pub(super) fn end_read(&mut self, entries: Vec<T>, full: bool, needs: Option<usize>) {
        let Some(read) = self.read.take() else { return };
        self.needs = needs;
        for entry in entries {
            let seq = entry.seq();
            if entry.never_tried() {
                self.disk_seen = self.disk_seen.max(Some(seq));
            }
            if !read.settled.contains(&seq) && self.held.insert(seq) {
                self.push(entry);
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
        self.ready_bytes = 0;
        self.ready.drain(..).collect()
    }

    /// Lets go of what only waits, so that others find room: it is read again in its turn. Where nothing is in flight that would
    /// bring the lane on, the first stays.
    pub(super) fn shed(&mut self) -> Vec<T> {
        let stays = usize::from(self.in_flight == 0);
        if self.ready.len() <= stays {
            return Vec::new();
        }
        let first = if stays > 0 { self.ready.pop_front() } else { None };
        let shed = self.park();
        if let Some(first) = first {
            self.push(first);
        }
        shed
    }

    /// Whether it holds nothing and reads nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.read.is_none()
    }

    /// Notes that it waits until an attempt may begin; says whether it did not do so before.
    pub(super) fn gate(&mut self) -> bool {
        !std::mem::replace(&mut self.gated, true)
    }

    /// It waits no more.
    pub(super) fn ungate(&mut self) {
        self.gated = false;
    }

    /// Whether a timer must be set for `due`, because none is set or it fires later.
    pub(super) fn arm(&mut self, due: Timestamp) -> bool {
        self.timer.arm(due)
    }

    /// When the timer that counts fires.
    pub(super) fn armed(&self) -> Option<Timestamp> {
        self.timer.armed()
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
        bytes: usize,
    }

    impl Entry for Item {
        fn seq(&self) -> Seq {
            Seq(self.seq)
        }

        fn never_tried(&self) -> bool {
            self.fresh
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    fn fresh(seq: u64) -> Item {
        Item { seq, fresh: true, bytes: 1 }
    }

    fn retry(seq: u64) -> Item {
        Item { seq, fresh: false, bytes: 1 }
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
        queue.end_read(vec![fresh(1), fresh(capacity + 1), fresh(capacity + 2)], false, None);
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
        queue.end_read(vec![fresh(1), fresh(2)], false, None);
        assert_eq!(drain(&mut queue), [2]);
    }

    #[test]
    fn an_offer_that_comes_after_its_delivery_was_read_is_not_taken_again() {
        let mut queue = Queue::default();
        queue.miss();
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(5)], false, None);
        assert_eq!(drain(&mut queue), [5]);
        queue.settled(Seq(5));
        queue.offer(fresh(5));
        assert_eq!(drain(&mut queue), [0; 0], "5 is settled");
        assert_eq!(queue.begin_read(), Some(vec![]), "the disk says what is really pending");
        queue.end_read(vec![], false, None);
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
        queue.end_read(vec![], false, None);
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
        queue.end_read(vec![retry(3), fresh(7)], false, None);
        assert_eq!(drain(&mut queue), [7, 3]);
        assert_eq!(queue.begin_read(), None);
    }

    #[test]
    fn a_full_read_is_followed_by_another() {
        let mut queue = Queue::default();
        queue.miss();
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(1)], true, None);
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
        queue.end_read(vec![], false, None);
        assert_eq!(queue.begin_read(), Some(vec![]), "that read left it out");
        queue.end_read(vec![fresh(1)], false, None);
        assert_eq!(drain(&mut queue), [1]);
    }

    #[test]
    fn a_parked_lane_lets_go_and_reads_again() {
        let mut queue = Queue::default();
        (1..=3).for_each(|seq| queue.offer(fresh(seq)));
        assert_eq!(queue.take(1).map(|item| item.seq), Some(1));
        assert_eq!(queue.park(), [fresh(2), fresh(3)]);
        assert_eq!(queue.begin_read(), Some(vec![Seq(1)]), "only what is in flight is held");
        queue.end_read(vec![fresh(2), fresh(3)], false, None);
        assert_eq!(drain(&mut queue), [2, 3]);
    }

    #[test]
    fn room_is_asked_for_once_a_read_and_for_what_the_last_read_said() {
        let mut queue: Queue<Item> = Queue::default();
        assert_eq!(queue.ask(100), None, "nothing is wanted");
        queue.miss();
        assert_eq!(queue.ask(100), Some(100));
        assert_eq!(queue.ask(100), None, "it stands in line already");
        queue.withdraw();
        assert_eq!(queue.ask(100), Some(100));
        queue.begin_read().unwrap();
        assert_eq!(queue.ask(100), None, "a read is under way");
        queue.end_read(vec![], true, Some(700));
        assert_eq!(queue.ask(100), Some(700), "the next delivery is that large");
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(1)], true, None);
        assert_eq!(queue.ask(100), Some(100));
        assert_eq!(drain(&mut queue), [1]);
    }

    #[test]
    fn a_lane_reads_ahead_by_number_and_by_bytes() {
        let large = |seq| Item { bytes: LOW_BYTES / 2, ..fresh(seq) };
        let mut queue = Queue::default();
        queue.offer(Item { bytes: 2 * LOW_BYTES, ..fresh(1) });
        queue.miss();
        assert_eq!(queue.ask(1), None, "what waits takes enough");
        assert_eq!(queue.take(1).map(|item| item.seq), Some(1));
        assert_eq!(queue.ask(1), Some(1));
        queue.begin_read().unwrap();
        queue.end_read(vec![large(2), large(3), large(4)], true, None);
        assert_eq!(queue.ask(1), None);
        assert_eq!(queue.take(9).map(|item| item.seq), Some(2));
        assert_eq!(queue.ask(1), None, "two of them take as much as may wait");
        assert_eq!(queue.take(9).map(|item| item.seq), Some(3));
        assert_eq!(queue.ask(1), Some(1));
    }

    #[test]
    fn a_lane_lets_go_of_what_waits_and_keeps_what_brings_it_on() {
        let mut queue = Queue::default();
        assert!(queue.is_idle());
        (1..=3).for_each(|seq| queue.offer(fresh(seq)));
        assert_eq!(queue.shed(), [fresh(2), fresh(3)]);
        assert_eq!(queue.shed(), []);
        assert_eq!(queue.take(9), Some(fresh(1)));
        queue.begin_read().unwrap();
        queue.end_read(vec![fresh(2), fresh(3)], false, None);
        assert_eq!(queue.shed(), [fresh(2), fresh(3)], "what is in flight brings it on");
        assert!(!queue.is_idle());
        queue.settled(Seq(1));
        assert!(queue.is_idle());
        assert_eq!(queue.begin_read(), Some(vec![]), "what was let go is read again");
        queue.end_read(vec![fresh(2), fresh(3)], false, None);
        assert_eq!(drain(&mut queue), [2, 3]);
    }

    #[test]
    fn what_was_dropped_is_read_again_when_the_lane_is_told_to() {
        let mut queue = Queue::default();
        queue.offer(fresh(1));
        assert_eq!(queue.take(1), Some(fresh(1)));
        queue.dropped(Seq(1));
        assert_eq!(queue.begin_read(), None, "not at once: it may fail in the same way");
        queue.look_again();
        assert_eq!(queue.begin_read(), Some(vec![]));
        queue.end_read(vec![fresh(1)], false, None);
        assert_eq!(queue.take(1), Some(fresh(1)), "its place is free");
    }

    #[test]
    fn a_lane_that_waits_to_begin_is_noted_once() {
        let mut queue: Queue<Item> = Queue::default();
        assert!(queue.gate());
        assert!(!queue.gate());
        queue.ungate();
        assert!(queue.gate());
    }
}
