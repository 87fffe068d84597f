//! A budget of bytes, in sum and by tenant.
//!
//! One tenant may hold as much as stays free beside it. So a single one gets half, four get a fifth each, and there is
//! always as much left for a tenant that comes anew as each of the others has.
//!
//! Most are refused where there is no room. Who would rather wait stands in line ([`Share::wait`]) and is woken when bytes are
//! given back: those who wait grant them to each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::TenantId;
use tokio::sync::oneshot;

use crate::budget::{Account, Fit, Held, Sum, Turns};

/// Who holds bytes: a tenant, or `None` for operators and for callers that are not known yet.
type Owner = Option<TenantId>;

#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    sum: Arc<Sum>,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Of those who hold something.
    accounts: HashMap<Owner, Arc<Account>>,
    turns: Turns<Owner, Waiter>,
}

/// One who waits for room.
#[derive(Debug)]
struct Waiter {
    owner: Owner,
    /// See [`Share`].
    largest: usize,
    tell: oneshot::Sender<Held>,
}

impl Line {
    /// What an owner holds.
    fn own(&self, owner: &Owner) -> usize {
        self.accounts.get(owner).map_or(0, |account| account.held())
    }

    fn take(&mut self, sum: &Arc<Sum>, owner: &Owner, bytes: usize) -> Held {
        self.accounts.entry(owner.clone()).or_insert_with(|| Account::new(sum)).take(bytes)
    }

    /// Gives back what is beyond these bytes.
    fn give_back(&mut self, owner: &Owner, held: &mut Held, beyond: usize) {
        held.give_back(held.bytes().saturating_sub(beyond));
        if held.of_owner() == 0 {
            self.accounts.remove(owner);
        }
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The tenant holds as much as it may.
    Tenant,
    /// All of them together do.
    All,
}

/// Bytes of a budget that are taken, given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    owner: Owner,
    /// The largest single thing that there is to hold: four of them always fit the budget.
    largest: usize,
    /// `None` where it is empty.
    held: Option<Held>,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, sum: Arc::default(), line: Mutex::default() })
    }

    /// An empty share. `largest` is the size of the largest single thing that may be held; where four of these are more
    /// than the budget, they are the budget.
    pub(crate) fn share(self: &Arc<Self>, owner: Owner, largest: usize) -> Share {
        Share { budget: Arc::clone(self), owner, largest, held: None }
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> usize {
        self.sum.held()
    }

    /// What there is in all for one whose largest thing is so large.
    fn total(&self, largest: usize) -> usize {
        self.total.max(largest.saturating_mul(4))
    }

    /// Grants what can be granted to those who wait, in their turn.
    fn grant(&self) {
        loop {
            let mut line = self.lock();
            let Line { accounts, turns } = &mut *line;
            let next = turns.next(|waiter, bytes| {
                let own = accounts.get(&waiter.owner).map_or(0, |account| account.held());
                fit(self.total(waiter.largest), self.sum.held(), own, bytes)
            });
            self.sum.set_awaited(!line.turns.is_empty());
            let Some((Waiter { owner, tell, .. }, bytes)) = next else { return };
            let held = line.take(&self.sum, &owner, bytes);
            if let Err(mut held) = tell.send(held) {
                // It no longer waits.
                line.give_back(&owner, &mut held, 0);
            }
        }
    }

    /// Forgets who no longer waits.
    fn forget(&self) {
        let mut line = self.lock();
        line.turns.retain(|waiter| !waiter.tell.is_closed());
        self.sum.set_awaited(!line.turns.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an owner with `own` of the `used` may take yet; the first thing of an owner may take all that is free.
fn room(total: usize, used: usize, own: usize) -> usize {
    let free = total.saturating_sub(used);
    if own == 0 { free } else { free.saturating_sub(own) / 2 }
}

/// Whether there is room for so many bytes, of an owner that holds `own` of the `used`.
fn fit(total: usize, used: usize, own: usize, bytes: usize) -> Fit {
    if bytes <= room(total, used, own) {
        Fit::Yes
    } else if bytes <= total.saturating_sub(used) {
        Fit::OverShare
    } else {
        Fit::No
    }
}

/// One who stands in line, which is forgotten when he leaves it.
struct Place<'b> {
    budget: &'b Budget,
    granted: oneshot::Receiver<Held>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.granted.close();
        self.budget.forget();
    }
}

impl Share {
    /// Waits for its turn and for so many bytes, and takes them. The share must be empty. How long to wait is for the caller to
    /// say, who may drop this at any time.
    pub(crate) async fn wait(&mut self, bytes: usize) {
        let budget = Arc::clone(&self.budget);
        let bytes = bytes.min(budget.total(self.largest));
        let (tell, granted) = oneshot::channel();
        let mut place = Place { budget: &budget, granted };
        let waiter = Waiter { owner: self.owner.clone(), largest: self.largest, tell };
        {
            let mut line = budget.lock();
            line.turns.push(&self.owner, waiter, bytes);
            budget.sum.set_awaited(true);
        }
        budget.sum.wake();
        loop {
            tokio::select! {
                biased;
                held = &mut place.granted => {
                    self.held = held.ok();
                    return;
                }
                () = budget.sum.changed() => budget.grant(),
            }
        }
    }

    /// Takes more bytes, or none.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Over> {
        if self.take(bytes, bytes)? == bytes { Ok(()) } else { Err(Over::Tenant) }
    }

    /// Takes as many bytes as there are, from `least` to `most`, and answers how many.
    pub(crate) fn take(&mut self, least: usize, most: usize) -> Result<usize, Over> {
        self.take_of(least, |room| room.min(most))
    }

    /// The same, but no more than an eighth of what there is where that is at least `least`, so that many who don't know yet
    /// how much they need find room side by side. Where others of its owner wait, what is given back is for them, and an
    /// empty share finds none.
    pub(crate) fn take_part(&mut self, least: usize, most: usize) -> Result<usize, Over> {
        if self.held.is_none() && self.budget.lock().turns.has(&self.owner) {
            return Err(Over::Tenant);
        }
        self.take_of(least, |room| (room / 8).max(least).min(most))
    }

    /// Takes what `choose` takes of the bytes that there are, which are at least `least`.
    fn take_of(&mut self, least: usize, choose: impl Fn(usize) -> usize) -> Result<usize, Over> {
        let budget = &self.budget;
        let total = budget.total(self.largest);
        let mut line = budget.lock();
        let (sum, own) = (budget.sum.held(), line.own(&self.owner));
        // What grows alone may grow to all that is free, as if it had asked for all of it at once.
        let others = own.saturating_sub(self.bytes());
        let room = if others == 0 { total.saturating_sub(sum) } else { room(total, sum, own) };
        if room < least {
            return Err(if total.saturating_sub(sum) < least { Over::All } else { Over::Tenant });
        }
        let bytes = choose(room);
        match &mut self.held {
            _ if bytes == 0 => {}
            Some(held) => held.grow(bytes),
            None => self.held = Some(line.take(&budget.sum, &self.owner, bytes)),
        }
        Ok(bytes)
    }

    /// Gives back what is beyond these bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(held) = &mut self.held {
            self.budget.lock().give_back(&self.owner, held, bytes);
        }
        self.held.take_if(|held| held.bytes() == 0);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Held::bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Owner {
        Some(TenantId::new(name).unwrap())
    }

    /// Takes pieces of 10 until there is no more room; answers how many, and why it ended.
    fn fill(budget: &Arc<Budget>, owner: &Owner, held: &mut Vec<Share>) -> (usize, Over) {
        for taken in 0.. {
            let mut share = budget.share(owner.clone(), 10);
            if let Err(over) = share.grow(10) {
                return (taken, over);
            }
            held.push(share);
        }
        unreachable!("a budget has an end")
    }

    #[test]
    fn each_tenant_leaves_as_much_as_it_has() {
        let budget = Budget::new(1000);
        let mut held = Vec::new();
        for (name, wanted) in [("a", 50), ("b", 25), ("c", 12)] {
            assert_eq!(fill(&budget, &tenant(name), &mut held), (wanted, Over::Tenant), "{name}");
        }
        assert_eq!(budget.held(), 870);
        let mut large = budget.share(tenant("d"), 10);
        assert_eq!(large.grow(131), Err(Over::All));
        assert_eq!(large.grow(130), Ok(()), "the first of a tenant may have all that is free");
        assert_eq!(budget.share(tenant("e"), 10).grow(1), Err(Over::All));
        drop((held, large));
        assert_eq!((budget.held(), budget.lock().accounts.len()), (0, 0), "all is given back");
    }

    #[test]
    fn what_grows_alone_is_not_cut_at_the_half() {
        let budget = Budget::new(100);
        let mut share = budget.share(tenant("a"), 10);
        for _ in 0..10 {
            assert_eq!(share.grow(10), Ok(()));
        }
        assert_eq!(share.grow(1), Err(Over::All));
        share.shrink_to(30);
        assert_eq!((share.bytes(), budget.held()), (30, 30));
        assert_eq!(budget.share(tenant("a"), 10).take(1, 1000), Ok(20), "half of what is beyond its own");
    }

    #[test]
    fn four_of_the_largest_fit_always() {
        let budget = Budget::new(10);
        let mut shares: Vec<Share> =
            ["a", "b", "c", "d", "e"].map(|name| budget.share(tenant(name), 100)).into();
        let grown: Vec<_> = shares.iter_mut().map(|share| share.grow(100)).collect();
        assert_eq!(grown, [Ok(()), Ok(()), Ok(()), Ok(()), Err(Over::All)]);
    }

    #[test]
    fn many_take_parts_side_by_side() {
        let budget = Budget::new(64 << 20);
        let mut held = Vec::new();
        let over = loop {
            let mut share = budget.share(tenant("a"), 8 << 20);
            match share.take_part(128 << 10, 8 << 20) {
                Ok(_) => held.push(share),
                Err(over) => break over,
            }
        };
        assert_eq!((held[0].bytes(), over), (8 << 20, Over::Tenant));
        assert!(held.len() > 30, "{}", held.len());
        assert_eq!(budget.share(tenant("b"), 8 << 20).take_part(128 << 10, 1 << 20), Ok(1 << 20));
    }

    #[test]
    fn a_part_is_taken_where_all_of_it_does_not_fit() {
        let budget = Budget::new(100);
        let mut first = budget.share(tenant("a"), 1);
        assert_eq!(first.take(10, 60), Ok(60));
        let mut second = budget.share(tenant("b"), 1);
        assert_eq!(second.take(10, 60), Ok(40));
        assert_eq!(budget.share(None, 1).take(1, 60), Err(Over::All));
        second.shrink_to(5);
        assert_eq!(budget.share(tenant("a"), 1).take(10, 60), Err(Over::Tenant));
        assert_eq!(budget.share(None, 1).take(10, 60), Ok(35));
    }

    /// A task that waits for bytes of an empty share, and says once that it has them.
    fn waits(budget: &Arc<Budget>, owner: &str, bytes: usize) -> tokio::task::JoinHandle<Share> {
        let mut share = budget.share(tenant(owner), 10);
        tokio::spawn(async move {
            share.wait(bytes).await;
            share
        })
    }

    /// Has all other tasks of this thread go on as far as they can.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_there_is_room_and_in_his_turn() {
        let budget = Budget::new(100);
        let mut first = budget.share(tenant("a"), 10);
        first.grow(90).unwrap();
        let (large, other, small) =
            (waits(&budget, "b", 60), waits(&budget, "c", 20), waits(&budget, "d", 5));
        settle().await;
        assert!(small.is_finished(), "what fits passes what does not");
        assert!(!large.is_finished() && !other.is_finished());
        assert_eq!(budget.share(tenant("c"), 10).take_part(1, 1), Err(Over::Tenant), "it is not its turn");
        first.shrink_to(70);
        settle().await;
        assert!(other.is_finished() && !large.is_finished());
        // What one gives back wakes the next, whoever waits.
        drop((first, small.await, other.await));
        assert_eq!(large.await.unwrap().bytes(), 60);
        settle().await;
        assert_eq!((budget.held(), budget.sum.is_awaited()), (0, false));
    }

    #[tokio::test]
    async fn who_no_longer_waits_takes_nothing_and_holds_nobody_up() {
        let budget = Budget::new(100);
        let mut first = budget.share(tenant("a"), 10);
        first.grow(100).unwrap();
        let (gone, stays) = (waits(&budget, "b", 100), waits(&budget, "c", 30));
        settle().await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        assert_eq!(budget.lock().turns.iter().count(), 1, "the other one");
        drop(first);
        assert_eq!(stays.await.unwrap().bytes(), 30);
        assert_eq!((budget.held(), budget.lock().accounts.len(), budget.sum.is_awaited()), (0, 0, false));
    }
}
