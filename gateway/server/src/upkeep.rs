//! What the journal needs now and then: the clock is kept, and finished events, and messages of queues, are removed when their
//! retention is over, by the time that the gateway ran and not by what a wall clock says that may have been set since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hookweir_journal::{Journal, Old};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Destination;
use crate::live::Live;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// How often the clock is kept while nothing is written: a machine that is idle writes nothing but this.
const IDLE: Duration = Duration::from_secs(3600);
/// Events removed by one call, so that senders wait no longer than for one group of writes.
const BUDGET: usize = 2000;

/// Runs until `stop`.
pub(crate) async fn run(
    journal: Arc<dyn Journal>,
    live: Arc<ArcSwap<Live>>,
    clock: Arc<Clock>,
    retention: Duration,
    stop: CancellationToken,
) {
    let mut kept = Kept { at: Instant::now(), writes: journal.writes() };
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        clock.look();
        kept.keep(&*journal, &clock).await;
        match expire_events(&*journal, &clock, retention, &stop).await {
            Ok(0) => {}
            Ok(removed) => info!(target: "hookweir::retention", removed, "old events were removed"),
            Err(error) => warn!(target: "hookweir::retention", %error, "failed to remove old events"),
        }
        match expire_messages(&*journal, &live.load_full(), &clock, retention, &stop).await {
            Ok(0) => {}
            Ok(removed) => info!(
                target: "hookweir::retention",
                removed,
                "old messages were removed from queues"
            ),
            Err(error) => warn!(
                target: "hookweir::retention",
                %error,
                "failed to remove old messages from queues"
            ),
        }
    }
}

/// When the clock was kept last.
struct Kept {
    at: Instant,
    writes: u64,
}

impl Kept {
    /// Keeps the clock, unless nothing was written since and that is not long ago.
    async fn keep(&mut self, journal: &dyn Journal, clock: &Clock) {
        if journal.writes() == self.writes && self.at.elapsed() < IDLE {
            return;
        }
        if let Err(error) = journal.keep_clock(&clock.to_keep()).await {
            // What is old is removed later for it.
            warn!(target: "hookweir::clock", %error, "failed to keep the clock");
            return;
        }
        *self = Self { at: Instant::now(), writes: journal.writes() };
    }
}

/// What was there so long ago. A gateway that has not run for so long yet has nothing of that age.
fn older(clock: &Clock, retention: Duration) -> Option<Old> {
    clock.running().checked_sub(retention).map(Old::At)
}

/// Removes events whose deliveries have all ended.
async fn expire_events(
    journal: &dyn Journal,
    clock: &Clock,
    retention: Duration,
    stop: &CancellationToken,
) -> Result<u64, hookweir_journal::Error> {
    let Some(old) = older(clock, retention) else { return Ok(0) };
    let mut removed = 0;
    loop {
        let expired = journal.expire(old, BUDGET).await?;
        removed += expired.events;
        if !expired.more || stop.is_cancelled() {
            return Ok(removed);
        }
    }
}

/// Removes messages that nobody has fetched in time; those of an endpoint that is gone are kept as long as events.
async fn expire_messages(
    journal: &dyn Journal,
    live: &Live,
    clock: &Clock,
    retention: Duration,
    stop: &CancellationToken,
) -> Result<u64, hookweir_journal::Error> {
    let mut removed = 0;
    for queue in journal.queues().await? {
        let own = live.endpoint(&queue).and_then(|endpoint| match &endpoint.settings.target {
            Destination::Pull(pull) => pull.retention,
            Destination::Outside(_) => None,
        });
        let Some(old) = older(clock, own.unwrap_or(retention)) else { continue };
        loop {
            let gone = journal.expire_messages(&queue, old, BUDGET).await?;
            removed += gone;
            if gone < BUDGET as u64 || stop.is_cancelled() {
                break;
            }
        }
    }
    Ok(removed)
}
