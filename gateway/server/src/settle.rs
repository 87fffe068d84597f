//! What becomes of a delivery after it was handled once: pure functions of the outcome, the policy, the history and
//! the time. Nothing here waits, sends or writes.

use std::time::Duration;

use hookweir_journal::Next;
use hookweir_model::{Disabled, EndpointState, Failing, Outcome, RetryPolicy, Status, Timestamp};

use crate::retry;

/// Nothing but failures for this long switches an endpoint off, ...
pub(crate) const GIVE_UP_ENDPOINT_AFTER: Duration = Duration::from_secs(120 * 3600);

/// A receiver that asks to be asked later can't put a delivery off more often than this.
const MOST_PUT_OFF: u32 = 100;

/// How long it puts it off at least.
const LEAST_PUT_OFF: Duration = Duration::from_secs(1);

/// ... where there were as many as this: fewer say little, however far apart they are.
pub(crate) const GIVE_UP_ENDPOINT_AT: u32 = 10;

/// When something was said of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the wall clock, for people.
    pub wall: Timestamp,
    /// The gateway's own time.
    pub time: Timestamp,
    /// How long the gateway had run. Only this tells how long something lasted: neither a stop nor a step of the wall
    /// clock adds to it.
    pub running: Duration,
}

/// An attempt that was made, as far as the decision needs it.
#[derive(Debug)]
pub(crate) struct Tried {
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub retry_after: Option<Duration>,
    /// Which attempt of the present round it was, from 1.
    pub round_attempt: u32,
}

/// The state that an attempt leaves its delivery in.
pub(crate) fn next(tried: Tried, policy: &RetryPolicy, now: Timestamp, dice: f64) -> Next {
    let Tried { outcome, reason, retry_after, round_attempt } = tried;
    match outcome {
        Outcome::Delivered => Next::Final { status: Status::Delivered, reason: None },
        Outcome::Rejected => Next::Final { status: Status::Failed, reason },
        Outcome::Retry | Outcome::Unknown | Outcome::Blocked => {
            // It was not let in where it was asked to come later: that is no reason to give it up.
            let put_off = retry_after.filter(|_| round_attempt < MOST_PUT_OFF);
            let put_off = put_off.map(|wait| wait.max(LEAST_PUT_OFF));
            match retry::wait(policy, round_attempt, retry_after, dice).or(put_off) {
                Some(wait) => Next::RetryAt { due: now.after(wait), reason },
                None => Next::Final { status: Status::Exhausted, reason },
            }
        }
    }
}

/// What an attempt changes in its endpoint's state; `None` where it changes nothing, which is the common case.
pub(crate) fn endpoint_state(
    state: &EndpointState,
    outcome: Outcome,
    gone: bool,
    now: Moment,
) -> Option<EndpointState> {
    if outcome == Outcome::Delivered {
        return state.failing.map(|_| EndpointState { failing: None, ..state.clone() });
    }
    let begun = Failing { since: now.time, running: now.running, attempts: 0 };
    let failing = state.failing.unwrap_or(begun);
    let attempts = failing.attempts.saturating_add(1).min(GIVE_UP_ENDPOINT_AT);
    let failing = Failing { attempts, ..failing };
    let reason = if gone {
        Some("the receiver answered 410 Gone".to_owned())
    } else if lasts(failing, now) >= GIVE_UP_ENDPOINT_AFTER && attempts >= GIVE_UP_ENDPOINT_AT {
        Some("nothing but failures for 120 hours".to_owned())
    } else {
        None
    };
    let disabled = match (&state.disabled, reason) {
        (None, Some(reason)) => Some(Disabled { reason, at: now.wall }),
        (disabled, _) => disabled.clone(),
    };
    let changed = EndpointState { disabled, failing: Some(failing), ..state.clone() };
    (changed != *state).then_some(changed)
}

/// How long an endpoint has only failed.
pub(crate) fn lasts(failing: Failing, now: Moment) -> Duration {
    now.running.saturating_sub(failing.running)
}

/// Whether the failures are more than the next delivery mends: they have lasted a minute.
pub(crate) fn is_lasting(failing: Failing, now: Moment) -> bool {
    const LASTING: Duration = Duration::from_secs(60);
    lasts(failing, now) >= LASTING
}

/// Whether the journal should have the state as it is now. A failure that the next delivery mends is not worth a
/// synced write each way; one that lasts is, since 120 hours are counted from it over restarts. Of the attempts that are
/// counted with them, each doubling is.
pub(crate) fn worth_keeping(kept: &EndpointState, state: &EndpointState, now: Moment) -> bool {
    let failing = match (kept.failing, state.failing) {
        (None, None) => false,
        (None, Some(failing)) => is_lasting(failing, now),
        (Some(_), None) => true,
        (Some(kept), Some(failing)) => {
            let has_doubled = failing.attempts >= kept.attempts.saturating_mul(2);
            let is_enough = failing.attempts == GIVE_UP_ENDPOINT_AT && kept.attempts < GIVE_UP_ENDPOINT_AT;
            kept.running != failing.running
                || (has_doubled && kept.attempts < GIVE_UP_ENDPOINT_AT)
                || is_enough
        }
    };
    failing || kept.disabled != state.disabled
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn tried(outcome: Outcome, round_attempt: u32) -> Tried {
        Tried { outcome, reason: Some("why".to_owned()), retry_after: None, round_attempt }
    }

    fn final_status(next: &Next) -> Option<Status> {
        match next {
            Next::Final { status, .. } => Some(*status),
            Next::Queued(_) => Some(Status::Delivered),
            Next::RetryAt { .. } => None,
        }
    }

    #[test]
    fn outcomes_lead_to_their_states() {
        let ims = RetryPolicy::ims();
        for (outcome, attempt, wanted) in [
            (Outcome::Delivered, 1, Some(Status::Delivered)),
            (Outcome::Delivered, 9, Some(Status::Delivered)),
            (Outcome::Rejected, 1, Some(Status::Failed)),
            (Outcome::Retry, 1, None),
            (Outcome::Retry, 2, None),
            (Outcome::Retry, 3, Some(Status::Exhausted)),
            (Outcome::Unknown, 1, None),
            (Outcome::Unknown, 3, Some(Status::Exhausted)),
            (Outcome::Blocked, 1, None),
            (Outcome::Blocked, 3, Some(Status::Exhausted)),
        ] {
            let next = next(tried(outcome, attempt), &ims, NOW, 0.5);
            assert_eq!(final_status(&next), wanted, "{outcome:?} on attempt {attempt}");
        }
    }

    #[test]
    fn a_retry_is_due_after_its_wait() {
        assert_eq!(
            next(tried(Outcome::Retry, 1), &RetryPolicy::ims(), NOW, 0.0),
            Next::RetryAt { due: NOW.after(Duration::from_secs(1)), reason: Some("why".to_owned()) }
        );
    }

    /// So long after an attempt at which the gateway had run for ten minutes.
    fn later(span: Duration) -> Moment {
        let running = Duration::from_secs(600) + span;
        Moment { wall: NOW.after(span), time: NOW.after(span), running }
    }

    fn failing(attempts: u32) -> EndpointState {
        let Moment { time: since, running, .. } = later(Duration::ZERO);
        EndpointState { failing: Some(Failing { since, running, attempts }), ..EndpointState::default() }
    }

    #[test]
    fn a_receiver_that_asks_for_time_does_not_have_a_delivery_given_up() {
        for (attempt, asked, wanted) in [
            (2, Some(5), Some(5)),
            (3, Some(5), Some(5)),
            (3, Some(0), Some(1)),
            (99, Some(5), Some(5)),
            (100, Some(5), None),
            (3, None, None),
        ] {
            let retry_after = asked.map(Duration::from_secs);
            let tried = Tried { retry_after, ..tried(Outcome::Retry, attempt) };
            let due = match next(tried, &RetryPolicy::ims(), NOW, 0.0) {
                Next::RetryAt { due, .. } => Some(due),
                Next::Final { .. } | Next::Queued(_) => None,
            };
            let wanted = wanted.map(|seconds| NOW.after(Duration::from_secs(seconds)));
            assert_eq!(due, wanted, "attempt {attempt}, asked for {asked:?}");
        }
    }

    #[test]
    fn success_clears_and_failure_starts_the_failing_time() {
        let fine = EndpointState::default();
        let (start, soon) = (later(Duration::ZERO), later(Duration::from_secs(60)));
        assert_eq!(endpoint_state(&fine, Outcome::Delivered, false, start), None);
        assert_eq!(endpoint_state(&fine, Outcome::Retry, false, start), Some(failing(1)));
        assert_eq!(endpoint_state(&failing(1), Outcome::Retry, false, soon), Some(failing(2)));
        let enough = failing(GIVE_UP_ENDPOINT_AT);
        assert_eq!(endpoint_state(&enough, Outcome::Retry, false, soon), None, "more are not counted");
        assert_eq!(endpoint_state(&failing(1), Outcome::Delivered, false, start), Some(fine));
    }

    #[test]
    fn only_what_lasts_is_worth_keeping() {
        let fine = EndpointState::default();
        let disabled = Some(Disabled { reason: "x".to_owned(), at: NOW });
        let off = EndpointState { disabled, ..EndpointState::default() };
        let (start, minute) = (later(Duration::ZERO), later(Duration::from_secs(60)));
        for (kept, state, now, wanted) in [
            (&fine, &fine, start, false),
            (&fine, &failing(1), start, false),
            (&fine, &failing(1), minute, true),
            (&failing(2), &failing(2), minute, false),
            (&failing(2), &failing(3), minute, false),
            (&failing(2), &failing(4), minute, true),
            (&failing(8), &failing(9), minute, false),
            (&failing(8), &failing(10), minute, true),
            (&failing(10), &failing(10), minute, false),
            (&failing(1), &fine, start, true),
            (&fine, &off, start, true),
            (&off, &fine, start, true),
        ] {
            assert_eq!(worth_keeping(kept, state, now), wanted, "{kept:?} {state:?} {now:?}");
        }
    }

    #[test]
    fn gone_disables_and_so_do_120_hours_of_failures_while_it_ran() {
        let fine = EndpointState::default();
        let gone = endpoint_state(&fine, Outcome::Rejected, true, later(Duration::ZERO)).unwrap();
        assert_eq!(gone.disabled.as_ref().map(|disabled| disabled.at), Some(NOW));

        let whole = later(GIVE_UP_ENDPOINT_AFTER);
        let just_before = later(GIVE_UP_ENDPOINT_AFTER - Duration::from_millis(1));
        let day = Duration::from_secs(24 * 3600);
        for (attempts, now, wanted, what) in [
            (20, whole, true, "nothing but failures"),
            (9, whole, true, "the tenth in all that time"),
            (20, just_before, false, "not yet"),
            (8, whole, false, "too few to tell"),
            (
                20,
                Moment { running: later(day).running, ..later(20_000 * day) },
                false,
                "a clock from 1970 was set",
            ),
            (20, Moment { wall: NOW.before(day), time: NOW, ..whole }, true, "the clock was set back"),
        ] {
            let next =
                endpoint_state(&failing(attempts.min(GIVE_UP_ENDPOINT_AT)), Outcome::Retry, false, now);
            let disabled = next.and_then(|next| next.disabled);
            assert_eq!(disabled.is_some(), wanted, "{what}");
            assert!(disabled.is_none_or(|disabled| disabled.reason.contains("120 hours")), "{what}");
        }
    }
}
