//! How far the removal of finished events has come, so that no event is looked at each time anew.

use std::collections::BTreeSet;

use super::expire::Which;

/// How many events behind the walk are remembered. When there are more, the walk goes back to those that are forgotten.
const REMEMBERED: usize = 65_536;

/// A walk over all events by their number, oldest first. It lives in memory alone: after a start it begins at the front.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Every event up to this number was looked at. What of it is still there had to stay.
    to: i64,
    /// Those up to `to` that may have to stay no longer: they have ended since.
    again: BTreeSet<i64>,
}

/// What a part of the work has come to; it counts once the part is committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    /// Every event up to this number was looked at.
    pub to: i64,
    /// Behind the walk: looked at, and either removed or waiting again.
    pub done: Vec<i64>,
}

impl Sweep {
    pub(super) fn to(&self) -> i64 {
        self.to
    }

    /// Those behind the walk to look at, up to `bound`, the oldest first.
    pub(super) fn behind(&self, after: i64, bound: i64) -> impl Iterator<Item = i64> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(bound.max(after + 1)));
        self.again.range(range).copied().filter(move |seq| *seq <= bound)
    }

    /// All deliveries of this event may have ended.
    pub(super) fn ended(&mut self, seq: i64) {
        if seq <= self.to {
            self.again.insert(seq);
            self.bound();
        }
    }

    pub(super) fn apply(&mut self, step: &Step) {
        for seq in &step.done {
            self.again.remove(seq);
        }
        self.to = self.to.max(step.to);
        self.bound();
    }

    fn bound(&mut self) {
        while self.again.len() > REMEMBERED {
            if let Some(last) = self.again.pop_last() {
                self.to = last - 1;
            }
        }
    }
}

/// The walks of the writer.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// Over all that has ended.
    any: Sweep,
    /// Over what has ended well: nobody will ask to have it sent again.
    well: Sweep,
}

impl Sweeps {
    pub(super) fn of(&self, which: Which) -> &Sweep {
        match which {
            Which::Ended => &self.any,
            Which::EndedWell => &self.well,
        }
    }

    pub(super) fn apply(&mut self, which: Which, step: &Step) {
        match which {
            Which::Ended => self.any.apply(step),
            Which::EndedWell => self.well.apply(step),
        }
    }

    pub(super) fn ended(&mut self, seq: i64) {
        self.any.ended(seq);
        self.well.ended(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(sweep: &Sweep, after: i64, bound: i64) -> Vec<i64> {
        sweep.behind(after, bound).collect()
    }

    #[test]
    fn what_ends_behind_the_walk_is_looked_at_again() {
        let mut sweep = Sweep::default();
        sweep.ended(3);
        assert!(behind(&sweep, 0, 100).is_empty(), "the walk comes to it by itself");
        sweep.apply(&Step { to: 10, done: Vec::new() });
        for seq in [7, 9, 3, 10, 11] {
            sweep.ended(seq);
        }
        assert_eq!(behind(&sweep, 0, 100), [3, 7, 9, 10]);
        assert_eq!(behind(&sweep, 3, 9), [7, 9]);
        assert!(behind(&sweep, 9, 5).is_empty());
        sweep.apply(&Step { to: 8, done: vec![3, 9] });
        assert_eq!((sweep.to(), behind(&sweep, 0, 100)), (10, vec![7, 10]), "it never goes back so");
    }

    #[test]
    fn what_is_forgotten_is_walked_over_again() {
        let mut sweep = Sweep::default();
        let many = i64::try_from(REMEMBERED).unwrap();
        sweep.apply(&Step { to: 2 * many, done: Vec::new() });
        for seq in 1..=many + 5 {
            sweep.ended(seq);
        }
        assert_eq!(sweep.to(), many);
        assert_eq!(behind(&sweep, 0, 3 * many).len(), REMEMBERED);
        sweep.ended(many + 3);
        assert!(behind(&sweep, many, 3 * many).is_empty(), "it lies before the walk again");
    }
}
