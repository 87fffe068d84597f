//! One delivery handled once: route, shape, send, decide. It reads no journal and writes none: what it answers is
//! settled by the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hookweir_delivery::{InForce, Report, Request};
use hookweir_host::Host;
use hookweir_journal::{Made, Next, REMOVED, Settlement};
use hookweir_model::{
    Attempt, EndpointKey, Epoch, Exchange, Outcome, PluginCall, RetryPolicy, Shaped, Status, Timestamp,
};

use super::lane::{Lane, Ready};
use crate::clock::Clock;
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

/// What was made of an event, and by which state of its endpoint.
struct Work {
    by: Arc<Endpoint>,
    shaped: Shaped,
    calls: Vec<PluginCall>,
}

/// How a delivery stands in the configuration that is in force.
enum Standing {
    Goes(Current),
    /// Its endpoint is switched off, waits for a plugin, or is not in the configuration for now; or it was cancelled itself, and has nothing to wait for.
    Waits,
    Gone,
}

/// What is in force for a delivery at one moment.
struct Current {
    live: Arc<Live>,
    endpoint: Arc<Endpoint>,
}

/// How an event was put through its endpoint.
enum Run {
    Tried(Ended, Arc<Endpoint>),
    /// A filter dropped it, for this reason.
    Filtered(String, Vec<PluginCall>),
    /// It is to be put into the endpoint's own queue.
    Queued(Shaped, Vec<PluginCall>),
    Waits,
    Gone,
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

impl Ended {
    fn unsent(outcome: Outcome, reason: String, calls: Vec<PluginCall>, paused: Option<Arc<Watch>>) -> Self {
        Self {
            outcome,
            reason: Some(reason),
            answer: None,
            retry_after: None,
            calls,
            shaped: None,
            exchange: None,
            sent: None,
            paused,
        }
    }

    fn of(report: Report, calls: Vec<PluginCall>, shaped: Option<Shaped>) -> Self {
        Self {
            outcome: report.outcome,
            reason: report.reason,
            answer: report.answer,
            retry_after: report.retry_after,
            calls,
            shaped,
            exchange: report.exchange,
            sent: Some(Sent { outcome: report.outcome, gone: report.gone, retry_after: report.retry_after }),
            paused: None,
        }
    }
}

/// How often a delivery looks at the configuration again while that is changed under it. Beyond it the delivery goes back
/// to where it was, and is taken another time.
const MOST_ROUNDS: usize = 8;

/// What handling takes, beside the delivery.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub live: &'a Arc<ArcSwap<Live>>,
    pub lane: &'a Arc<Lane>,
    pub host: &'a Host,
    pub metrics: &'a Metrics,
    pub traces: &'a Traces,
    pub clock: &'a Clock,
    /// Whether the delivery is cancelled where its endpoint is not in this configuration. Else it waits.
    pub gives_up: &'a (dyn Fn(&Live) -> bool + Sync),
}

impl Means<'_> {
    fn standing(&self, ready: &Ready) -> Standing {
        if self.lane.is_cancelled(&ready.event().id, ready.since) {
            return Standing::Waits;
        }
        let live = self.live.load_full();
        let Some(endpoint) = live.endpoint(&self.lane.key).cloned() else {
            return if (self.gives_up)(&live) { Standing::Gone } else { Standing::Waits };
        };
        if self.lane.is_off(&endpoint) { Standing::Waits } else { Standing::Goes(Current { live, endpoint }) }
    }

    /// Whether events are shaped now as they were by this state of the endpoint.
    fn shapes_as(&self, by: &Endpoint) -> bool {
        self.live.load().endpoint(&self.lane.key).is_some_and(|endpoint| endpoint.shapes_as(by))
    }

    /// Says while an attempt waits whether what it was prepared by is in force.
    fn in_force(&self, current: &Current, ready: &Ready) -> InForce {
        let (live, lane) = (Arc::clone(self.live), Arc::clone(self.lane));
        let (event, since) = (ready.event().id.clone(), ready.since);
        let (endpoint, outlets) = (Arc::clone(&current.endpoint), current.live.outlets.clone());
        InForce::new(move || {
            let now = live.load();
            now.endpoint(&lane.key).is_some_and(|now| Arc::ptr_eq(now, &endpoint))
                && now.outlets.are(&outlets)
                && !lane.is_off(&endpoint)
                && !lane.is_cancelled(&event, since)
        })
    }
}

pub(super) async fn handle(means: Means<'_>, ready: &Ready) -> Handled {
    let number = ready.attempts.saturating_add(1);
    let mut trail = means.traces.delivery(ready.event());
    let handled = handle_once(means, ready, trail.as_deref_mut()).await;
    if let (Some(trail), Handled::Ended(ending)) = (trail, &handled) {
        trail.end(&means.lane.key, number, &ending.settlement);
    }
    handled
}

async fn handle_once(means: Means<'_>, ready: &Ready, trail: Option<&mut Trail>) -> Handled {
    let settlement = |attempt, next, made| Settlement {
        endpoint: means.lane.key.clone(),
        seq: ready.seq,
        epoch: means.lane.epoch,
        attempt,
        next,
        made,
    };
    let started = Timestamp::now();
    let clock = Instant::now();
    let number = ready.attempts.saturating_add(1);
    let attempt = |outcome, reason, plugins| Attempt {
        number,
        started,
        duration_ms: elapsed(clock),
        outcome,
        reason,
        answer: None,
        plugins,
        exchange: None,
    };
    let (ended, endpoint) = match run(means, ready, number, trail).await {
        Run::Tried(ended, endpoint) => (ended, endpoint),
        Run::Filtered(reason, calls) => {
            let next = Next::Final { status: Status::Filtered, reason: Some(reason) };
            let made = Made { shaped: None, calls };
            return Handled::Ended(Ending::unsent(settlement(None, next, made)));
        }
        Run::Queued(shaped, calls) => {
            let message = Box::new(pull::message(ready.event(), shaped, means.clock.now()));
            let output = Some(message.content.shaped.body.len());
            let attempt = attempt(Outcome::Delivered, None, calls);
            let settlement = settlement(Some(attempt), Next::Queued(message), Made::default());
            return Handled::Ended(Ending { output, ..Ending::unsent(settlement) });
        }
        Run::Gone => {
            let next = Next::Final { status: Status::Cancelled, reason: Some(REMOVED.to_owned()) };
            return Handled::Ended(Ending::unsent(settlement(None, next, Made::default())));
        }
        Run::Waits => return Handled::Left,
    };
    let attempt = Attempt {
        answer: ended.answer,
        exchange: ended.exchange,
        ..attempt(ended.outcome, ended.reason.clone(), ended.calls)
    };
    let tried = Tried {
        outcome: ended.outcome,
        reason: ended.reason,
        retry_after: ended.retry_after,
        round_attempt: number.saturating_sub(ready.earlier_rounds),
    };
    let next = settle::next(tried, &endpoint.settings.retry, means.clock.now(), fastrand::f64());
    // Retries send the same. Of a delivery that went well nobody needs it, unless the endpoint keeps all.
    let is_kept = endpoint.settings.keeps_all || ended.outcome != Outcome::Delivered;
    let output = ended.shaped.as_ref().map(|shaped| shaped.body.len());
    let made = Made { shaped: ended.shaped.filter(|_| is_kept), calls: Vec::new() };
    let settlement = Box::new(settlement(Some(attempt), next, made));
    Handled::Ended(Ending { settlement, sent: ended.sent, paused: ended.paused, output })
}

/// The end of an attempt that the gateway itself failed in: it counts, and is made again by the schedule.
pub(super) fn failed(means: Means<'_>, key: &EndpointKey, epoch: Epoch, ready: &Ready) -> Ending {
    let live = means.live.load();
    let number = ready.attempts.saturating_add(1);
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
        started: Timestamp::now(),
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
        next: settle::next(tried, policy, means.clock.now(), fastrand::f64()),
        made: Made::default(),
    })
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Shapes, if that was not done in an earlier attempt, and sends: by what is in force when it is sent. Each wait may bring
/// another configuration, so that it looks again after each; what a plugin made is kept as long as the endpoint's chain is
/// the same.
async fn run(means: Means<'_>, ready: &Ready, number: u32, mut trail: Option<&mut Trail>) -> Run {
    let mut work: Option<Work> = None;
    for round in 0..MOST_ROUNDS {
        let current = match means.standing(ready) {
            Standing::Goes(current) => current,
            Standing::Waits => return Run::Waits,
            Standing::Gone => return Run::Gone,
        };
        if round == 0 {
            means.metrics.stage(Stage::Queue, ready.since.elapsed());
        }
        if work.as_ref().is_some_and(|work| !current.endpoint.shapes_as(&work.by)) {
            work = None;
        }
        let (shaped, calls) = match (&ready.shaped, &work) {
            (Some(kept), _) => (kept, &[][..]),
            (None, Some(work)) => (&work.shaped, &work.calls[..]),
            (None, None) => {
                match shape_once(means, &current.endpoint, ready, trail.as_deref_mut()).await {
                    Ok(made) => work = made,
                    Err(run) => return run,
                }
                continue;
            }
        };
        let target = match &current.endpoint.settings.target {
            Destination::Outside(target) => target,
            Destination::Pull(_) => return Run::Queued(shaped.clone(), calls.to_vec()),
        };
        let in_force = means.in_force(&current, ready);
        let own = trail.as_deref().map(Trail::traceparent);
        let request = request(ready, number, shaped, own.as_deref(), &current.endpoint, &in_force);
        let report = current.live.outlets.send(target, request, Timestamp::now()).await;
        if report.superseded {
            continue;
        }
        means.metrics.attempt(report.duration);
        if let Some(trail) = trail {
            trail.sent(report.duration, report.outcome, report.answer.as_ref(), report.reason.as_deref());
        }
        let (calls, shaped) = work.map(|work| (work.calls, work.shaped)).unzip();
        return Run::Tried(Ended::of(report, calls.unwrap_or_default(), shaped), current.endpoint);
    }
    Run::Waits
}

/// Runs the chain. `Ok(None)`: its verdict is that of a chain which is no longer the endpoint's, and another one is asked.
async fn shape_once(
    means: Means<'_>,
    endpoint: &Arc<Endpoint>,
    ready: &Ready,
    trail: Option<&mut Trail>,
) -> Result<Option<Work>, Run> {
    let clock = Instant::now();
    let Shaping { result, calls, paused } =
        shape::shape(means.host, means.metrics, endpoint, ready.event()).await;
    if !endpoint.chain.steps.is_empty() {
        means.metrics.stage(Stage::Plugins, clock.elapsed());
    }
    if let Some(trail) = trail {
        trail.shaped(&calls);
    }
    // Whom a fault has paused must be told of it, so that this verdict stands.
    if paused.is_none() && !means.shapes_as(endpoint) {
        return Ok(None);
    }
    let unsent = |outcome, reason, calls| {
        Run::Tried(Ended::unsent(outcome, reason, calls, paused), Arc::clone(endpoint))
    };
    match result {
        Shape::Ready(shaped) => Ok(Some(Work { by: Arc::clone(endpoint), shaped, calls })),
        Shape::Filtered(reason) => Err(Run::Filtered(reason, calls)),
        Shape::Failed(reason) => Err(unsent(Outcome::Rejected, reason, calls)),
        Shape::Unavailable(reason) => Err(unsent(Outcome::Retry, reason, calls)),
        Shape::Waits => Err(Run::Waits),
    }
}

fn request<'a>(
    ready: &'a Ready,
    number: u32,
    shaped: &'a Shaped,
    own: Option<&'a str>,
    endpoint: &Endpoint,
    in_force: &'a InForce,
) -> Request<'a> {
    let event = &**ready.event();
    // What is not recorded goes on from the sender as it came.
    let given = event.attributes.iter().find(|(name, _)| name == "traceparent");
    Request {
        tenant: &event.tenant,
        event: &event.id,
        event_type: &event.event_type,
        subject: event.subject.as_deref(),
        attempt: number,
        shaped,
        traceparent: own.or_else(|| given.map(|(_, value)| value.as_str())),
        in_full: endpoint.settings.keeps_all,
        in_force,
    }
}
