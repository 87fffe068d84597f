//! What happens right now, for whoever watches: `tail`, `--watch` and the dashboard.
//!
//! It is told once the journal has it and is kept nowhere: who starts to watch sees what comes from then on, and who
//! is too slow hears how much was missed. While nobody watches it costs a look at a counter.

use std::sync::Arc;

use hookweir_journal::{Next, Settlement};
use hookweir_model::{EndpointId, Event, Status};
use tokio::sync::broadcast;

use crate::api::{AttemptView, DeliveryView, Happening, Sees, Told};
use crate::clock::Clock;

/// How many happenings a watcher may be behind.
const BEHIND: usize = 4096;

#[derive(Debug)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Arc<Told>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND).0 }
    }
}

impl Feed {
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Told>> {
        self.sender.subscribe()
    }

    fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(crate) fn tell(&self, told: Told) {
        // An error means that the last watcher has just left.
        let _ = self.sender.send(Arc::new(told));
    }

    /// Tells that an event is in the journal, with a delivery for each of these endpoints.
    pub(crate) fn accepted(&self, event: &Event, endpoints: &[EndpointId]) {
        if self.is_watched() {
            let what = Happening::Accepted { event: event.into(), endpoints: endpoints.to_vec() };
            self.tell(Told { tenant: event.tenant.clone(), what });
        }
    }

    /// What is to be told of a delivery once its settlement is in the journal, if anybody watches.
    pub(crate) fn of_handled(
        &self,
        clock: &Clock,
        event: &Event,
        settlement: &Settlement,
        attempts: u32,
    ) -> Option<Box<Told>> {
        self.is_watched().then(|| Box::new(handled(clock, event, settlement, attempts)))
    }
}

fn handled(clock: &Clock, event: &Event, settlement: &Settlement, attempts: u32) -> Told {
    let (status, due, reason) = match &settlement.next {
        Next::Final { status, reason } => (*status, None, reason.clone()),
        Next::Queued(_) => (Status::Delivered, None, None),
        Next::RetryAt { due, reason } => {
            (Status::Pending, Some(clock.wall(*due).to_string()), reason.clone())
        }
    };
    let delivery = DeliveryView {
        event: event.id.clone(),
        endpoint: settlement.endpoint.endpoint.clone(),
        event_type: event.event_type.clone(),
        received: event.received.to_string(),
        status,
        attempts: settlement.attempt.as_ref().map_or(attempts, |attempt| attempt.number),
        due,
        reason,
    };
    let attempt = settlement.attempt.clone().map(|attempt| AttemptView::new(attempt, Sees::LEAST));
    Told {
        tenant: event.tenant.clone(),
        what: Happening::Handled { delivery, attempt: attempt.map(Box::new) },
    }
}
