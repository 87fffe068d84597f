//! What an endpoint's `concurrency`, `rate` and breaker allow, held against the requests that a receiver saw.
//!
//! The bounds are on what comes, from above, and hold however slowly gateway and receiver are run: a request that was begun
//! early and comes late is one of those under way, of which there are never more than `concurrency`.

use std::collections::VecDeque;
use std::time::Duration;

use hookweir_tests::Request;
use tokio::time::Instant;

/// How much of its rate a lane that was woken late may make up for, as docs/configuration.md says.
const CATCH_UP: Duration = Duration::from_millis(10);

/// What the endpoint's configuration says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub concurrency: usize,
    pub per_second: u32,
}

impl Bounds {
    /// The lines of the configuration that say so.
    pub(super) fn lines(self) -> String {
        let Self { concurrency, per_second } = self;
        format!("concurrency = {concurrency}\nrate = {{ per_second = {per_second} }}\n")
    }

    /// How many requests may come within any time of this length: those that begin in it, and those under way before.
    fn within(self, span: Duration) -> usize {
        let begun = (span + CATCH_UP).as_nanos() * u128::from(self.per_second) / 1_000_000_000 + 1;
        self.concurrency + usize::try_from(begun).expect("a number of requests")
    }

    /// Fails where more was under way, or came within any time, than is allowed.
    pub(super) fn hold(self, requests: &[Request]) {
        let most = most_under_way(requests);
        assert!(most <= self.concurrency, "{most} requests under way, {self:?}");
        let times = times(requests);
        for millis in [10, 100, 1_000, 10_000, 100_000] {
            let span = Duration::from_millis(millis);
            let (most, allowed) = (most_within(&times, span), self.within(span));
            assert!(most <= allowed, "{most} requests within {span:?} where {allowed} may come, {self:?}");
        }
    }
}

pub(super) fn most_under_way(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.in_flight).max().unwrap_or(0)
}

/// When the requests came, in their order.
pub(super) fn times(requests: &[Request]) -> Vec<Instant> {
    let mut times: Vec<Instant> = requests.iter().map(|request| request.at).collect();
    times.sort_unstable();
    times
}

/// The most of `times`, which are in order, that lie within any time of this length.
pub(super) fn most_within(times: &[Instant], span: Duration) -> usize {
    let (mut within, mut most) = (VecDeque::new(), 0);
    for time in times {
        within.push_back(*time);
        while within.front().is_some_and(|first| *time - *first > span) {
            within.pop_front();
        }
        most = most.max(within.len());
    }
    most
}

/// Fails where the requests, the first since the receiver is back among them, are let out faster than the breaker says:
/// one, and then one more at a time for each that has arrived.
pub(super) fn are_let_out_one_by_one(requests: &[Request]) {
    for (number, request) in (1..).zip(requests) {
        // Those that are not under way have arrived; so many may be under way with one more.
        let arrived = number - request.in_flight;
        assert!(
            request.in_flight <= arrived + 1,
            "request {number}: {} under way after {arrived} arrived",
            request.in_flight
        );
    }
}

/// Which request was the first to have 1, 2, ... under way.
pub(super) fn growth(requests: &[Request]) -> Vec<usize> {
    let first = |wanted| requests.iter().position(|request| request.in_flight >= wanted);
    (1..=most_under_way(requests)).filter_map(first).map(|index| index + 1).collect()
}

#[test]
fn the_most_within_a_time_is_counted_wherever_it_lies() {
    let start = Instant::now();
    let at = |millis: &[u64]| -> Vec<Instant> {
        millis.iter().map(|millis| start + Duration::from_millis(*millis)).collect()
    };
    let span = Duration::from_millis(10);
    assert_eq!(most_within(&at(&[]), span), 0);
    assert_eq!(most_within(&at(&[0, 11, 22]), span), 1);
    assert_eq!(most_within(&at(&[0, 7, 17, 17, 18, 40]), span), 3);
    assert_eq!(most_within(&at(&[0, 10]), span), 2, "both ends count");
}
