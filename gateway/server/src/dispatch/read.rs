//! Brings what is due from the journal, as there is room for it, and sets the timer for what is due next.

use std::sync::Arc;
use std::time::Duration;

use hookweir_journal::{Amount, Due, Seq};
use hookweir_model::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::budget::{Room, Turn};
use super::lane::{Lane, Ready};
use super::work::AFTER_A_FAULT;
use super::{Shared, queue};

/// How long a lane that holds nothing waits for its turn before the others let go of what only waits in them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Grants room to the lanes that wait for it, in their turn, until attempts are to stop.
pub(super) async fn grant(shared: Arc<Shared>) {
    let budget = &shared.budget;
    let mut since = Instant::now();
    loop {
        let is_awaited = budget.is_awaited();
        if !is_awaited {
            since = Instant::now();
        }
        tokio::select! {
            () = budget.changed() => {}
            () = sleep_until(since + PATIENCE), if is_awaited => {
                shared.shed();
                since = Instant::now();
            }
            () = shared.stopping.cancelled() => return,
        }
        while let Some(turn) = budget.next() {
            since = Instant::now();
            match turn {
                Turn::Begin(lane) => {
                    lane.queue().ungate();
                    shared.pump(&lane);
                }
                Turn::Read { lane, room, bytes } => {
                    shared.begin_read(&lane, room, bytes);
                    shared.pump(&lane);
                }
            }
        }
    }
}

impl Shared {
    /// Starts a read of the lane, if it still wants one. `bytes` is what the read may bring: where a single delivery is larger
    /// than all of the budget, that is more than there is room for.
    pub(super) fn begin_read(self: &Arc<Self>, lane: &Arc<Lane>, room: Room, bytes: usize) {
        // A lane that is switched off, or whose breaker is open, would let go of it at once.
        let is_on = self.is_on(lane);
        let mut queue = lane.queue();
        let skip = if is_on { queue.begin_read() } else { queue.withdraw() };
        drop(queue);
        if let Some(skip) = skip {
            self.tasks.spawn(read(Arc::clone(self), Arc::clone(lane), skip, room, bytes));
        }
    }

    /// Lanes let go of what only waits in them, where another lane holds nothing and waits: that may be long, as for the rate of
    /// the endpoint. It is read again in its turn.
    fn shed(self: &Arc<Self>) {
        if !self.budget.has_idle() {
            return;
        }
        for lane in self.all_lanes() {
            // Dropped outside the lock: the entries give their memory back.
            let shed = lane.queue().shed();
            if !shed.is_empty() {
                drop(shed);
                self.pump(&lane);
            }
        }
    }

    /// Has the lane look at what is on disk after a fault of the gateway's own.
    pub(super) fn look_later(self: &Arc<Self>, lane: &Arc<Lane>) {
        self.pump_after(lane, AFTER_A_FAULT, |lane| {
            lane.queue().look_again();
            true
        });
    }
}

/// A read under way. Dropped before its end, as by a panic, it is given up, and the lane reads again later.
pub(super) struct Reading<'a> {
    shared: &'a Arc<Shared>,
    lane: &'a Arc<Lane>,
    /// The lane has what was read; when the next is due is not known yet.
    is_brought: bool,
    is_over: bool,
}

impl<'a> Reading<'a> {
    pub(super) const fn new(shared: &'a Arc<Shared>, lane: &'a Arc<Lane>) -> Self {
        Self { shared, lane, is_brought: false, is_over: false }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if !self.is_brought {
            self.lane.queue().abandon_read();
        }
        self.shared.look_later(self.lane);
    }
}

async fn read(shared: Arc<Shared>, lane: Arc<Lane>, skip: Vec<Seq>, mut room: Room, bytes: usize) {
    let mut reading = Reading::new(&shared, &lane);
    let Ok(_permit) = shared.reads.acquire().await else { return };
    // Of an endpoint that is gone, everything is wanted at once: it is to be cancelled, whenever it was due.
    let gone = shared.live.load().endpoint(&lane.key).is_none();
    let now = if gone { Timestamp::from_millis(i64::MAX) } else { shared.clock.now() };
    let most = Amount { deliveries: queue::READ, bytes };
    let Due { deliveries, next_bytes } = match shared.journal.due(&lane.key, now, &skip, most).await {
        Ok(due) => due,
        Err(error) => {
            error!(
                target: "hookweir::delivery",
                endpoint = %lane.key,
                %error,
                "failed to read pending deliveries; trying again"
            );
            return;
        }
    };
    let full = deliveries.len() >= queue::READ || next_bytes.is_some();
    let entries = deliveries.into_iter().map(|due| Ready::read(due, &shared.events, &mut room)).collect();
    // What the read did not need is there for others before this lane asks again.
    drop(room);
    let held = {
        let mut queue = lane.queue();
        queue.end_read(entries, full, next_bytes);
        queue.held()
    };
    reading.is_brought = true;
    shared.pump(&lane);
    if full {
        reading.is_over = true;
        return;
    }
    match shared.journal.next_due(&lane.key, &held).await {
        Ok(Some(head)) => match head.due {
            Some(due) => shared.expect(&lane, due),
            None => {
                lane.queue().miss();
                shared.pump(&lane);
            }
        },
        Ok(None) => {}
        Err(error) => {
            error!(
                target: "hookweir::delivery",
                endpoint = %lane.key,
                %error,
                "failed to read when the next retry is due; trying again"
            );
            return;
        }
    }
    reading.is_over = true;
}
