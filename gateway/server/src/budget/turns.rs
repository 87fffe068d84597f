//! Who waits for room in memory, and whose turn it is: a plain state machine.
//!
//! Owners, such as tenants, take turns, and within an owner those who asked first go first. Where the one whose turn it is does not fit, others that
//! fit may pass it, so that a large event does not hold up small ones; but only so often, so that it is not passed for ever.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How many grants may pass the one whose turn it is while it does not fit.
const PASSES: u32 = 64;

/// Whether there is room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
    /// Its owner holds as much as it may at present: others go on.
    OverShare,
}

/// Requests for room, each a number of bytes.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    /// Those who wait, each owner once: the first has its turn.
    order: VecDeque<K>,
    requests: HashMap<K, VecDeque<(T, usize)>>,
    /// Grants since the first that does not fit was first passed.
    passed: u32,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), requests: HashMap::new(), passed: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> Turns<K, T> {
    pub(crate) fn push(&mut self, owner: &K, who: T, bytes: usize) {
        let requests = self.requests.entry(owner.clone()).or_default();
        if requests.is_empty() {
            self.order.push_back(owner.clone());
        }
        requests.push_back((who, bytes));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether anybody waits for this owner.
    pub(crate) fn has(&self, owner: &K) -> bool {
        self.requests.contains_key(owner)
    }

    /// Whether the one whose turn it is has been passed as often as it may be: then all room that is given back is for it.
    pub(crate) fn is_closed(&self) -> bool {
        self.passed >= PASSES
    }

    /// Those who wait, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.requests.values().flatten().map(|(who, _)| who)
    }

    /// Takes the next request that can be granted.
    pub(crate) fn next(&mut self, fits: impl Fn(&T, usize) -> Fit) -> Option<(T, usize)> {
        let mut passes = false;
        for place in 0..self.order.len() {
            let request = self.order.get(place).and_then(|owner| self.requests.get(owner)?.front());
            let Some((who, bytes)) = request else { continue };
            match fits(who, *bytes) {
                Fit::Yes => {
                    self.passed = if passes { self.passed + 1 } else { 0 };
                    return self.take(place);
                }
                Fit::No if self.is_closed() => return None,
                Fit::No => passes = true,
                Fit::OverShare => {}
            }
        }
        None
    }

    /// Forgets those who no longer wait.
    pub(crate) fn retain(&mut self, waits: impl Fn(&T) -> bool) {
        for requests in self.requests.values_mut() {
            requests.retain(|(who, _)| waits(who));
        }
        self.requests.retain(|_, requests| !requests.is_empty());
        self.order.retain(|owner| self.requests.contains_key(owner));
        if self.order.is_empty() {
            self.passed = 0;
        }
    }

    /// Takes the first request of the owner at `place`, which goes to the end if it has more.
    fn take(&mut self, place: usize) -> Option<(T, usize)> {
        let owner = self.order.remove(place)?;
        let requests = self.requests.get_mut(&owner)?;
        let request = requests.pop_front();
        if requests.is_empty() {
            self.requests.remove(&owner);
        } else {
            self.order.push_back(owner);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use hookweir_model::TenantId;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn turns(requests: &[(&str, &'static str, usize)]) -> Turns<TenantId, &'static str> {
        let mut turns = Turns::default();
        for (of, who, bytes) in requests {
            turns.push(&tenant(of), *who, *bytes);
        }
        turns
    }

    fn all(
        turns: &mut Turns<TenantId, &'static str>,
        fits: impl Fn(&&'static str, usize) -> Fit,
    ) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.next(&fits)).map(|(who, _)| who).collect()
    }

    #[test]
    fn tenants_take_turns_and_the_first_of_each_goes_first() {
        let mut turns =
            turns(&[("a", "a1", 1), ("a", "a2", 1), ("a", "a3", 1), ("b", "b1", 1), ("c", "c1", 1)]);
        assert_eq!(turns.iter().count(), 5);
        assert_eq!(all(&mut turns, |_, _| Fit::Yes), ["a1", "b1", "c1", "a2", "a3"]);
        assert!(turns.is_empty());
        turns.push(&tenant("a"), "a4", 1);
        assert_eq!(turns.next(|_, _| Fit::Yes), Some(("a4", 1)));
    }

    #[test]
    fn what_does_not_fit_is_passed_so_often_and_no_more() {
        let mut turns = turns(&[("large", "large", 9)]);
        let small_fits = |_: &&'static str, bytes| if bytes < 9 { Fit::Yes } else { Fit::No };
        for _ in 0..PASSES {
            turns.push(&tenant("small"), "small", 1);
            assert_eq!(turns.next(small_fits), Some(("small", 1)));
        }
        turns.push(&tenant("small"), "small", 1);
        assert!(turns.is_closed());
        assert_eq!(turns.next(small_fits), None, "the room that is given back is for the large one");
        assert_eq!(turns.next(|_, _| Fit::Yes), Some(("large", 9)));
        assert!(!turns.is_closed());
        assert_eq!(turns.next(small_fits), Some(("small", 1)));
    }

    #[test]
    fn a_tenant_over_its_share_holds_nobody_up_however_often_it_is_passed() {
        let mut turns = turns(&[("a", "a1", 1)]);
        let over = |who: &&'static str, _| if *who == "a1" { Fit::OverShare } else { Fit::Yes };
        for _ in 0..2 * PASSES {
            turns.push(&tenant("b"), "b1", 1);
            assert_eq!(turns.next(over), Some(("b1", 1)));
        }
        assert_eq!(turns.next(over), None);
        assert_eq!(turns.next(|_, _| Fit::Yes), Some(("a1", 1)));
    }

    #[test]
    fn within_a_tenant_nothing_goes_before_what_asked_earlier() {
        let mut turns = turns(&[("a", "large", 9), ("a", "small", 1)]);
        let small_fits = |_: &&'static str, bytes| if bytes < 9 { Fit::Yes } else { Fit::No };
        assert_eq!(turns.next(small_fits), None);
        assert_eq!(all(&mut turns, |_, _| Fit::Yes), ["large", "small"]);
    }

    #[test]
    fn who_no_longer_waits_is_forgotten_with_its_turn() {
        let mut turns = turns(&[("a", "a1", 1), ("a", "a2", 1), ("b", "b1", 1)]);
        turns.retain(|who| *who != "a1" && *who != "b1");
        assert!(turns.has(&tenant("a")) && !turns.has(&tenant("b")));
        assert_eq!(all(&mut turns, |_, _| Fit::Yes), ["a2"]);
        turns.push(&tenant("b"), "b2", 1);
        turns.retain(|_| false);
        assert!(turns.is_empty());
    }
}
