//! Whose job is next: a queue for each tenant, served in turn.
//!
//! A tenant may keep some of the threads busy but never the last one, so that plugins that hang cost their own tenant
//! time and leave the others a thread. This is a value without threads or locks; `threads` gives it both.

use std::collections::{HashMap, VecDeque};

use hookweir_model::TenantId;

#[derive(Debug)]
pub(crate) struct Fair<T> {
    lanes: HashMap<TenantId, Lane<T>>,
    /// The tenants with waiting jobs, each once, the longest unserved first.
    turn: VecDeque<TenantId>,
    /// How many jobs of one tenant may run at a time.
    cap: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    running: usize,
}

impl<T> Fair<T> {
    pub(crate) fn new(threads: usize) -> Self {
        Self { lanes: HashMap::new(), turn: VecDeque::new(), cap: threads.saturating_sub(1).max(1) }
    }

    /// Puts a job at the end of its tenant's queue.
    pub(crate) fn push(&mut self, tenant: &TenantId, job: T) {
        let lane =
            self.lanes.entry(tenant.clone()).or_insert_with(|| Lane { waiting: VecDeque::new(), running: 0 });
        if lane.waiting.is_empty() {
            self.turn.push_back(tenant.clone());
        }
        lane.waiting.push_back(job);
    }

    /// Takes the next job of the first tenant in turn that has a thread to spare. [`Fair::done`] gives it back.
    pub(crate) fn take(&mut self) -> Option<(TenantId, T)> {
        // At most as many tenants as there are threads are at their cap, so this looks at few.
        let place = self.turn.iter().position(|tenant| self.may_run(tenant))?;
        let tenant = self.turn.remove(place)?;
        let lane = self.lanes.get_mut(&tenant)?;
        let job = lane.waiting.pop_front()?;
        lane.running += 1;
        if !lane.waiting.is_empty() {
            self.turn.push_back(tenant.clone());
        }
        Some((tenant, job))
    }

    /// Says that a job of the tenant's has ended.
    pub(crate) fn done(&mut self, tenant: &TenantId) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.running = lane.running.saturating_sub(1);
            if lane.running == 0 && lane.waiting.is_empty() {
                self.lanes.remove(tenant);
            }
        }
    }

    /// Drops all jobs that wait.
    pub(crate) fn clear(&mut self) {
        self.turn.clear();
        self.lanes.clear();
    }

    fn may_run(&self, tenant: &TenantId) -> bool {
        self.lanes.get(tenant).is_some_and(|lane| lane.running < self.cap)
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
        std::iter::from_fn(|| fair.take().map(|(_, job)| job)).collect()
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
        fair.done(&tenant("a"));
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
        while let Some((tenant, job)) = fair.take() {
            order.push(job);
            fair.done(&tenant);
        }
        assert_eq!(order, ["a1", "b1", "a2"]);
    }

    #[test]
    fn tenants_without_jobs_are_forgotten() {
        let mut fair = Fair::new(2);
        fair.push(&tenant("a"), "a1");
        let (name, _) = fair.take().unwrap();
        assert_eq!(fair.lanes.len(), 1);
        fair.done(&name);
        assert!(fair.lanes.is_empty() && fair.turn.is_empty());
        fair.push(&tenant("a"), "a2");
        fair.clear();
        assert_eq!(take_all(&mut fair), Vec::<&str>::new());
    }
}
