//! How fast a lane may try: its endpoint's rate, and a breaker that stops trying a receiver that only fails.
//!
//! A plain state machine of what happened and when. The breaker opens on failures in a row; after a pause one delivery
//! goes out as a probe. Where it arrives, deliveries are let out again, one more at a time for each that arrives: a
//! receiver that has just come back is not flooded. Nothing is lost or counted as an attempt meanwhile: deliveries wait.
//!
//! A receiver that asks to be left alone until a time is left alone until then in the same way, whatever the breaker is at,
//! and nothing is counted for that.

use std::time::{Duration, Instant};

use hookweir_model::{BreakerPolicy, PacePolicy};

use super::timer::Timer;

#[derive(Debug, Default)]
pub(super) struct Pace {
    breaker: Breaker,
    /// What the receiver has asked for, until as many are in flight again as may be.
    asked: Option<Asked>,
    /// Failures since the last arrival.
    in_a_row: u32,
    /// When an outage was over last.
    over: Option<Instant>,
    /// The earliest moment at which the next attempt may begin, by the rate.
    next: Option<Instant>,
    /// When the lane is looked at again.
    pub(super) timer: Timer<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    /// Closed, after so many failures in a row.
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// The pause is over: one may be in flight.
    Probing {
        pause: Duration,
    },
    /// It was open: so many may be in flight.
    Opening {
        limit: usize,
        pause: Duration,
    },
}

/// A receiver has asked to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    until: Instant,
    /// How often it has asked in a row: each of its answers since then asked again.
    times: u32,
    /// So many may be in flight after that.
    limit: usize,
}

/// What an attempt says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Delivered,
    Failed,
    /// It failed, and says nothing of deliveries that nobody has sent again.
    FailedAgain,
    /// The receiver is there, and does not want this very event.
    Refused,
    /// The receiver asks to be left alone for so long.
    Later(Duration),
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// What is seen of the breaker from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerState {
    Closed,
    /// It is open, and for how much longer.
    Open(Duration),
    /// A probe is under way, or it lets out more and more.
    HalfOpen,
}

impl BreakerState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How many attempts may be in flight now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    InFlight(usize),
    /// None before then.
    Wait(Instant),
}

/// What begins with an attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// The breaker is open.
    Open,
    /// The receiver is left alone for so long, as it asks.
    Wait(Duration),
    /// It took one, after the breaker was open or after failures in a row.
    Back { was_stopped: bool },
}

impl Pace {
    /// How many attempts may be in flight, by the breaker.
    pub(super) fn limit(&mut self, policy: &PacePolicy, now: Instant) -> Limit {
        if policy.breaker.is_none() {
            self.breaker = Breaker::default();
        }
        let asked = self.asked.map(|asked| asked.until).filter(|until| now < *until);
        if let Breaker::Open { until, pause } = self.breaker {
            if now < until {
                return Limit::Wait(asked.map_or(until, |asked| asked.max(until)));
            }
            self.breaker = Breaker::Probing { pause };
        }
        if let Some(until) = asked {
            return Limit::Wait(until);
        }
        let limit = match self.breaker {
            Breaker::Probing { .. } => 1,
            Breaker::Opening { limit, .. } => limit.min(policy.concurrency),
            Breaker::Closed { .. } | Breaker::Open { .. } => policy.concurrency,
        };
        Limit::InFlight(self.asked.map_or(limit, |asked| limit.min(asked.limit)))
    }

    /// Takes a place of the rate for an attempt that begins now; else says when there is one.
    pub(super) fn begin(&mut self, policy: &PacePolicy, now: Instant) -> Result<(), Instant> {
        let Some(per_second) = policy.per_second else { return Ok(()) };
        let interval = Duration::from_secs(1) / per_second.max(1);
        // A timer that wakes late makes up for it within this time, and no further: rates hold over any longer span.
        let next = self.next.map_or(now, |next| next.max(now.checked_sub(CATCH_UP).unwrap_or(now)));
        if next > now {
            return Err(next);
        }
        self.next = Some(next + interval);
        Ok(())
    }

    /// Learns how an attempt ended. Answers what begins with that.
    pub(super) fn note(&mut self, policy: &PacePolicy, heard: Heard, now: Instant) -> Option<Begins> {
        match heard {
            Heard::Later(wait) => return self.leave_alone(wait, now),
            Heard::Delivered | Heard::Refused => {
                self.asked = self.asked.and_then(|asked| asked.answered(policy.concurrency, now));
            }
            Heard::Failed | Heard::FailedAgain => {}
        }
        let was_stopped = matches!(self.breaker, Breaker::Open { .. } | Breaker::Probing { .. });
        let has_opened = self.judge(policy, heard, now);
        let failures = match heard {
            Heard::Delivered => std::mem::take(&mut self.in_a_row),
            Heard::Failed | Heard::FailedAgain => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                0
            }
            Heard::Refused | Heard::Later(_) => 0,
        };
        let is_back = heard == Heard::Delivered && (was_stopped || failures >= OUTAGE);
        has_opened.then_some(Begins::Open).or(is_back.then_some(Begins::Back { was_stopped }))
    }

    /// An outage is over: says whether all that waits is to be sent now, which is so once in a while, or a receiver that fails
    /// and takes one in turn would have all schedules used up. Then one more is let out at a time.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.over.is_some_and(|before| now.saturating_duration_since(before) < BETWEEN_OUTAGES) {
            return false;
        }
        self.over = Some(now);
        if matches!(self.breaker, Breaker::Closed { .. }) && self.asked.is_none() {
            self.asked = Some(Asked { until: now, times: 0, limit: 2 });
        }
        true
    }

    /// The receiver asks to be left alone. Those that were in flight when it first did so ask for the same.
    fn leave_alone(&mut self, wait: Duration, now: Instant) -> Option<Begins> {
        let before = self.asked;
        let is_known = before.is_some_and(|asked| now < asked.until);
        let times = before.map_or(0, |asked| asked.times) + u32::from(!is_known);
        // One that does nothing but ask is asked less and less often.
        let least = if is_known { Duration::ZERO } else { patience(times) };
        let until = now + wait.max(least);
        let until = before.map_or(until, |asked| asked.until.max(until));
        self.asked = Some(Asked { until, times, limit: 1 });
        (!is_known).then(|| Begins::Wait(until.saturating_duration_since(now)))
    }

    /// Whether what was heard opened the breaker.
    fn judge(&mut self, policy: &PacePolicy, heard: Heard, now: Instant) -> bool {
        use Heard::{Delivered, Failed, FailedAgain, Refused};
        let Some(BreakerPolicy { failures: most, pause: first }) = policy.breaker else { return false };
        let open = |pause: Duration| Breaker::Open { until: now + pause, pause };
        let next = match (self.breaker, heard) {
            (Breaker::Closed { .. }, Delivered) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, Failed) if failures + 1 >= most => open(first),
            (Breaker::Closed { failures }, Failed) => Breaker::Closed { failures: failures + 1 },
            // Of those that were in flight when it opened: a failure says nothing new, an answer that it is over.
            (Breaker::Open { .. }, Failed | FailedAgain) => self.breaker,
            (Breaker::Open { pause, .. } | Breaker::Probing { pause }, Delivered | Refused) => {
                Breaker::Opening { limit: 2, pause }
            }
            (Breaker::Probing { pause }, Failed | FailedAgain) => {
                open((pause * 2).min(BreakerPolicy::LONGEST_PAUSE))
            }
            (Breaker::Opening { limit, .. }, Delivered) if limit >= policy.concurrency => {
                Breaker::Closed { failures: 0 }
            }
            (Breaker::Opening { limit, pause }, Delivered) => Breaker::Opening { limit: limit + 1, pause },
            (Breaker::Opening { pause, .. }, Failed | FailedAgain) => open(pause),
            (Breaker::Closed { .. }, FailedAgain | Refused)
            | (Breaker::Opening { .. }, Refused)
            | (_, Heard::Later(_)) => self.breaker,
        };
        let opened = matches!(next, Breaker::Open { .. }) && next != self.breaker;
        self.breaker = next;
        opened
    }

    /// An operator switched the endpoint on, or wants what waits to be sent: begin with one at a time, as after a pause.
    pub(super) fn start_anew(&mut self, policy: &PacePolicy) {
        self.asked = None;
        if let Some(BreakerPolicy { pause, .. }) = policy.breaker {
            self.breaker = Breaker::Opening { limit: 1, pause };
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        let asked = self.asked.map(|asked| asked.until.saturating_duration_since(now));
        let left_alone = asked.filter(|wait| !wait.is_zero());
        match self.breaker {
            Breaker::Open { until, .. } if now < until => {
                BreakerState::Open(until.duration_since(now).max(left_alone.unwrap_or_default()))
            }
            _ if left_alone.is_some() => BreakerState::Open(left_alone.unwrap_or_default()),
            Breaker::Closed { .. } if self.asked.is_some() => BreakerState::HalfOpen,
            Breaker::Closed { .. } => BreakerState::Closed,
            Breaker::Open { .. } | Breaker::Probing { .. } | Breaker::Opening { .. } => {
                BreakerState::HalfOpen
            }
        }
    }
}

impl Asked {
    /// It took one: one more may be in flight, until that is as many as ever. What was in flight when it asked counts for
    /// nothing.
    fn answered(self, concurrency: usize, now: Instant) -> Option<Self> {
        if now < self.until {
            return Some(self);
        }
        (self.limit < concurrency).then_some(Self { times: 0, limit: self.limit + 1, ..self })
    }
}

/// How long a receiver is left alone at least that asks for it so often in a row.
fn patience(times: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    let doubled = 2_u32.saturating_pow(times.saturating_sub(2));
    if times < 2 { Duration::ZERO } else { FIRST.saturating_mul(doubled).min(BreakerPolicy::LONGEST_PAUSE) }
}

/// So many failures in a row are more than bad luck.
const OUTAGE: u32 = 5;

/// How long after an outage another one counts.
const BETWEEN_OUTAGES: Duration = Duration::from_secs(60);

/// How much of its rate a lane may make up for after it was woken late.
const CATCH_UP: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> PacePolicy {
        let breaker = Some(BreakerPolicy { failures: 3, pause: 10 * SECOND });
        PacePolicy { concurrency: 4, per_second: None, breaker }
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_arrival_between_them_does_not() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for delivered in [false, false, true, false, false] {
            let heard = if delivered { Heard::Delivered } else { Heard::Failed };
            assert_eq!(pace.note(&policy(), heard, now), None);
        }
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(4));
        assert_eq!(pace.note(&policy(), Heard::Failed, now), Some(Begins::Open));
        assert_eq!(
            pace.note(&policy(), Heard::Failed, now),
            None,
            "those that were in flight say nothing new"
        );
        assert_eq!(pace.limit(&policy(), now + 4 * SECOND), Limit::Wait(now + 10 * SECOND));
        assert_eq!(pace.state(now + 4 * SECOND), BreakerState::Open(6 * SECOND));
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_and_one_that_arrives_lets_out_more_and_more() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.note(&policy(), Heard::Failed, now);
        }
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(pace.limit(&policy(), now), Limit::Wait(now + pause * SECOND));
            now += pause * SECOND;
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
            assert_eq!(pace.state(now), BreakerState::HalfOpen);
            assert_eq!(pace.note(&policy(), Heard::Failed, now), Some(Begins::Open));
        }
        now += 300 * SECOND;
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
        for (limit, begins) in [(2, Some(Begins::Back { was_stopped: true })), (3, None), (4, None)] {
            assert_eq!(pace.note(&policy(), Heard::Delivered, now), begins);
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(limit));
            assert_eq!(pace.state(now), BreakerState::HalfOpen);
        }
        pace.note(&policy(), Heard::Delivered, now);
        assert_eq!(pace.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_failure_while_it_lets_out_more_opens_it_for_as_long_as_before() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.start_anew(&policy());
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
        pace.note(&policy(), Heard::Delivered, now);
        assert_eq!(pace.note(&policy(), Heard::Failed, now), Some(Begins::Open));
        assert_eq!(pace.limit(&policy(), now), Limit::Wait(now + 10 * SECOND));
    }

    #[test]
    fn without_a_breaker_nothing_waits() {
        let off = PacePolicy { breaker: None, ..policy() };
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.note(&policy(), Heard::Failed, now);
        }
        assert_eq!(pace.limit(&off, now), Limit::InFlight(4), "a reload takes it away");
        (0..99).for_each(|_| assert_eq!(pace.note(&off, Heard::Failed, now), None));
        assert_eq!(pace.limit(&off, now), Limit::InFlight(4));
    }

    #[test]
    fn what_blames_one_event_or_was_sent_again_does_not_open_it() {
        use Heard::{Delivered, Failed, FailedAgain, Refused};
        for (heard, opens) in [
            (vec![Refused; 9], false),
            (vec![FailedAgain; 9], false),
            (vec![Failed, Refused, Failed, FailedAgain], false),
            (vec![Failed, Refused, Failed, FailedAgain, Failed], true),
            (vec![Failed, Failed, Delivered, Failed, Failed], false),
        ] {
            let (mut pace, now) = (Pace::default(), Instant::now());
            let opened = heard.iter().any(|heard| pace.note(&policy(), *heard, now).is_some());
            assert_eq!(opened, opens, "{heard:?}");
        }
    }

    #[test]
    fn a_probe_that_is_sent_again_or_refused_is_judged_too() {
        for (heard, limit) in [
            (Heard::FailedAgain, Limit::Wait(Instant::now())),
            (Heard::Refused, Limit::InFlight(2)),
            (Heard::Delivered, Limit::InFlight(2)),
        ] {
            let (mut pace, now) = (Pace::default(), Instant::now());
            for _ in 0..3 {
                pace.note(&policy(), Heard::Failed, now);
            }
            let now = now + 10 * SECOND;
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
            pace.note(&policy(), heard, now);
            let limit = if matches!(limit, Limit::Wait(_)) { Limit::Wait(now + 20 * SECOND) } else { limit };
            assert_eq!(pace.limit(&policy(), now), limit, "{heard:?}");
        }
    }

    #[test]
    fn a_receiver_is_back_after_the_breaker_was_open_or_failures_in_a_row() {
        let off = PacePolicy { breaker: None, ..policy() };
        for (policy, failures, wanted) in [
            (policy(), 2, None),
            (policy(), 3, Some(Begins::Back { was_stopped: true })),
            (off, OUTAGE - 1, None),
            (off, OUTAGE, Some(Begins::Back { was_stopped: false })),
        ] {
            let (mut pace, now) = (Pace::default(), Instant::now());
            for _ in 0..failures {
                pace.note(&policy, Heard::Failed, now);
            }
            assert_eq!(pace.note(&policy, Heard::Delivered, now), wanted, "{failures} of {policy:?}");
            assert_eq!(pace.note(&policy, Heard::Delivered, now), None);
        }
    }

    #[test]
    fn what_waited_is_let_out_one_more_at_a_time_and_once_in_a_while() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.is_over(now));
        for limit in [2, 3, 4] {
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(limit));
            pace.note(&policy(), Heard::Delivered, now);
        }
        assert_eq!(pace.state(now), BreakerState::Closed);
        assert!(!pace.is_over(now + 59 * SECOND));
        assert!(pace.is_over(now + 60 * SECOND));
    }

    #[test]
    fn a_receiver_that_asks_for_it_is_left_alone_and_then_tried_by_one_by_two_by_more() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let later = Heard::Later(5 * SECOND);
        assert_eq!(pace.note(&policy(), later, now), Some(Begins::Wait(5 * SECOND)));
        // Those that were in flight: one more that asks, later, and one that arrived.
        let then = now + SECOND;
        assert_eq!(pace.note(&policy(), later, then), None, "it is known");
        pace.note(&policy(), Heard::Delivered, then);
        assert_eq!(pace.limit(&policy(), then), Limit::Wait(now + 6 * SECOND));
        assert_eq!(pace.state(then), BreakerState::Open(5 * SECOND));
        let then = now + 6 * SECOND;
        for limit in [1, 2, 3, 4] {
            assert_eq!(pace.limit(&policy(), then), Limit::InFlight(limit));
            assert_eq!(pace.state(then), BreakerState::HalfOpen);
            pace.note(&policy(), Heard::Delivered, then);
        }
        assert_eq!(
            (pace.limit(&policy(), then), pace.state(then)),
            (Limit::InFlight(4), BreakerState::Closed)
        );
    }

    #[test]
    fn a_receiver_that_only_asks_is_asked_less_and_less_often_and_counts_as_no_failure() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for wait in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let begins = pace.note(&policy(), Heard::Later(Duration::ZERO), now);
            assert_eq!(begins, Some(Begins::Wait(wait * SECOND)));
            now += wait * SECOND;
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
        }
        pace.note(&policy(), Heard::Delivered, now);
        let begins = pace.note(&policy(), Heard::Later(7 * SECOND), now);
        assert_eq!(begins, Some(Begins::Wait(7 * SECOND)), "it counts from the start again");
    }

    #[test]
    fn a_probe_is_not_before_the_time_that_was_asked_for() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.note(&policy(), Heard::Later(60 * SECOND), now);
        for _ in 0..3 {
            pace.note(&policy(), Heard::Failed, now);
        }
        assert_eq!(pace.limit(&policy(), now), Limit::Wait(now + 60 * SECOND));
        assert_eq!(pace.limit(&policy(), now + 10 * SECOND), Limit::Wait(now + 60 * SECOND));
        assert_eq!(pace.limit(&policy(), now + 60 * SECOND), Limit::InFlight(1));
        let off = PacePolicy { breaker: None, ..policy() };
        let mut pace = Pace::default();
        pace.note(&off, Heard::Later(60 * SECOND), now);
        assert_eq!(pace.limit(&off, now), Limit::Wait(now + 60 * SECOND), "without a breaker too");
        pace.start_anew(&off);
        assert_eq!(pace.limit(&off, now), Limit::InFlight(4), "an operator knows better");
    }

    #[test]
    fn a_rate_holds_over_any_second() {
        for per_second in [1, 7, 50, 999, 20_000] {
            let policy = PacePolicy { per_second: Some(per_second), ..policy() };
            let (mut pace, start) = (Pace::default(), Instant::now());
            // Woken by a timer of whole milliseconds, which may come late.
            let (mut now, mut begun) = (start, Vec::new());
            while now < start + 3 * SECOND {
                match pace.begin(&policy, now) {
                    Ok(()) => begun.push(now),
                    Err(at) => {
                        let millis = u64::try_from(at.duration_since(now).as_millis()).unwrap() + 1;
                        now += Duration::from_millis(millis);
                    }
                }
            }
            let most = begun
                .iter()
                .enumerate()
                .map(|(first, at)| begun[first..].iter().take_while(|later| **later < *at + SECOND).count());
            let slack = (f64::from(per_second) * CATCH_UP.as_secs_f64()).ceil() as usize + 1;
            assert!(most.max().unwrap() <= per_second as usize + slack, "{per_second}");
            assert!(begun.len() + 3 >= 3 * per_second as usize * 9 / 10, "{per_second}: {}", begun.len());
        }
    }
}
