//! What becomes of a delivery after it was handled once: pure functions of the outcome, the policy, the history and
//! the time. Nothing here waits, sends or writes.

use std::time::Duration;

use hookweir_journal::Next;
use hookweir_model::{Disabled, EndpointState, Outcome, RetryPolicy, Status, Timestamp};

use crate::retry;

/// Nothing but failures for this long switches an endpoint off.
pub(crate) const GIVE_UP_ENDPOINT_AFTER: Duration = Duration::from_secs(120 * 3600);

/// A receiver that asks to be asked later can't put a delivery off more often than this.
const MOST_PUT_OFF: u32 = 100;

/// How long it puts it off at least.
const LEAST_PUT_OFF: Duration = Duration::from_secs(1);

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
    now: Timestamp,
) -> Option<EndpointState> {
    if outcome == Outcome::Delivered {
        return state.failing_since.map(|_| EndpointState { failing_since: None, ..state.clone() });
    }
    let failing_since = state.failing_since.unwrap_or(now);
    let reason = if gone {
        Some("the receiver answered 410 Gone".to_owned())
    } else if now.since(failing_since) >= GIVE_UP_ENDPOINT_AFTER {
        Some("nothing but failures for 120 hours".to_owned())
    } else {
        None
    };
    let disabled = match (&state.disabled, reason) {
        (None, Some(reason)) => Some(Disabled { reason, at: now }),
        (disabled, _) => disabled.clone(),
    };
    let changed = EndpointState { disabled, failing_since: Some(failing_since), ..state.clone() };
    (changed != *state).then_some(changed)
}

/// Whether failures since then are more than the next delivery mends: they have lasted a minute.
pub(crate) fn is_lasting(since: Timestamp, now: Timestamp) -> bool {
    const LASTING: Duration = Duration::from_secs(60);
    now.since(since) >= LASTING
}

/// Whether the journal should have the state as it is now. A failure that the next delivery mends is not worth a
/// synced write each way; one that lasts is, since 120 hours are counted from it over restarts.
pub(crate) fn worth_keeping(kept: &EndpointState, state: &EndpointState, now: Timestamp) -> bool {
    let failing = match (kept.failing_since, state.failing_since) {
        (None, Some(since)) => is_lasting(since, now),
        (kept, now) => kept != now,
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
        assert_eq!(endpoint_state(&fine, Outcome::Delivered, false, NOW), None);
        let failing = endpoint_state(&fine, Outcome::Retry, false, NOW).unwrap();
        assert_eq!(failing, EndpointState { failing_since: Some(NOW), ..EndpointState::default() });
        assert_eq!(endpoint_state(&failing, Outcome::Retry, false, NOW.after(Duration::from_secs(60))), None);
        assert_eq!(endpoint_state(&failing, Outcome::Delivered, false, NOW), Some(fine));
    }

    #[test]
    fn only_what_lasts_is_worth_keeping() {
        let fine = EndpointState::default();
        let failing = EndpointState { failing_since: Some(NOW), ..EndpointState::default() };
        let off = EndpointState {
            disabled: Some(Disabled { reason: "x".to_owned(), at: NOW }),
            ..EndpointState::default()
        };
        let minute = Duration::from_secs(60);
        for (kept, state, now, wanted) in [
            (&fine, &fine, NOW, false),
            (&fine, &failing, NOW, false),
            (&fine, &failing, NOW.after(minute), true),
            (&failing, &failing, NOW.after(minute), false),
            (&failing, &fine, NOW, true),
            (&fine, &off, NOW, true),
            (&off, &fine, NOW, true),
        ] {
            assert_eq!(worth_keeping(kept, state, now), wanted, "{kept:?} {state:?} {now}");
        }
    }

    #[test]
    fn gone_and_120_hours_of_failures_disable() {
        let fine = EndpointState::default();
        let gone = endpoint_state(&fine, Outcome::Rejected, true, NOW).unwrap();
        assert_eq!(gone.disabled.as_ref().map(|disabled| disabled.at), Some(NOW));

        let failing = EndpointState { failing_since: Some(NOW), ..EndpointState::default() };
        let just_before = NOW.after(GIVE_UP_ENDPOINT_AFTER).before(Duration::from_millis(1));
        assert_eq!(endpoint_state(&failing, Outcome::Retry, false, just_before), None);
        let at_last =
            endpoint_state(&failing, Outcome::Retry, false, NOW.after(GIVE_UP_ENDPOINT_AFTER)).unwrap();
        assert!(at_last.disabled.is_some_and(|disabled| disabled.reason.contains("120 hours")));
    }
}
