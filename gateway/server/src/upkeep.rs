//! What the journal needs now and then: finished events are removed when their retention is over.

use std::sync::Arc;
use std::time::Duration;

use hookweir_journal::Journal;
use hookweir_model::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Events removed by one call, so that senders wait no longer than for one group of writes.
const BUDGET: usize = 2000;

/// Runs until `stop`.
pub(crate) async fn run(journal: Arc<dyn Journal>, retention: Duration, stop: CancellationToken) {
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
    }
}
