//! Carries results to the journal, in groups: while one group is being written the next one gathers, so that workers
//! never wait for a sync.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use hookweir_journal::{Error, Next, Seq, Settled, Settlement};
use hookweir_model::{Status, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use super::Shared;
use super::lane::{Held, Lane};
use crate::api::Told;
use crate::background::text;
use crate::metrics::Stage;

/// How many results may wait; beyond it workers wait too, which bounds memory when the journal stalls.
const WAITING: usize = 4096;
/// The largest group of one write.
const GROUP: usize = 1024;

#[derive(Debug)]
pub(super) enum Item {
    Settle {
        lane: Arc<Lane>,
        settlement: Box<Settlement>,
        /// What watchers hear of it, if there were any.
        told: Option<Box<Told>>,
        /// What it holds of the memory.
        held: Held,
        since: Instant,
    },
    /// Answered when all that was sent before is in the journal.
    Flush(oneshot::Sender<()>),
}

impl Item {
    pub(super) fn settle(
        lane: Arc<Lane>,
        settlement: Box<Settlement>,
        told: Option<Box<Told>>,
        held: Held,
    ) -> Self {
        Self::Settle { lane, settlement, told, held, since: Instant::now() }
    }
}

/// What must be done once a settlement is in the journal.
struct Pending {
    lane: Arc<Lane>,
    seq: Seq,
    told: Option<Box<Told>>,
    since: Instant,
    then: Then,
    /// Given back when the journal has the settlement.
    _held: Held,
}

#[derive(Clone, Copy)]
enum Then {
    Count(Status),
    /// It is delivered, to the queue that it was put into.
    Arrived,
    Expect(Timestamp),
}

pub(super) fn channel() -> (mpsc::Sender<Item>, mpsc::Receiver<Item>) {
    mpsc::channel(WAITING)
}

/// Runs until the journal breaks or every sender is gone.
pub(super) async fn run(shared: Arc<Shared>, results: mpsc::Receiver<Item>) {
    if let Err(panic) = AssertUnwindSafe(settle_all(&shared, results)).catch_unwind().await {
        // What of it is in the journal is not known here. Without a settler no place would ever be free again.
        let reason = text(panic.as_ref());
        error!(
            target: "hookweir::delivery",
            reason,
            "settling deliveries panicked; stopping, they are tried again after a restart"
        );
        shared.broken.cancel();
    }
}

async fn settle_all(shared: &Arc<Shared>, mut results: mpsc::Receiver<Item>) {
    let mut group = Vec::with_capacity(GROUP);
    while results.recv_many(&mut group, GROUP).await > 0 {
        let mut settlements = Vec::with_capacity(group.len());
        let mut pending = Vec::with_capacity(group.len());
        let mut flushes = Vec::new();
        for result in group.drain(..) {
            match result {
                Item::Flush(done) => flushes.push(done),
                Item::Settle { lane, settlement, told, held, since } => {
                    let then = match &settlement.next {
                        Next::Queued(_) => Then::Arrived,
                        Next::Final { status, .. } => Then::Count(*status),
                        Next::RetryAt { due, .. } => Then::Expect(*due),
                    };
                    pending.push(Pending { lane, seq: settlement.seq, told, since, then, _held: held });
                    settlements.push(*settlement);
                }
            }
        }
        match settle(shared, settlements).await {
            Ok(answers) => {
                for (pending, settled) in pending.iter_mut().zip(answers) {
                    finish(shared, pending, settled);
                }
                // Each lane is pumped once a group: what was settled together makes room together.
                let mut pumped = HashSet::new();
                for Pending { lane, .. } in &pending {
                    if pumped.insert(Arc::as_ptr(lane)) {
                        shared.pump(lane);
                    }
                }
            }
            Err(error) => {
                error!(
                    target: "hookweir::delivery",
                    %error,
                    "failed to settle deliveries; stopping, they are tried again after a restart"
                );
                shared.broken.cancel();
                return;
            }
        }
        for done in flushes {
            // A drain that no longer waits needs no answer.
            let _ = done.send(());
        }
    }
}

/// Writes a group. A group of flushes alone needs no write.
async fn settle(shared: &Shared, settlements: Vec<Settlement>) -> Result<Vec<Settled>, Error> {
    if settlements.is_empty() { Ok(Vec::new()) } else { shared.journal.settle(settlements).await }
}

fn finish(shared: &Arc<Shared>, pending: &mut Pending, settled: Settled) {
    let Pending { lane, seq, told, since, then, .. } = pending;
    shared.metrics.stage(Stage::Settle, since.elapsed());
    lane.queue().settled(*seq);
    if let (Settled::Applied, Some(told)) = (settled, told.take()) {
        shared.feed.tell(*told);
    }
    match (settled, *then) {
        (Settled::Applied, Then::Count(status)) => {
            lane.counters.count(status);
            if status != Status::Delivered {
                debug!(target: "hookweir::delivery", endpoint = %lane.key, %status, "delivery ended");
            }
        }
        (Settled::Applied, Then::Arrived) => {
            lane.counters.count(Status::Delivered);
            shared.queues.arrived(&lane.key);
        }
        (Settled::Applied | Settled::Repeated, Then::Expect(due)) => shared.expect(lane, due),
        (Settled::Repeated, Then::Count(_) | Then::Arrived) => {}
        (Settled::Stale, _) => {
            warn!(
                target: "hookweir::delivery",
                endpoint = %lane.key,
                "another node owns this endpoint now; the result was refused"
            );
        }
    }
}
