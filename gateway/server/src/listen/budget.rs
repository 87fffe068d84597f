//! A budget of bytes, in sum and by tenant.
//!
//! One tenant may hold as much as stays free beside it. So a single one gets half, four get a fifth each, and there is
//! always as much left for a tenant that comes anew as each of the others has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::TenantId;

/// Who holds bytes: a tenant, or `None` for operators and for callers that are not known yet.
type Owner = Option<TenantId>;

#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    sum: usize,
    by_owner: HashMap<Owner, usize>,
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
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, used: Mutex::default() })
    }

    /// An empty share. `largest` is the size of the largest single thing that may be held; where four of these are more
    /// than the budget, they are the budget.
    pub(crate) fn share(self: &Arc<Self>, owner: Owner, largest: usize) -> Share {
        Share { budget: Arc::clone(self), owner, largest, bytes: 0 }
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> usize {
        self.lock().sum
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an owner with `own` of the `used` may take yet; the first thing of an owner may take all that is free.
fn room(total: usize, used: usize, own: usize) -> usize {
    let free = total.saturating_sub(used);
    if own == 0 { free } else { free.saturating_sub(own) / 2 }
}

impl Share {
    /// Takes more bytes, or none.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Over> {
        if self.take(bytes, bytes)? == bytes { Ok(()) } else { Err(Over::Tenant) }
    }

    /// Takes as many bytes as there are, from `least` to `most`, and answers how many.
    pub(crate) fn take(&mut self, least: usize, most: usize) -> Result<usize, Over> {
        self.take_of(least, |room| room.min(most))
    }

    /// The same, but no more than an eighth of what there is where that is at least `least`, so that many who don't know yet
    /// how much they need find room side by side.
    pub(crate) fn take_part(&mut self, least: usize, most: usize) -> Result<usize, Over> {
        self.take_of(least, |room| (room / 8).max(least).min(most))
    }

    /// Takes what `choose` takes of the bytes that there are, which are at least `least`.
    fn take_of(&mut self, least: usize, choose: impl Fn(usize) -> usize) -> Result<usize, Over> {
        let total = self.budget.total.max(self.largest.saturating_mul(4));
        let mut used = self.budget.lock();
        let sum = used.sum;
        let own = used.by_owner.get(&self.owner).copied().unwrap_or(0);
        // What grows alone may grow to all that is free, as if it had asked for all of it at once.
        let others = own.saturating_sub(self.bytes);
        let room = if others == 0 { total.saturating_sub(sum) } else { room(total, sum, own) };
        if room < least {
            return Err(if total.saturating_sub(sum) < least { Over::All } else { Over::Tenant });
        }
        let bytes = choose(room);
        if bytes == 0 {
            return Ok(0);
        }
        used.sum += bytes;
        *used.by_owner.entry(self.owner.clone()).or_default() += bytes;
        drop(used);
        self.bytes += bytes;
        Ok(bytes)
    }

    /// Gives back what is beyond these bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        if back == 0 {
            return;
        }
        self.bytes -= back;
        let mut used = self.budget.lock();
        used.sum = used.sum.saturating_sub(back);
        if let Some(own) = used.by_owner.get_mut(&self.owner) {
            *own = own.saturating_sub(back);
            if *own == 0 {
                used.by_owner.remove(&self.owner);
            }
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
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
        assert_eq!((budget.held(), budget.lock().by_owner.len()), (0, 0), "all is given back");
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
}
