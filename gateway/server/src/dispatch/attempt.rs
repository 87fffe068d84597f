//! One delivery handled once: route, shape, send, decide. It reads no journal and writes none: what it answers is
//! settled by the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir_delivery::Request;
use hookweir_host::Host;
use hookweir_journal::{Made, Next, REMOVED, Settlement};
use hookweir_model::{
    Attempt, EndpointKey, Epoch, Event, Exchange, Outcome, PluginCall, RetryPolicy, Shaped, Status, Timestamp,
};

use super::lane::Ready;
use crate::config::Destination;
use crate::live::{Endpoint, Live};
use crate::metrics::{Metrics, Stage};
use crate::plugins::Watch;
use crate::pull;
use crate::settle::{self, Tried};
use crate::shape::{self, Shape, Shaping};
use crate::telemetry::{Traces, Trail};

/// What handling a delivery came to.
#[derive(Debug)]
pub(super) enum Handled {
    Ended(Ending),
    /// It is as it was before, and waits: a plugin that it needs is paused or has no component, or its endpoint is not in
    /// the configuration.
    Left,
}

#[derive(Debug)]
pub(super) struct Ending {
    pub settlement: Box<Settlement>,
    /// The outcome of a request to the receiver, if one was made.
    pub sent: Option<Sent>,
    /// A plugin that is paused from this delivery on.
    pub paused: Option<Arc<Watch>>,
    /// The bytes of the body that was made for it, where one was.
    pub output: Option<usize>,
}

impl Ending {
    fn unsent(settlement: Settlement) -> Self {
        Self { settlement: Box::new(settlement), sent: None, paused: None, output: None }
    }
}

/// What a request to the receiver says of the endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub outcome: Outcome,
    pub gone: bool,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// How an event was put through an endpoint.
enum Run {
    Tried(Ended),
    /// A filter dropped it, for this reason.
    Filtered(String, Vec<PluginCall>),
    /// It is to be put into the endpoint's own queue.
    Queued(Shaped, Vec<PluginCall>),
    Waits,
}

/// The end of an attempt, before the policy is asked what follows.
struct Ended {
    outcome: Outcome,
    reason: Option<String>,
    answer: Option<hookweir_model::Answer>,
    retry_after: Option<Duration>,
    calls: Vec<PluginCall>,
    /// What was made for the first request.
    shaped: Option<Shaped>,
    exchange: Option<Box<Exchange>>,
    sent: Option<Sent>,
    paused: Option<Arc<Watch>>,
}

/// What handling takes, beside the delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub live: &'a Live,
    pub host: &'a Host,
    pub metrics: &'a Metrics,
    pub traces: &'a Traces,
    /// Whether the delivery is cancelled where its endpoint is not in the configuration. Else it waits.
    pub gives_up: bool,
}

pub(super) async fn handle(means: Means<'_>, key: &EndpointKey, epoch: Epoch, ready: &Ready) -> Handled {
    let number = ready.attempts.saturating_add(1);
    let mut trail = means.traces.delivery(ready.event());
    let handled = handle_once(means, key, epoch, ready, trail.as_deref_mut()).await;
    if let (Some(trail), Handled::Ended(ending)) = (trail, &handled) {
        trail.end(key, number, &ending.settlement);
    }
    handled
}

async fn handle_once(
    means: Means<'_>,
    key: &EndpointKey,
    epoch: Epoch,
    ready: &Ready,
    trail: Option<&mut Trail>,
) -> Handled {
    let Means { live, metrics, .. } = means;
    let settlement = |attempt, next, made| Settlement {
        endpoint: key.clone(),
        seq: ready.seq,
        epoch,
        attempt,
        next,
        made,
    };
    let Some(endpoint) = live.endpoint(key) else {
        if !means.gives_up {
            return Handled::Left;
        }
        let next = Next::Final { status: Status::Cancelled, reason: Some(REMOVED.to_owned()) };
        return Handled::Ended(Ending::unsent(settlement(None, next, Made::default())));
    };
    if endpoint.chain.waits() {
        return Handled::Left;
    }
    metrics.stage(Stage::Queue, ready.since.elapsed());
    let started = Timestamp::now();
    let clock = Instant::now();
    let number = ready.attempts.saturating_add(1);
    let ended = match run(means, endpoint, ready.event(), ready.shaped.as_ref(), number, trail).await {
        Run::Tried(ended) => ended,
        Run::Filtered(reason, calls) => {
            let next = Next::Final { status: Status::Filtered, reason: Some(reason) };
            let made = Made { shaped: None, calls };
            return Handled::Ended(Ending::unsent(settlement(None, next, made)));
        }
        Run::Queued(shaped, calls) => {
            let attempt = Attempt {
                number,
                started,
                duration_ms: elapsed(clock),
                outcome: Outcome::Delivered,
                reason: None,
                answer: None,
                plugins: calls,
                exchange: None,
            };
            let message = Box::new(pull::message(ready.event(), shaped, Timestamp::now()));
            let output = Some(message.content.shaped.body.len());
            let settlement = settlement(Some(attempt), Next::Queued(message), Made::default());
            return Handled::Ended(Ending { output, ..Ending::unsent(settlement) });
        }
        Run::Waits => return Handled::Left,
    };
    let attempt = Attempt {
        number,
        started,
        duration_ms: elapsed(clock),
        outcome: ended.outcome,
        reason: ended.reason.clone(),
        answer: ended.answer,
        plugins: ended.calls,
        exchange: ended.exchange,
    };
    let tried = Tried {
        outcome: ended.outcome,
        reason: ended.reason,
        retry_after: ended.retry_after,
        round_attempt: number.saturating_sub(ready.earlier_rounds),
    };
    let next = settle::next(tried, &endpoint.settings.retry, Timestamp::now(), fastrand::f64());
    // Retries send the same. Of a delivery that went well nobody needs it, unless the endpoint keeps all.
    let is_kept = endpoint.settings.keeps_all || ended.outcome != Outcome::Delivered;
    let output = ended.shaped.as_ref().map(|shaped| shaped.body.len());
    let made = Made { shaped: ended.shaped.filter(|_| is_kept), calls: Vec::new() };
    let settlement = Box::new(settlement(Some(attempt), next, made));
    Handled::Ended(Ending { settlement, sent: ended.sent, paused: ended.paused, output })
}

/// The end of an attempt that the gateway itself failed in: it counts, and is made again by the schedule.
pub(super) fn failed(live: &Live, key: &EndpointKey, epoch: Epoch, ready: &Ready) -> Ending {
    let (number, now) = (ready.attempts.saturating_add(1), Timestamp::now());
    let reason = "the gateway itself failed in the attempt; its log says more".to_owned();
    let tried = Tried {
        outcome: Outcome::Retry,
        reason: Some(reason.clone()),
        retry_after: None,
        round_attempt: number.saturating_sub(ready.earlier_rounds),
    };
    let standard = RetryPolicy::standard();
    let policy = live.endpoint(key).map_or(&standard, |endpoint| &endpoint.settings.retry);
    let attempt = Attempt {
        number,
        started: now,
        duration_ms: 0,
        outcome: Outcome::Retry,
        reason: Some(reason),
        answer: None,
        plugins: Vec::new(),
        exchange: None,
    };
    Ending::unsent(Settlement {
        endpoint: key.clone(),
        seq: ready.seq,
        epoch,
        attempt: Some(attempt),
        next: settle::next(tried, policy, now, fastrand::f64()),
        made: Made::default(),
    })
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Shapes, if that was not done in an earlier attempt, and sends.
async fn run(
    Means { live, host, metrics, .. }: Means<'_>,
    endpoint: &Endpoint,
    event: &Arc<Event>,
    kept: Option<&Shaped>,
    number: u32,
    mut trail: Option<&mut Trail>,
) -> Run {
    let unsent = |outcome, reason, calls, paused| {
        Run::Tried(Ended {
            outcome,
            reason: Some(reason),
            answer: None,
            retry_after: None,
            calls,
            shaped: None,
            exchange: None,
            sent: None,
            paused,
        })
    };
    let mut made = None;
    let (shaped, calls) = match kept {
        Some(kept) => (kept, Vec::new()),
        None => {
            let clock = Instant::now();
            let Shaping { result, calls, paused } = shape::shape(host, metrics, endpoint, event).await;
            if !endpoint.chain.steps.is_empty() {
                metrics.stage(Stage::Plugins, clock.elapsed());
            }
            if let Some(trail) = trail.as_deref_mut() {
                trail.shaped(&calls);
            }
            match result {
                Shape::Ready(shaped) => (&*made.insert(shaped), calls),
                Shape::Filtered(reason) => return Run::Filtered(reason, calls),
                Shape::Failed(reason) => return unsent(Outcome::Rejected, reason, calls, paused),
                Shape::Unavailable(reason) => return unsent(Outcome::Retry, reason, calls, paused),
                Shape::Waits => return Run::Waits,
            }
        }
    };
    let target = match &endpoint.settings.target {
        Destination::Outside(target) => target,
        Destination::Pull(_) => return Run::Queued(shaped.clone(), calls),
    };
    // What is not recorded goes on from the sender as it came.
    let own = trail.as_deref().map(Trail::traceparent);
    let given = event.attributes.iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value);
    let traceparent = own.as_ref().or(given).map(String::as_str);
    let request = Request {
        event: &event.id,
        event_type: &event.event_type,
        subject: event.subject.as_deref(),
        attempt: number,
        shaped,
        traceparent,
        in_full: endpoint.settings.keeps_all,
    };
    let report = live.outlets.send(target, request, Timestamp::now()).await;
    metrics.attempt(report.duration);
    if let Some(trail) = trail {
        trail.sent(report.duration, report.outcome, report.answer.as_ref(), report.reason.as_deref());
    }
    Run::Tried(Ended {
        outcome: report.outcome,
        reason: report.reason,
        answer: report.answer,
        retry_after: report.retry_after,
        calls,
        shaped: made,
        exchange: report.exchange,
        sent: Some(Sent { outcome: report.outcome, gone: report.gone, retry_after: report.retry_after }),
        paused: None,
    })
}
