//! The workers of a lane. Whatever happens to an attempt, its place is free again afterwards and its delivery is still known.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hookweir_journal::{Next, Seq, Settlement};
use hookweir_model::Outcome;
use tracing::error;

use super::attempt::{self, Ending, Handled, Means, Sent};
use super::lane::{Lane, Ready};
use super::pace::Heard;
use super::settler::Item;
use super::{Flow, Shared};
use crate::background::text;
use crate::config::Format;
use crate::live::{Endpoint, Live};

/// How long a lane waits after a fault of the gateway's own before it looks again at what is on disk.
pub(super) const AFTER_A_FAULT: Duration = Duration::from_secs(1);

/// What a format adds to the data, about.
const ENVELOPE: usize = 512;

/// A delivery that was taken from its queue. Dropped before it is over, as by a panic, it gives its place back, and the lane
/// looks for it on disk later.
pub(super) struct Taken<'a> {
    shared: &'a Arc<Shared>,
    lane: &'a Arc<Lane>,
    seq: Seq,
    is_over: bool,
}

impl<'a> Taken<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, lane: &'a Arc<Lane>, seq: Seq) -> Self {
        Self { shared, lane, seq, is_over: false }
    }

    /// Its place is somebody else's to give back.
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.lane.queue().dropped(self.seq);
            self.shared.look_later(self.lane);
        }
    }
}

/// Handles deliveries of a lane, one after the other, as long as there are any to take. Ends without a trace when attempts
/// are aborted: what it has taken is still pending.
pub(super) async fn work(shared: Arc<Shared>, lane: Arc<Lane>, first: Ready) {
    let aborting = shared.aborting.cancelled();
    tokio::pin!(aborting);
    let mut next = Some(first);
    while let Some(mut ready) = next {
        let taken = Taken::new(&shared, &lane, ready.seq);
        let live = shared.live.load_full();
        ready.held.room.set_made(expected(&live, &lane, &ready));
        let means = Means {
            live: &shared.live,
            lane: &lane,
            host: &shared.host,
            metrics: &shared.metrics,
            traces: &shared.traces,
            clock: &shared.clock,
            gives_up: &|live| shared.gives_up(&lane, live),
        };
        let handling = AssertUnwindSafe(attempt::handle(means, &ready)).catch_unwind();
        let handled = tokio::select! {
            biased;
            handled = handling => handled,
            () = &mut aborting => return,
        };
        let ending = match handled {
            Ok(Handled::Ended(ending)) => ending,
            Ok(Handled::Left) => {
                taken.over();
                lane.queue().left(ready.seq);
                shared.pump(&lane);
                return;
            }
            Err(panic) => {
                let reason = text(panic.as_ref());
                error!(
                    target: "hookweir::delivery",
                    endpoint = %lane.key,
                    event = %ready.event().id,
                    reason,
                    "an attempt panicked"
                );
                attempt::failed(means, &lane.key, lane.epoch, &ready)
            }
        };
        if let Some(output) = ending.output {
            lane.made_output(output);
        }
        tell(&shared, &lane, &ready, &ending).await;
        // The settler is gone only when the journal is broken, and then the process ends. Once it has written the
        // result, the delivery's place is free, and it starts what could not be started here.
        let told = shared.feed.of_handled(&shared.clock, ready.event(), &ending.settlement, ready.attempts);
        let mut held = ready.held;
        held.room.set_made(recorded(&ending.settlement, &held.kept.event.data));
        let sending = shared.results.send(Item::settle(Arc::clone(&lane), ending.settlement, told, held));
        tokio::select! {
            biased;
            _ = sending => {}
            // Too many wait for a journal without room, and the gateway stops.
            () = &mut aborting => return,
        }
        taken.over();
        next = match shared.flow(&lane) {
            Flow::On(policy, limit) => shared.take(&lane, &policy, limit),
            Flow::Off | Flow::Wait(_) => None,
        };
    }
}

/// Tells what the attempt said of its endpoint, its plugins and its tenant. A panic there leaves the result as it is: it must be
/// written down, or the delivery would be sent again and again.
async fn tell(shared: &Arc<Shared>, lane: &Arc<Lane>, ready: &Ready, ending: &Ending) {
    let telling = async {
        if let Some(sent) = ending.sent {
            let answer = ending.settlement.attempt.as_ref().and_then(|attempt| attempt.answer.as_ref());
            let code = answer.and_then(|answer| answer.status);
            let heard = heard(sent, code, ready.earlier_rounds > 0);
            shared.note(lane, sent, heard).await;
        }
        if let Some(watch) = &ending.paused {
            shared.paused(watch).await;
        }
        shared.exhausted(lane, ready.event(), &ending.settlement).await;
    };
    if let Err(panic) = AssertUnwindSafe(telling).catch_unwind().await {
        let reason = text(panic.as_ref());
        error!(
            target: "hookweir::delivery",
            endpoint = %lane.key,
            event = %ready.event().id,
            reason,
            "telling of an attempt panicked"
        );
    }
}

/// What an attempt says of its endpoint, for its pace. `again` says that somebody has sent the delivery again.
fn heard(sent: Sent, code: Option<u16>, again: bool) -> Heard {
    if sent.outcome == Outcome::Delivered {
        return Heard::Delivered;
    }
    if let Some(wait) = sent.retry_after {
        return Heard::Later(wait);
    }
    // What a broker can never take is too large, or can't be said in its protocol.
    let is_refused = (sent.outcome == Outcome::Rejected && !sent.gone) || code.is_some_and(blames_the_event);
    match (is_refused, again) {
        (true, _) => Heard::Refused,
        (false, true) => Heard::FailedAgain,
        (false, false) => Heard::Failed,
    }
}

/// Whether a status says that the receiver is there and does not want what was sent. Those that are left out say something of the
/// endpoint itself: its credentials, its path, its time, its load.
const fn blames_the_event(code: u16) -> bool {
    matches!(code, 400..=499) && !matches!(code, 401 | 403 | 404 | 408 | 410 | 429)
}

/// About how many bytes an attempt makes beside the event.
fn expected(live: &Live, lane: &Lane, ready: &Ready) -> usize {
    match live.endpoint(&lane.key) {
        Some(endpoint) if ready.shaped.is_none() => {
            expected_of(endpoint, ready.event().data.len(), |most| lane.expected_output(most))
        }
        _ => 0,
    }
}

fn expected_of(endpoint: &Endpoint, data: usize, output: impl FnOnce(usize) -> usize) -> usize {
    // The last step is a transformer, where there is one.
    let last = endpoint.chain.steps.last().filter(|_| !endpoint.settings.transformers.is_empty());
    match (last, endpoint.settings.format) {
        (Some(step), _) => output(step.limits.output),
        (None, Format::Data) => 0,
        (None, Format::Envelope | Format::Ims { .. }) => data + ENVELOPE,
    }
}

/// What of a settlement was made, beside the event's `data`: it is held until the journal has it.
fn recorded(settlement: &Settlement, data: &bytes::Bytes) -> usize {
    let shaped = settlement.made.shaped.as_ref().map(|shaped| &shaped.body);
    let queued = match &settlement.next {
        Next::Queued(message) => Some(&message.content.shaped.body),
        Next::Final { .. } | Next::RetryAt { .. } => None,
    };
    let is_copy = |body: &&bytes::Bytes| body.as_ptr() != data.as_ptr();
    let bodies: usize = [shaped, queued].into_iter().flatten().filter(is_copy).map(bytes::Bytes::len).sum();
    let Some(attempt) = &settlement.attempt else { return bodies };
    let answer = attempt.answer.as_ref().map_or(0, |answer| answer.body.len());
    let lines = attempt.exchange.iter().flat_map(|exchange| {
        exchange
            .request_headers
            .iter()
            .chain(&exchange.answer_headers)
            .map(|(name, value)| name.len() + value.len())
    });
    bodies + answer + lines.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_of_the_endpoint() {
        use Outcome::{Delivered, Rejected, Retry, Unknown};
        let sent = |outcome, gone, retry_after: Option<u64>| Sent {
            outcome,
            gone,
            retry_after: retry_after.map(Duration::from_secs),
        };
        let later = Heard::Later(Duration::from_secs(7));
        for (sent, code, again, wanted) in [
            (sent(Delivered, false, None), Some(200), false, Heard::Delivered),
            (sent(Delivered, false, None), Some(200), true, Heard::Delivered),
            (sent(Retry, false, None), None, false, Heard::Failed),
            (sent(Unknown, false, None), None, true, Heard::FailedAgain),
            (sent(Retry, false, None), Some(500), false, Heard::Failed),
            (sent(Retry, false, None), Some(503), true, Heard::FailedAgain),
            (sent(Retry, false, None), Some(302), false, Heard::Failed),
            (sent(Retry, false, None), Some(400), false, Heard::Refused),
            (sent(Retry, false, None), Some(422), true, Heard::Refused),
            (sent(Retry, false, None), Some(401), false, Heard::Failed),
            (sent(Retry, false, None), Some(403), false, Heard::Failed),
            (sent(Retry, false, None), Some(404), false, Heard::Failed),
            (sent(Retry, false, None), Some(408), false, Heard::Failed),
            (sent(Rejected, true, None), Some(410), false, Heard::Failed),
            (sent(Retry, false, None), Some(429), false, Heard::Failed),
            (sent(Retry, false, Some(7)), Some(429), false, later),
            (sent(Retry, false, Some(7)), Some(503), true, later),
            (sent(Rejected, false, None), None, false, Heard::Refused),
        ] {
            assert_eq!(heard(sent, code, again), wanted, "{sent:?} {code:?} again: {again}");
        }
    }

    #[test]
    fn a_panic_says_what_it_has_to_say() {
        let caught = |panic: fn()| std::panic::catch_unwind(panic).unwrap_err();
        assert_eq!(text(caught(|| panic!("plain")).as_ref()), "plain");
        assert_eq!(text(caught(|| panic!("{} {}", 1, 2)).as_ref()), "1 2");
        assert_eq!(text(caught(|| std::panic::panic_any(7)).as_ref()), "no reason is known");
    }
}
