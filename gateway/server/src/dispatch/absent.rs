//! Endpoints that have left the configuration. It may be by accident, as by a disk that is mounted late: their deliveries wait
//! for a time, over restarts too, and go on where the endpoint comes back. Then they are cancelled, and `recover` finds
//! them.
//!
//! The time is that for which the gateway has run without the endpoint: neither a wall clock that is set nor a machine that
//! is off counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir_model::{EndpointKey, TenantId};
use tracing::{info, warn};

use super::Shared;
use super::lane::Lane;
use crate::live::Live;

/// The time is counted in steps of an eighth of it, and of these bounds: each step is written for each such endpoint.
const STEP: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(600));

/// Counts until the gateway stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut last = Instant::now();
    loop {
        let keep = shared.live.load().config.journal.keep_removed;
        tokio::select! {
            () = tokio::time::sleep((keep / 8).clamp(STEP.0, STEP.1)) => {}
            () = shared.stopping.cancelled() => return,
        }
        let passed = last.elapsed();
        last = Instant::now();
        shared.count_absence(passed).await;
    }
}

/// What becomes of the count of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// It stays as it is.
    Same,
    /// It is there.
    Ended,
    /// It was seen to be gone now.
    Begun,
    /// So many milliseconds, not yet enough.
    Goes(u64),
    /// So many milliseconds: its deliveries are to be cancelled.
    Over(u64),
}

/// Decides it. `counts`: whether the time counts, or the configuration is in part not known.
fn count(
    before: Option<u64>,
    is_there: bool,
    has_pending: bool,
    counts: bool,
    passed: Duration,
    keep: Duration,
) -> Count {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    match before {
        None if is_there => Count::Same,
        Some(_) if is_there => Count::Ended,
        _ if !has_pending || !counts => Count::Same,
        None => Count::Begun,
        Some(before) => {
            let now = before.saturating_add(millis(passed));
            if now < millis(keep) { Count::Goes(now) } else { Count::Over(now) }
        }
    }
}

impl Shared {
    /// Whether the deliveries of an endpoint that is not in the configuration are cancelled.
    pub(super) fn gives_up(&self, lane: &Lane, live: &Live) -> bool {
        let keep = live.config.journal.keep_removed;
        let absent = lane.fare().state.absent_ms;
        live.config.broken.is_empty()
            && (keep.is_zero() || absent.is_some_and(|absent| u128::from(absent) >= keep.as_millis()))
    }

    /// Adds the time that has passed to the count of each endpoint that is gone and has something pending.
    pub(super) async fn count_absence(self: &Arc<Self>, passed: Duration) {
        let pending: HashMap<EndpointKey, u64> = match self.journal.backlogs().await {
            Ok(backlogs) => backlogs.into_iter().map(|lane| (lane.endpoint, lane.pending)).collect(),
            Err(error) => {
                return warn!(
                    target: "hookweir::endpoint",
                    %error,
                    "failed to read what waits for endpoints that are gone"
                );
            }
        };
        let live = self.live.load_full();
        let keep = live.config.journal.keep_removed;
        let mut begun: BTreeMap<TenantId, (u64, u64)> = BTreeMap::new();
        for lane in self.all_lanes() {
            let waits = pending.get(&lane.key).copied().unwrap_or_default();
            let (is_there, counts) = (live.endpoint(&lane.key).is_some(), live.config.broken.is_empty());
            let next = {
                let mut fare = lane.fare();
                let next = count(fare.state.absent_ms, is_there, waits > 0, counts, passed, keep);
                fare.state.absent_ms = match next {
                    Count::Same => fare.state.absent_ms,
                    Count::Ended => None,
                    Count::Begun => Some(0),
                    Count::Goes(now) | Count::Over(now) => Some(now),
                };
                next
            };
            match next {
                Count::Begun => {
                    let (deliveries, endpoints) = begun.entry(lane.key.tenant.clone()).or_default();
                    *deliveries += waits;
                    *endpoints += 1;
                }
                Count::Over(_) => {
                    warn!(
                        target: "hookweir::endpoint",
                        endpoint = %lane.key,
                        deliveries = waits,
                        "deliveries are cancelled, since their endpoint is not in the configuration"
                    );
                    lane.queue().look_again();
                    self.pump(&lane);
                }
                Count::Ended => info!(
                    target: "hookweir::endpoint",
                    endpoint = %lane.key,
                    "the endpoint is in the configuration again"
                ),
                Count::Same | Count::Goes(_) => {}
            }
            let is_kept = {
                let fare = lane.fare();
                fare.state.absent_ms == fare.kept.absent_ms
            };
            if !is_kept && let Err(error) = self.keep_state(&lane).await {
                // It is right in memory, and is written with the next step.
                warn!(
                    target: "hookweir::endpoint",
                    endpoint = %lane.key,
                    %error,
                    "failed to keep the endpoint's state"
                );
            }
        }
        let keep = humantime::format_duration(keep);
        for (tenant, (deliveries, endpoints)) in
            begun.iter().filter(|_| !live.config.journal.keep_removed.is_zero())
        {
            warn!(
                target: "hookweir::endpoint",
                %tenant,
                deliveries,
                endpoints,
                %keep,
                "deliveries wait for endpoints that are not in the configuration; they are cancelled after that time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_goes_while_it_is_gone_and_something_waits() {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        for (before, is_there, has_pending, counts, passed, wanted) in [
            (None, true, true, true, second, Count::Same),
            (Some(5), true, true, true, second, Count::Ended),
            (Some(5), true, true, false, second, Count::Ended),
            (None, false, true, true, day, Count::Begun),
            (None, false, false, true, second, Count::Same),
            (None, false, true, false, second, Count::Same),
            (Some(5), false, true, true, second, Count::Goes(1005)),
            (Some(5), false, false, true, second, Count::Same),
            (Some(5), false, true, false, day, Count::Same),
            (Some(5), false, true, true, day, Count::Over(86_400_005)),
            (Some(86_399_000), false, true, true, second, Count::Over(86_400_000)),
        ] {
            assert_eq!(
                count(before, is_there, has_pending, counts, passed, day),
                wanted,
                "{before:?} {is_there}"
            );
        }
    }
}
