//! Whose job is next: a queue for each tenant, served in turn.
//!
//! A tenant may keep some of the threads busy but never the last one, so that plugins that hang cost their own tenant
//! time and leave the others a thread. A tenant whose plugins ran into their deadline is served by the threads that
//! stand back until its calls are good again: those give way to every other thread of the machine, so that what it burns
//! is time that nobody else wants. This is a value without threads or locks; `threads` gives it both.

use std::collections::{HashMap, VecDeque};

use hookweir_model::TenantId;

/// Good calls in a row after which a tenant is served by the ordinary threads again.
const GOOD_AGAIN: u32 = 16;

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ordinary,
    /// For tenants whose calls overran. Its thread stands back behind all others.
    StoodBack,
}

/// How a job used its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    Good,
    Overran,
}

#[derive(Debug)]
pub(crate) struct Fair<T> {
    lanes: HashMap<TenantId, Lane<T>>,
    /// The tenants with waiting jobs, each once, the longest unserved first.
    turn: VecDeque<TenantId>,
    /// How many jobs of one tenant may run at a time on the ordinary threads.
    cap: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    running: usize,
    /// Good calls that are still wanted of a tenant that overran; 0 for all others.
    owed: u32,
}

impl<T> Lane<T> {
    const fn service(&self) -> Service {
        if self.owed > 0 { Service::StoodBack } else { Service::Ordinary }
    }
}

impl<T> Fair<T> {
    /// For so many ordinary threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self { lanes: HashMap::new(), turn: VecDeque::new(), cap: threads.saturating_sub(1).max(1) }
    }

    /// Puts a job at the end of its tenant's queue, and answers which threads may take it.
    pub(crate) fn push(&mut self, tenant: &TenantId, job: T) -> Service {
        let lane = self.lanes.entry(tenant.clone()).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            running: 0,
            owed: 0,
        });
        if lane.waiting.is_empty() {
            self.turn.push_back(tenant.clone());
        }
        lane.waiting.push_back(job);
        lane.service()
    }

    /// Takes the next job of the first tenant in turn that this service is for and that has a thread to spare.
    /// [`Fair::done`] gives it back.
    pub(crate) fn take(&mut self, service: Service) -> Option<(TenantId, T)> {
        let place = self.turn.iter().position(|tenant| self.may_run(tenant, service))?;
        let tenant = self.turn.remove(place)?;
        let lane = self.lanes.get_mut(&tenant)?;
        let job = lane.waiting.pop_front()?;
        lane.running += 1;
        if !lane.waiting.is_empty() {
            self.turn.push_back(tenant.clone());
        }
        Some((tenant, job))
    }

    /// Says that a job of the tenant's has ended, and how. Answers the service that its waiting jobs now belong to, if
    /// that has changed.
    pub(crate) fn done(&mut self, tenant: &TenantId, conduct: Conduct) -> Option<Service> {
        let lane = self.lanes.get_mut(tenant)?;
        let before = lane.service();
        lane.running = lane.running.saturating_sub(1);
        lane.owed = match conduct {
            Conduct::Good => lane.owed.saturating_sub(1),
            Conduct::Overran => GOOD_AGAIN,
        };
        let after = lane.service();
        // A tenant that overran is remembered while it has no jobs: it would come back with as much.
        if lane.running == 0 && lane.waiting.is_empty() && lane.owed == 0 {
            self.lanes.remove(tenant);
        }
        (before != after).then_some(after)
    }

    /// Drops all jobs that wait.
    pub(crate) fn clear(&mut self) {
        self.turn.clear();
        self.lanes.clear();
    }

    fn may_run(&self, tenant: &TenantId, service: Service) -> bool {
        self.lanes.get(tenant).is_some_and(|lane| {
            lane.service() == service && (service == Service::StoodBack || lane.running < self.cap)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    /// Takes until nothing more may run, and answers the jobs.
    fn take_all(fair: &mut Fair<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| fair.take(Service::Ordinary).map(|(_, job)| job)).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let mut fair = Fair::new(8);
        for job in ["a1", "a2", "a3"] {
            fair.push(&tenant("a"), job);
        }
        fair.push(&tenant("b"), "b1");
        fair.push(&tenant("c"), "c1");
        fair.push(&tenant("b"), "b2");
        assert_eq!(take_all(&mut fair), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_tenant_leaves_a_thread_for_the_others() {
        let mut fair = Fair::new(3);
        for job in ["a1", "a2", "a3"] {
            fair.push(&tenant("a"), job);
        }
        assert_eq!(take_all(&mut fair), ["a1", "a2"]);
        fair.push(&tenant("b"), "b1");
        assert_eq!(take_all(&mut fair), ["b1"]);
        fair.done(&tenant("a"), Conduct::Good);
        assert_eq!(take_all(&mut fair), ["a3"]);
    }

    #[test]
    fn one_thread_is_shared_by_turns() {
        let mut fair = Fair::new(1);
        for job in ["a1", "a2"] {
            fair.push(&tenant("a"), job);
        }
        fair.push(&tenant("b"), "b1");
        let mut order = Vec::new();
        while let Some((tenant, job)) = fair.take(Service::Ordinary) {
            order.push(job);
            fair.done(&tenant, Conduct::Good);
        }
        assert_eq!(order, ["a1", "b1", "a2"]);
    }

    #[test]
    fn tenants_without_jobs_are_forgotten() {
        let mut fair = Fair::new(2);
        fair.push(&tenant("a"), "a1");
        let (name, _) = fair.take(Service::Ordinary).unwrap();
        assert_eq!(fair.lanes.len(), 1);
        fair.done(&name, Conduct::Good);
        assert!(fair.lanes.is_empty() && fair.turn.is_empty());
        fair.push(&tenant("a"), "a2");
        fair.clear();
        assert_eq!(take_all(&mut fair), Vec::<&str>::new());
    }

    #[test]
    fn a_tenant_that_overran_is_served_apart_until_its_calls_are_good() {
        let mut fair = Fair::new(2);
        let (a, b) = (tenant("a"), tenant("b"));
        assert_eq!(fair.push(&a, "a1"), Service::Ordinary);
        let (name, _) = fair.take(Service::Ordinary).unwrap();
        fair.push(&a, "a2");
        assert_eq!(fair.done(&name, Conduct::Overran), Some(Service::StoodBack));
        fair.push(&b, "b1");
        assert_eq!(
            take_all(&mut fair),
            ["b1"],
            "what waited of a is no longer the ordinary threads' business"
        );
        assert_eq!(fair.take(Service::StoodBack).map(|(_, job)| job), Some("a2"));
        assert_eq!(fair.done(&a, Conduct::Overran), None);
        for round in 1..=GOOD_AGAIN {
            assert_eq!(fair.push(&a, "a"), Service::StoodBack, "remembered without jobs");
            assert!(fair.take(Service::Ordinary).is_none());
            assert!(fair.take(Service::StoodBack).is_some());
            let changed = fair.done(&a, Conduct::Good);
            assert_eq!(changed, (round == GOOD_AGAIN).then_some(Service::Ordinary), "{round}");
        }
        assert_eq!(fair.push(&a, "a"), Service::Ordinary);
    }
}
