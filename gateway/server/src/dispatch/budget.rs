//! The memory that deliveries may take while they wait or are under way, over all lanes: one budget in bytes.
//!
//! Whatever is held has a [`Room`], which gives its bytes back when it is dropped. A fresh event takes room if there is some, and
//! stays on disk otherwise. What is read from disk takes room before it is read: a lane asks for it, waits for its turn
//! ([`Turns`]) where there is none, and is woken when room is given back. What attempts make (a shaped body, an answer that
//! is to be written down) is added to the room that they have: they hold what they need to come to their end, so that they never
//! wait for each other; no further attempt begins while that puts the sum over the budget.
//!
//! A tenant may hold as much as is free. So one alone has half of the budget at most, two a third each, and whoever comes next finds
//! room. A tenant that holds nothing needs only that what it asks for fits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::TenantId;

use super::lane::Lane;
use crate::budget::{self, Fit, Held, Sum, Turns};

/// What a lane asks for where nothing is known of the sizes, at most. It is given back but for what the read brings.
const PORTION: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    sum: Arc<Sum>,
    /// Of it, what attempts under way have made.
    made: AtomicUsize,
    /// Fresh events find room up to this sum: less while lanes wait for their turn, and none while one waits for all of it.
    fresh_limit: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    turns: Turns<TenantId, Arc<Lane>>,
    /// Lanes that may not begin an attempt before others have ended.
    begins: VecDeque<Arc<Lane>>,
}

/// What a tenant has of the budget.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    own: Arc<budget::Account>,
    /// Lanes of it that wait for their turn: until they have had it, no fresh event of the tenant takes room.
    waiting: AtomicUsize,
}

/// A part of the budget, given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    account: Arc<Account>,
    /// With what was made.
    held: Held,
    made: usize,
}

/// What comes next of those who wait.
#[derive(Debug)]
pub(super) enum Turn {
    /// A read that may bring so many bytes.
    Read { lane: Arc<Lane>, room: Room, bytes: usize },
    /// An attempt.
    Begin(Arc<Lane>),
}

/// Whether there is room for so many bytes, of a tenant that holds `own` of the `held`. What is more than the whole budget has it
/// alone.
fn fit(limit: usize, held: usize, own: usize, bytes: usize) -> Fit {
    let (free, bytes) = (limit.saturating_sub(held), bytes.min(limit));
    match own {
        0 if bytes <= free => Fit::Yes,
        0 => Fit::No,
        _ if own.saturating_add(bytes) <= free => Fit::Yes,
        _ => Fit::OverShare,
    }
}

/// Whether another attempt may begin: what those under way have made has its place, or is nothing.
const fn may_begin(limit: usize, held: usize, made: usize) -> bool {
    held <= limit || made == 0
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            sum: Arc::default(),
            made: AtomicUsize::new(0),
            fresh_limit: AtomicUsize::new(Self::for_fresh(limit, &Turns::<_, ()>::default())),
            line: Mutex::default(),
        })
    }

    /// The sum up to which fresh events find room: a part of the budget is always left for what has waited longer.
    fn for_fresh<T>(limit: usize, turns: &Turns<TenantId, T>) -> usize {
        if turns.is_empty() {
            limit - limit / 4
        } else if turns.is_closed() {
            0
        } else {
            limit / 2
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn held(&self) -> usize {
        self.sum.held()
    }

    /// What a lane asks for where it does not know better.
    pub(super) fn portion(&self) -> usize {
        PORTION.min(self.limit / 64).max(64 << 10)
    }

    /// Whether another attempt may begin. Where not, the lane is told when one may.
    pub(super) fn may_begin(&self) -> bool {
        may_begin(self.limit, self.held(), self.made.load(Ordering::Relaxed))
    }

    /// Has the lane told when another attempt may begin.
    pub(super) fn await_begin(&self, lane: &Arc<Lane>) {
        let mut line = self.line();
        line.begins.push_back(Arc::clone(lane));
        self.note(&line);
        drop(line);
        self.sum.wake();
    }

    /// Room for a read of the lane, if there is some and nobody waits for his turn. Otherwise the lane gets it in its turn.
    pub(super) fn ask(&self, lane: &Arc<Lane>, bytes: usize) -> Option<Room> {
        let account = lane.account();
        let mut line = self.line();
        if line.turns.is_empty() && account.fits(bytes) == Fit::Yes {
            return Some(account.take(bytes.min(self.limit)));
        }
        account.waiting.fetch_add(1, Ordering::Relaxed);
        line.turns.push(&lane.key.tenant, Arc::clone(lane), bytes);
        self.note(&line);
        drop(line);
        self.sum.wake();
        None
    }

    /// Completes when there may be something to grant: room was given back, or somebody has asked for it.
    pub(super) async fn changed(&self) {
        self.sum.changed().await;
    }

    /// What can be granted now.
    pub(super) fn next(&self) -> Option<Turn> {
        let mut line = self.line();
        if self.may_begin()
            && let Some(lane) = line.begins.pop_front()
        {
            self.note(&line);
            return Some(Turn::Begin(lane));
        }
        let granted = line.turns.next(|lane, bytes| lane.account().fits(bytes));
        self.note(&line);
        let (lane, bytes) = granted?;
        lane.account().waiting.fetch_sub(1, Ordering::Relaxed);
        let room = lane.account().take(bytes.min(self.limit));
        Some(Turn::Read { lane, room, bytes })
    }

    /// Whether a lane waits for its turn that holds nothing that could bring it on.
    pub(super) fn has_idle(&self) -> bool {
        self.line().turns.iter().any(|lane| lane.queue().is_idle())
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.sum.is_awaited()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // It is whole between any two statements, so a panic elsewhere spoils nothing.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those who take and give back room without a lock know how the line is.
    fn note(&self, line: &Line) {
        self.fresh_limit.store(Self::for_fresh(self.limit, &line.turns), Ordering::Relaxed);
        self.sum.set_awaited(!line.turns.is_empty() || !line.begins.is_empty());
    }
}

impl Account {
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let own = budget::Account::new(&budget.sum);
        Arc::new(Self { budget: Arc::clone(budget), own, waiting: AtomicUsize::new(0) })
    }

    /// Room for something fresh, if there is some.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let limit = self.budget.fresh_limit.load(Ordering::Relaxed);
        if self.budget.held().saturating_add(bytes) > limit {
            return None;
        }
        // It is taken and then judged, so that two that come together do not take the same room.
        let room = self.take(bytes);
        let free = limit.saturating_sub(self.budget.held());
        let fits = self.own.held() <= free.saturating_add(bytes)
            && self.budget.held() <= limit
            && self.waiting.load(Ordering::Relaxed) == 0;
        fits.then_some(room)
    }

    /// Takes room whether or not there is any.
    fn take(self: &Arc<Self>, bytes: usize) -> Room {
        Room { account: Arc::clone(self), held: self.own.take(bytes), made: 0 }
    }

    fn fits(&self, bytes: usize) -> Fit {
        fit(self.budget.limit, self.budget.held(), self.own.held(), bytes)
    }
}

impl Room {
    pub(super) const fn bytes(&self) -> usize {
        self.held.bytes() - self.made
    }

    /// A part of it, for one of the things that it was taken for. More than there is of it is taken from the budget.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let mut held = self.held.split(bytes.min(self.bytes()));
        held.grow(bytes - held.bytes());
        Self { account: Arc::clone(&self.account), held, made: 0 }
    }

    /// Says how many bytes were made beside what the room was taken for.
    pub(super) fn set_made(&mut self, made: usize) {
        let (before, of_all) = (self.made, &self.account.budget.made);
        if made > before {
            of_all.fetch_add(made - before, Ordering::Relaxed);
            self.held.grow(made - before);
        } else if made < before {
            of_all.fetch_sub(before - made, Ordering::Relaxed);
            self.held.give_back(before - made);
        }
        self.made = made;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.set_made(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_may_hold_what_is_free_and_a_new_one_whatever_fits() {
        for (held, own, bytes, wanted) in [
            (0, 0, 1, Fit::Yes),
            (0, 0, 100, Fit::Yes),
            (0, 0, 101, Fit::Yes),
            (1, 0, 100, Fit::No),
            (1, 0, 999, Fit::No),
            (99, 0, 1, Fit::Yes),
            (100, 0, 1, Fit::No),
            (130, 0, 1, Fit::No),
            (40, 40, 10, Fit::Yes),
            (40, 40, 21, Fit::OverShare),
            (60, 10, 30, Fit::Yes),
            (60, 10, 31, Fit::OverShare),
            (130, 10, 1, Fit::OverShare),
        ] {
            assert_eq!(
                fit(100, held, own, bytes),
                wanted,
                "{held} held, {own} of them its own: {bytes} more"
            );
        }
    }

    #[test]
    fn attempts_begin_while_what_they_make_has_its_place() {
        for (held, made, wanted) in
            [(0, 0, true), (100, 50, true), (101, 1, false), (101, 0, true), (500, 400, false)]
        {
            assert_eq!(may_begin(100, held, made), wanted, "{held} held, {made} made");
        }
    }

    fn held(budget: &Budget) -> (usize, usize) {
        (budget.held(), budget.made.load(Ordering::Relaxed))
    }

    #[test]
    fn every_part_of_a_room_is_given_back_once() {
        let budget = Budget::new(1000);
        let account = Account::new(&budget);
        let mut room = account.take(300);
        let mut part = room.split(100);
        let larger = room.split(250);
        assert_eq!((room.bytes(), part.bytes(), larger.bytes()), (0, 100, 250));
        assert_eq!(held(&budget), (350, 0), "what was split off beyond the room is taken beside it");
        part.set_made(70);
        assert_eq!(held(&budget), (420, 70));
        part.set_made(20);
        assert_eq!(held(&budget), (370, 20));
        drop(part);
        assert_eq!(held(&budget), (250, 0));
        drop((room, larger));
        assert_eq!(held(&budget), (0, 0));
        assert_eq!(account.own.held(), 0);
    }

    #[test]
    fn fresh_events_leave_a_part_for_what_has_waited() {
        let budget = Budget::new(1000);
        let (one, other) = (Account::new(&budget), Account::new(&budget));
        let mut rooms: Vec<Room> = std::iter::from_fn(|| one.try_take(25)).collect();
        assert_eq!(budget.held(), 375, "as much as is left of three quarters");
        rooms.extend(std::iter::from_fn(|| other.try_take(25)));
        assert!(budget.held() <= 750 && other.own.held() >= 175, "{rooms:?}");
        drop(rooms);
        assert_eq!(held(&budget), (0, 0), "what was judged too much was given back");
        one.waiting.store(1, Ordering::Relaxed);
        assert!(one.try_take(1).is_none() && other.try_take(1).is_some());
    }

    #[test]
    fn who_waits_leaves_fresh_events_less_and_who_was_passed_nothing() {
        let tenant = hookweir_model::TenantId::new("a").unwrap();
        let mut turns = Turns::default();
        assert_eq!(Budget::for_fresh(1000, &turns), 750);
        turns.push(&tenant, (), 999);
        assert_eq!(Budget::for_fresh(1000, &turns), 500);
        let small = hookweir_model::TenantId::new("b").unwrap();
        while !turns.is_closed() {
            turns.push(&small, (), 1);
            turns.next(|(), bytes| if bytes == 1 { Fit::Yes } else { Fit::No });
        }
        assert_eq!(Budget::for_fresh(1000, &turns), 0);
    }
}
