//! What attempts tell of an endpoint, a plugin and a delivery: the endpoint's state is kept, and its tenant is told of what has changed.

use std::sync::Arc;
use std::time::Instant;

use hookweir_journal::{Appended, NewEvent, Next, Selection, Settlement};
use hookweir_model::{Digest, Event, InvalidEventType, Outcome, Status, Timestamp};
use tracing::{error, info, warn};

use super::Shared;
use super::attempt::Sent;
use super::lane::Lane;
use super::pace::{Begins, Heard};
use crate::plugins::Watch;
use crate::settle::Moment;
use crate::{operational, settle};

impl Shared {
    /// Writes the endpoint's state as it is now, so that of two writes the later one has the last word.
    pub(super) async fn keep_state(&self, lane: &Lane) -> Result<(), hookweir_journal::Error> {
        let _order = self.state_writes.lock().await;
        let state = lane.fare().state.clone();
        self.journal.put_endpoint_state(&lane.key, &state).await?;
        lane.fare().kept = state;
        Ok(())
    }

    /// Learns from a request how the endpoint fares.
    pub(super) async fn note(self: &Arc<Self>, lane: &Arc<Lane>, sent: Sent, heard: Heard) {
        lane.counters.attempted(sent.outcome);
        // An attempt that ends is an occasion to see that the clock was set: the next ones sign by it.
        self.clock.look();
        let wall = Timestamp::now();
        let now = Moment { wall, time: self.clock.now(), running: self.clock.running() };
        let policy = self.live.load().endpoint(&lane.key).map(|endpoint| endpoint.settings.pace);
        let delivered = sent.outcome == Outcome::Delivered;
        let begins = policy.and_then(|policy| lane.pace().note(&policy, heard, Instant::now()));
        match begins {
            Some(Begins::Open) => {
                warn!(
                    target: "hookweir::endpoint",
                    endpoint = %lane.key,
                    "the endpoint only fails: its deliveries wait for a probe"
                );
            }
            Some(Begins::Wait(wait)) => {
                let seconds = wait.as_secs();
                info!(
                    target: "hookweir::endpoint",
                    endpoint = %lane.key,
                    seconds,
                    "the receiver asks to be left alone: its deliveries wait"
                );
            }
            Some(Begins::Back { .. }) | None => {}
        }
        let (keep, switched_off, recovered) = {
            let mut fare = lane.fare();
            let before = fare.state.disabled.is_some();
            let recovered =
                fare.state.failing.filter(|failing| delivered && settle::is_lasting(*failing, now));
            if let Some(next) = settle::endpoint_state(&fare.state, sent.outcome, sent.gone, now) {
                fare.state = next;
            }
            let switched_off = fare.state.disabled.clone().filter(|_| !before);
            (settle::worth_keeping(&fare.kept, &fare.state, now), switched_off, recovered)
        };
        if let Some(disabled) = switched_off {
            warn!(
                target: "hookweir::endpoint",
                endpoint = %lane.key,
                reason = disabled.reason,
                "endpoint disabled"
            );
            self.announce(operational::endpoint_disabled(&lane.key, &disabled)).await;
        }
        if let Some(failing) = recovered {
            let since = self.clock.wall(failing.since);
            info!(
                target: "hookweir::endpoint",
                endpoint = %lane.key,
                failing_since = %since,
                "endpoint recovered"
            );
            self.announce(operational::endpoint_recovered(&lane.key, since, wall)).await;
        }
        if let Some(Begins::Back { was_stopped }) = begins
            && (was_stopped || recovered.is_some())
            && lane.pace().is_over(Instant::now())
        {
            self.bring_forward(lane);
        }
        if keep && let Err(error) = self.keep_state(lane).await {
            // The state is right in memory, and is written again after the next attempt.
            warn!(
                target: "hookweir::endpoint",
                endpoint = %lane.key,
                %error,
                "failed to keep the endpoint's state"
            );
        }
    }

    /// What waits for the time of its next attempt goes now, at the lane's pace: the outage that it waited for is over.
    fn bring_forward(self: &Arc<Self>, lane: &Arc<Lane>) {
        let (shared, lane) = (Arc::clone(self), Arc::clone(lane));
        self.tasks.spawn(async move {
            match shared.journal.requeue(Selection::Waiting { endpoint: lane.key.clone() }).await {
                Ok(0) => {}
                Ok(deliveries) => {
                    info!(
                        target: "hookweir::endpoint",
                        endpoint = %lane.key,
                        deliveries,
                        "the endpoint is back: what waits is sent now"
                    );
                    lane.queue().look_again();
                    shared.pump(&lane);
                }
                // Each goes by its own schedule then.
                Err(error) => warn!(
                    target: "hookweir::endpoint",
                    endpoint = %lane.key,
                    %error,
                    "failed to bring forward what waits"
                ),
            }
        });
    }

    /// A plugin was paused for its failures. The tenant is told before the pause is kept: a crash between the two tells
    /// of it twice rather than never.
    pub(super) async fn paused(self: &Arc<Self>, watch: &Arc<Watch>) {
        let Some(paused) = watch.paused().filter(|_| self.plugins.is_in_force(watch)) else { return };
        warn!(target: "hookweir::plugin", plugin = %watch.key, reason = paused.reason, "plugin paused");
        self.pump_all(&watch.key.tenant);
        self.announce(operational::plugin_paused(&watch.key, &paused)).await;
        if let Err(error) = self.plugins.keep_pause(watch).await {
            // It is paused in memory. After a restart it is called again, and fails again.
            warn!(
                target: "hookweir::plugin",
                plugin = %watch.key,
                %error,
                "failed to keep the plugin's pause"
            );
        }
    }

    /// Tells of a delivery that has used up its attempts, where somebody asks for that, before it ends: a crash between
    /// the two tells of it twice rather than never. The end of an operational event's own delivery is told by nobody.
    pub(super) async fn exhausted(self: &Arc<Self>, lane: &Lane, of: &Event, settlement: &Settlement) {
        let (Next::Final { status: Status::Exhausted, .. }, Some(last)) =
            (&settlement.next, &settlement.attempt)
        else {
            return;
        };
        if operational::is_operational(&of.event_type) {
            return;
        }
        let event = operational::delivery_exhausted(&lane.key, of, last, Timestamp::now());
        let live = self.live.load();
        let is_wanted = |event: &Event| {
            let tenant = live.tenant(event.tenant.as_str());
            tenant.is_some_and(|tenant| !tenant.matching(&event.event_type).is_empty())
        };
        if event.as_ref().is_ok_and(is_wanted) {
            drop(live);
            self.announce(event).await;
        }
    }

    /// Sends an event about the gateway to the tenant that it concerns.
    pub(super) async fn announce(self: &Arc<Self>, event: Result<Event, InvalidEventType>) {
        let Ok(event) = event.inspect_err(|error| {
            error!(
                target: "hookweir::operational",
                %error,
                "an operational event has no type"
            );
        }) else {
            return;
        };
        let live = self.live.load_full();
        let Some(tenant) = live.tenant(event.tenant.as_str()) else { return };
        let endpoints = tenant.matching(&event.event_type);
        let event = Arc::new(event);
        let since = Instant::now();
        let new = NewEvent {
            event: Arc::clone(&event),
            fingerprint: Digest::of(&event.data),
            idempotency_key: None,
            endpoints: endpoints.clone(),
        };
        match self.journal.append(vec![new]).await.as_deref() {
            Ok([Appended::Stored { seq }]) => {
                self.traces.announced(&event, since);
                self.offer(&event, *seq, &endpoints);
            }
            Ok(other) => error!(target: "hookweir::operational", ?other, "an operational event was not kept"),
            Err(error) => warn!(
                target: "hookweir::operational",
                tenant = %tenant.id,
                %error,
                "failed to keep an operational event"
            ),
        }
    }
}
