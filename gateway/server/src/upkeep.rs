//! What the journal needs now and then: finished events, and messages of queues, are removed when their
//! retention is over.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hookweir_journal::Journal;
use hookweir_model::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Destination;
use crate::live::Live;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Events removed by one call, so that senders wait no longer than for one group of writes.
const BUDGET: usize = 2000;

/// Runs until `stop`.
pub(crate) async fn run(
    journal: Arc<dyn Journal>,
    live: Arc<ArcSwap<Live>>,
    retention: Duration,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let mut removed = 0;
        loop {
            match journal.expire(Timestamp::now().before(retention), BUDGET).await {
                Ok(expired) => {
                    removed += expired.events;
                    if !expired.more || stop.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    warn!(%error, "failed to remove old events");
                    break;
                }
            }
        }
        if removed > 0 {
            info!(removed, "old events were removed");
        }
        match expire_messages(&*journal, &live.load_full(), retention, &stop).await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "old messages were removed from queues"),
            Err(error) => warn!(%error, "failed to remove old messages from queues"),
        }
    }
}

/// Removes messages that nobody has fetched in time; those of an endpoint that is gone are kept as long as events.
async fn expire_messages(
    journal: &dyn Journal,
    live: &Live,
    retention: Duration,
    stop: &CancellationToken,
) -> Result<u64, hookweir_journal::Error> {
    let mut removed = 0;
    for queue in journal.queues().await? {
        let own = live.endpoint(&queue).and_then(|endpoint| match &endpoint.settings.target {
            Destination::Pull(pull) => pull.retention,
            Destination::Outside(_) => None,
        });
        let before = Timestamp::now().before(own.unwrap_or(retention));
        loop {
            let gone = journal.expire_messages(&queue, before, BUDGET).await?;
            removed += gone;
            if gone < BUDGET as u64 || stop.is_cancelled() {
                break;
            }
        }
    }
    Ok(removed)
}
