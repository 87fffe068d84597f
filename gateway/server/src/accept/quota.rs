//! What a tenant may send: so many events a second, and so many bytes that wait for its endpoints.
//!
//! Whoever is over a quota gets 429, and its other tenants nothing. The tenant is told by an operational event, once for
//! each time that it begins.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookweir_model::TenantId;

use crate::config::Quota;

/// A quota by name, as the configuration and the events have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    EventsPerSecond,
    PendingSize,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events_per_second",
            Self::PendingSize => "pending_size",
        }
    }
}

/// Why an event is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub kind: Kind,
    /// When it may be worth another try.
    pub retry_after: Duration,
    /// Whether the tenant has to be told: it was not over this quota before.
    pub begins: bool,
}

/// What is known of all tenants' use. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<TenantId, Use>>);

#[derive(Debug, Default)]
struct Use {
    /// When the events taken so far would be over at the quota's rate.
    spent_until: Option<Instant>,
    /// When an event was last refused, by quota.
    refused: [Option<Instant>; 2],
    /// Whether the tenant was told that much waits.
    backlog_told: bool,
}

/// Events that may come at once, as the time in which the rate would allow them.
const BURST: Duration = Duration::from_secs(1);
/// Refusals that are closer together belong to one time of being over the quota.
const QUIET: Duration = Duration::from_secs(60);
/// Nothing frees room at a known moment.
const ROOM_AFTER: Duration = Duration::from_secs(10);

impl Quotas {
    /// Counts an event of a tenant by its rate.
    pub(crate) fn count(&self, tenant: &TenantId, quota: &Quota, now: Instant) -> Result<(), Over> {
        let Some(per_second) = quota.events_per_second else { return Ok(()) };
        let mut all = self.lock();
        let used = all.entry(tenant.clone()).or_default();
        let from = used.spent_until.map_or(now, |until| until.max(now));
        let until = from + Duration::from_secs(1) / per_second.max(1);
        if until > now + BURST {
            return Err(used.refuse(Kind::EventsPerSecond, until - BURST - now, now));
        }
        used.spent_until = Some(until);
        Ok(())
    }

    /// Judges an event by the bytes that wait for the tenant already. The answer says too whether the tenant should be
    /// told that much waits: past four fifths of the quota, and anew once it was below three fifths.
    pub(crate) fn room(
        &self,
        tenant: &TenantId,
        limit: u64,
        waiting: u64,
        now: Instant,
    ) -> (Result<(), Over>, bool) {
        let mut all = self.lock();
        let used = all.entry(tenant.clone()).or_default();
        let (much, little) = (waiting >= limit / 5 * 4, waiting < limit / 5 * 3);
        let tell = much && !used.backlog_told;
        used.backlog_told = much || (used.backlog_told && !little);
        let judged =
            if waiting >= limit { Err(used.refuse(Kind::PendingSize, ROOM_AFTER, now)) } else { Ok(()) };
        (judged, tell)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Use {
    fn refuse(&mut self, kind: Kind, retry_after: Duration, now: Instant) -> Over {
        let last = &mut self.refused[kind as usize];
        let begins = last.is_none_or(|last| now.duration_since(last) >= QUIET);
        *last = Some(now);
        Over { kind, retry_after, begins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    #[test]
    fn a_second_of_events_may_come_at_once_and_then_the_rate_holds() {
        let quota = Quota { events_per_second: Some(10), pending_size: None };
        let (quotas, start) = (Quotas::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(quotas.count(&tenant(), &quota, start), Ok(()));
        }
        let over = quotas.count(&tenant(), &quota, start).unwrap_err();
        assert_eq!((over.kind, over.begins), (Kind::EventsPerSecond, true));
        assert_eq!(over.retry_after, Duration::from_millis(100));
        assert!(!quotas.count(&tenant(), &quota, start).unwrap_err().begins, "it is told once");
        assert_eq!(quotas.count(&tenant(), &quota, start + Duration::from_millis(100)), Ok(()));
        assert!(quotas.count(&tenant(), &quota, start + Duration::from_millis(100)).is_err());
        let later = start + QUIET + Duration::from_millis(200);
        let taken = (0..50).filter(|_| quotas.count(&tenant(), &quota, later).is_ok()).count();
        assert_eq!(taken, 10, "what was not used is not saved");
        assert!(quotas.count(&TenantId::new("other").unwrap(), &quota, start).is_ok());
    }

    #[test]
    fn bytes_that_wait_are_judged_and_told() {
        let (quotas, now) = (Quotas::default(), Instant::now());
        for (waiting, taken, told) in [
            (0, true, false),
            (799, true, false),
            (800, true, true),
            (999, true, false),
            (1000, false, false),
            (700, true, false),
            (900, true, false),
            (599, true, false),
            (1001, false, true),
        ] {
            let (judged, tell) = quotas.room(&tenant(), 1000, waiting, now);
            assert_eq!((judged.is_ok(), tell), (taken, told), "{waiting}");
        }
    }
}
