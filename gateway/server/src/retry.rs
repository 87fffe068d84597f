//! When a failed attempt is tried again: pure functions of the policy, the history and the dice.

use std::time::Duration;

use hookweir_model::RetryPolicy;

/// The wait after the `failed`-th attempt of a round, or `None` when the policy's attempts are used up.
///
/// `dice` is a number in `0.0..1.0`; the receiver's `retry_after` may lengthen the wait, never shorten it.
pub(crate) fn wait(
    policy: &RetryPolicy,
    failed: u32,
    retry_after: Option<Duration>,
    dice: f64,
) -> Option<Duration> {
    let index = usize::try_from(failed).ok()?.checked_sub(1)?;
    let planned = policy.waits.get(index)?;
    let jittered = planned.mul_f64(1.0 + policy.jitter * dice);
    Some(jittered.max(retry_after.unwrap_or(Duration::ZERO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_ims_rule_is_three_attempts_one_second_apart() {
        let ims = RetryPolicy::ims();
        for (failed, wanted) in [(0, None), (1, Some(SECOND)), (2, Some(SECOND)), (3, None), (u32::MAX, None)]
        {
            assert_eq!(wait(&ims, failed, None, 0.99), wanted, "after attempt {failed}");
        }
    }

    #[test]
    fn jitter_lengthens_by_its_share_at_most() {
        let standard = RetryPolicy::standard();
        assert_eq!(wait(&standard, 1, None, 0.0), Some(5 * SECOND));
        assert_eq!(wait(&standard, 1, None, 0.5), Some(Duration::from_millis(5500)));
        assert!(wait(&standard, 1, None, 0.999).is_some_and(|wait| wait < 6 * SECOND));
        assert_eq!(wait(&standard, 9, None, 0.0), Some(24 * 3600 * SECOND));
        assert_eq!(wait(&standard, 10, None, 0.0), None);
    }

    #[test]
    fn retry_after_lengthens_and_never_shortens() {
        let standard = RetryPolicy::standard();
        for (asked, wanted) in [(0, 5), (3, 5), (7, 7), (86_400, 86_400)] {
            assert_eq!(
                wait(&standard, 1, Some(asked * SECOND), 0.0),
                Some(wanted * SECOND),
                "asked for {asked} s"
            );
        }
        assert_eq!(wait(&standard, 10, Some(SECOND), 0.0), None, "an asked wait makes no further attempt");
    }
}
