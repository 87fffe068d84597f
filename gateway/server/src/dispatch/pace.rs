//! How fast a lane may try: its endpoint's rate, and a breaker that stops trying a receiver that only fails.
//!
//! A plain state machine of what happened and when. The breaker opens on failures in a row; after a pause one delivery
//! goes out as a probe. Where it arrives, deliveries are let out again, one more at a time for each that arrives: a
//! receiver that has just come back is not flooded. Nothing is lost or counted as an attempt meanwhile: deliveries wait.

use std::time::{Duration, Instant};

use hookweir_model::{BreakerPolicy, PacePolicy};

use super::timer::Timer;

#[derive(Debug, Default)]
pub(super) struct Pace {
    breaker: Breaker,
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

impl Pace {
    /// How many attempts may be in flight, by the breaker.
    pub(super) fn limit(&mut self, policy: &PacePolicy, now: Instant) -> Limit {
        if policy.breaker.is_none() {
            self.breaker = Breaker::default();
        }
        if let Breaker::Open { until, pause } = self.breaker {
            if now < until {
                return Limit::Wait(until);
            }
            self.breaker = Breaker::Probing { pause };
        }
        Limit::InFlight(match self.breaker {
            Breaker::Probing { .. } => 1,
            Breaker::Opening { limit, .. } => limit.min(policy.concurrency),
            Breaker::Closed { .. } | Breaker::Open { .. } => policy.concurrency,
        })
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

    /// Learns how an attempt ended. Answers whether this opened the breaker.
    pub(super) fn note(&mut self, policy: &PacePolicy, delivered: bool, now: Instant) -> bool {
        let Some(BreakerPolicy { failures: most, pause: first }) = policy.breaker else { return false };
        let open = |pause: Duration| Breaker::Open { until: now + pause, pause };
        let next = match (self.breaker, delivered) {
            (Breaker::Closed { .. }, true) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, false) if failures + 1 >= most => open(first),
            (Breaker::Closed { failures }, false) => Breaker::Closed { failures: failures + 1 },
            // Of those that were in flight when it opened: a failure says nothing new, an arrival that it is over.
            (Breaker::Open { .. }, false) => self.breaker,
            (Breaker::Open { pause, .. } | Breaker::Probing { pause }, true) => {
                Breaker::Opening { limit: 2, pause }
            }
            (Breaker::Probing { pause }, false) => open((pause * 2).min(BreakerPolicy::LONGEST_PAUSE)),
            (Breaker::Opening { limit, .. }, true) if limit >= policy.concurrency => {
                Breaker::Closed { failures: 0 }
            }
            (Breaker::Opening { limit, pause }, true) => Breaker::Opening { limit: limit + 1, pause },
            (Breaker::Opening { pause, .. }, false) => open(pause),
        };
        let opened = matches!(next, Breaker::Open { .. }) && next != self.breaker;
        self.breaker = next;
        opened
    }

    /// An operator switched the endpoint on: begin with one at a time, as after a pause.
    pub(super) fn start_anew(&mut self, policy: &PacePolicy) {
        if let Some(BreakerPolicy { pause, .. }) = policy.breaker {
            self.breaker = Breaker::Opening { limit: 1, pause };
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.breaker {
            Breaker::Closed { .. } => BreakerState::Closed,
            Breaker::Open { until, .. } if now < until => BreakerState::Open(until.duration_since(now)),
            Breaker::Open { .. } | Breaker::Probing { .. } | Breaker::Opening { .. } => {
                BreakerState::HalfOpen
            }
        }
    }
}

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
            assert!(!pace.note(&policy(), delivered, now));
        }
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(4));
        assert!(pace.note(&policy(), false, now));
        assert!(!pace.note(&policy(), false, now), "those that were in flight say nothing new");
        assert_eq!(pace.limit(&policy(), now + 4 * SECOND), Limit::Wait(now + 10 * SECOND));
        assert_eq!(pace.state(now + 4 * SECOND), BreakerState::Open(6 * SECOND));
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_and_one_that_arrives_lets_out_more_and_more() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.note(&policy(), false, now);
        }
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(pace.limit(&policy(), now), Limit::Wait(now + pause * SECOND));
            now += pause * SECOND;
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
            assert_eq!(pace.state(now), BreakerState::HalfOpen);
            assert!(pace.note(&policy(), false, now));
        }
        now += 300 * SECOND;
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
        for limit in [2, 3, 4] {
            assert!(!pace.note(&policy(), true, now));
            assert_eq!(pace.limit(&policy(), now), Limit::InFlight(limit));
            assert_eq!(pace.state(now), BreakerState::HalfOpen);
        }
        pace.note(&policy(), true, now);
        assert_eq!(pace.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_failure_while_it_lets_out_more_opens_it_for_as_long_as_before() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.start_anew(&policy());
        assert_eq!(pace.limit(&policy(), now), Limit::InFlight(1));
        pace.note(&policy(), true, now);
        assert!(pace.note(&policy(), false, now));
        assert_eq!(pace.limit(&policy(), now), Limit::Wait(now + 10 * SECOND));
    }

    #[test]
    fn without_a_breaker_nothing_waits() {
        let off = PacePolicy { breaker: None, ..policy() };
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.note(&policy(), false, now);
        }
        assert_eq!(pace.limit(&off, now), Limit::InFlight(4), "a reload takes it away");
        (0..99).for_each(|_| assert!(!pace.note(&off, false, now)));
        assert_eq!(pace.limit(&off, now), Limit::InFlight(4));
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
