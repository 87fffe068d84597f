//! Traces and logs for a collector, by OTLP: a span for each step of an event's way, in the trace of its sender.
//!
//! `accept` with `journal` in it, and for each time that a delivery is handled a `delivery` with its `filter`s,
//! `transform`s and `attempt`: all of them in one trace, whenever they happen. Spans are recorded when they have ended,
//! with the times that were measured anyway. Where nothing is exported, all of this is a look at an `Option`.
//!
//! `off.rs` stands in for it in a build without the feature `otlp`.

mod context;
mod export;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use hookweir_journal::{Next, Settlement};
use hookweir_model::{Answer, EndpointKey, Event, EventId, Outcome, PluginCall, PluginRole};
use opentelemetry::trace::{SpanContext, SpanKind, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, trace};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _};

use self::context::{Context, Share, SpanId};
use crate::config::Otlp;
use crate::log;

/// How long what is still in the queues gets when the gateway stops.
const LAST_BATCH: Duration = Duration::from_secs(1);

/// What is exported, to its end.
#[derive(Debug)]
pub(crate) struct Telemetry {
    traces: Traces,
    logs: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// Starts what the configuration asks for. Nothing is dialled before there is something to send.
    pub(crate) fn start(config: Option<&Otlp>) -> Result<Self> {
        let Some(config) = config else { return Ok(Self { traces: Traces::default(), logs: None }) };
        let traces = if config.traces {
            let processor = export::spans(config)?;
            let scope = InstrumentationScope::builder("hookweir").build();
            let share = Share::new(config.sample);
            Traces(Some(Arc::new(Recorder { processor, scope, share })))
        } else {
            Traces::default()
        };
        let logs = config.logs.then(|| export::logs(config)).transpose()?;
        if let Some(provider) = &logs {
            log::send_to(provider);
        }
        Ok(Self { traces, logs })
    }

    pub(crate) fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Sends what is in the queues, if the collector takes it within a second.
    pub(crate) async fn stop(self) {
        let Self { traces: Traces(recorder), logs } = self;
        // What could not be sent is lost, as it is while the gateway runs: the log has told of it.
        let traces = recorder.map(|recorder| {
            tokio::task::spawn_blocking(move || recorder.processor.shutdown_with_timeout(LAST_BATCH))
        });
        let logs =
            logs.map(|logs| tokio::task::spawn_blocking(move || logs.shutdown_with_timeout(LAST_BATCH)));
        for last in [traces, logs].into_iter().flatten() {
            let _ = last.await;
        }
    }
}

/// Records spans, or nothing at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    share: Share,
}

/// A step that has ended.
struct Step<'a> {
    name: &'static str,
    kind: SpanKind,
    id: SpanId,
    parent: Option<SpanId>,
    parent_is_remote: bool,
    start: SystemTime,
    end: SystemTime,
    attributes: Vec<KeyValue>,
    /// What went wrong.
    fault: Option<&'a str>,
}

impl Recorder {
    fn record(&self, context: &Context, step: Step<'_>) {
        let Step { name, kind, id, parent, parent_is_remote, start, end, attributes, fault } = step;
        let span_context = SpanContext::new(
            trace::TraceId::from_bytes(context.trace.0),
            trace::SpanId::from_bytes(id.0),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        self.processor.on_end(SpanData {
            span_context,
            parent_span_id: parent.map_or(trace::SpanId::INVALID, |id| trace::SpanId::from_bytes(id.0)),
            parent_span_is_remote: parent_is_remote,
            span_kind: kind,
            name: name.into(),
            start_time: start,
            end_time: end,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: fault.map_or(trace::Status::Unset, |fault| trace::Status::error(fault.to_owned())),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// The event's context, if it is recorded.
    fn sampled(&self, event: &Event) -> Option<Context> {
        let context = Context::of(event);
        context.is_sampled(self.share).then_some(context)
    }
}

impl Traces {
    /// An event whose head came in at `since` is on disk, for so many deliveries; the journal took so long to keep it.
    /// Where it was there before, `first` is its id, and the request has a span of its own.
    pub(crate) fn accepted(
        &self,
        event: &Event,
        first: Option<&EventId>,
        since: Instant,
        journal: Duration,
        deliveries: usize,
    ) {
        let Some(recorder) = &self.0 else { return };
        let known = first.map(|id| Event { id: id.clone(), ..event.clone() });
        let Some(context) = recorder.sampled(known.as_ref().unwrap_or(event)) else { return };
        let id = if first.is_some() { SpanId::random() } else { context.accept };
        let now = SystemTime::now();
        let mut attributes = of_event(known.as_ref().unwrap_or(event));
        attributes.push(KeyValue::new("hookweir.deliveries", count(deliveries)));
        attributes.push(KeyValue::new("hookweir.duplicate", first.is_some()));
        recorder.record(
            &context,
            Step {
                name: "accept",
                kind: SpanKind::Server,
                id,
                parent: context.sender,
                parent_is_remote: context.sender.is_some(),
                start: earlier(now, since.elapsed()),
                end: now,
                attributes,
                fault: None,
            },
        );
        recorder.record(
            &context,
            Step {
                name: "journal",
                kind: SpanKind::Internal,
                id: SpanId::random(),
                parent: Some(id),
                parent_is_remote: false,
                start: earlier(now, journal),
                end: now,
                attributes: Vec::new(),
                fault: None,
            },
        );
    }

    /// An event of the gateway's own is on disk.
    pub(crate) fn announced(&self, event: &Event, since: Instant) {
        let Some(recorder) = &self.0 else { return };
        let Some(context) = recorder.sampled(event) else { return };
        let now = SystemTime::now();
        recorder.record(
            &context,
            Step {
                name: "announce",
                kind: SpanKind::Internal,
                id: context.accept,
                parent: None,
                parent_is_remote: false,
                start: earlier(now, since.elapsed()),
                end: now,
                attributes: of_event(event),
                fault: None,
            },
        );
    }

    /// A delivery of this event is handled now. `None` where nothing of it is recorded.
    pub(crate) fn delivery(&self, event: &Arc<Event>) -> Option<Box<Trail>> {
        let recorder = self.0.as_ref()?;
        let context = recorder.sampled(event)?;
        Some(Box::new(Trail {
            recorder: Arc::clone(recorder),
            event: Arc::clone(event),
            context,
            delivery: SpanId::random(),
            attempt: SpanId::random(),
            start: SystemTime::now(),
            begun: Instant::now(),
            shaped: None,
            sent: None,
        }))
    }
}

/// What is known of a delivery while it is handled.
#[derive(Debug)]
pub(crate) struct Trail {
    recorder: Arc<Recorder>,
    event: Arc<Event>,
    context: Context,
    delivery: SpanId,
    attempt: SpanId,
    start: SystemTime,
    begun: Instant,
    shaped: Option<(SystemTime, Vec<PluginCall>)>,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    end: SystemTime,
    took: Duration,
    outcome: Outcome,
    status: Option<u16>,
    reason: Option<String>,
}

impl Trail {
    /// What the receiver is told of the trace: the attempt is the parent of all that it does.
    pub(crate) fn traceparent(&self) -> String {
        self.context.traceparent(self.attempt)
    }

    /// Now, by the clock as it was at the start: no span ends before it begins, though the clock was set meanwhile.
    fn now(&self) -> SystemTime {
        self.start.checked_add(self.begun.elapsed()).unwrap_or(self.start)
    }

    /// The plugins have run.
    pub(crate) fn shaped(&mut self, calls: &[PluginCall]) {
        self.shaped = Some((self.now(), calls.to_vec()));
    }

    /// The request has ended.
    pub(crate) fn sent(
        &mut self,
        took: Duration,
        outcome: Outcome,
        answer: Option<&Answer>,
        reason: Option<&str>,
    ) {
        let status = answer.and_then(|answer| answer.status);
        let reason = reason.map(str::to_owned);
        self.sent = Some(Sent { end: self.now(), took, outcome, status, reason });
    }

    /// Records it all.
    pub(crate) fn end(self, endpoint: &EndpointKey, number: u32, settlement: &Settlement) {
        let end = self.now();
        let (result, reason) = match &settlement.next {
            Next::Final { status, reason } => (status.as_str(), reason.as_deref()),
            Next::RetryAt { .. } => ("retry", None),
            Next::Queued(_) => ("delivered", None),
        };
        let mut attributes = of_event(&self.event);
        attributes.push(KeyValue::new("hookweir.endpoint", endpoint.endpoint.to_string()));
        attributes.push(KeyValue::new("hookweir.attempt", i64::from(number)));
        attributes.push(KeyValue::new("hookweir.result", result));
        attributes.extend(reason.map(|reason| KeyValue::new("hookweir.reason", reason.to_owned())));
        let failed = settlement.attempt.as_ref().filter(|attempt| attempt.outcome != Outcome::Delivered);
        let fault = failed.map(|attempt| attempt.reason.as_deref().unwrap_or(attempt.outcome.as_str()));
        self.recorder.record(
            &self.context,
            Step {
                name: "delivery",
                kind: SpanKind::Consumer,
                id: self.delivery,
                parent: Some(self.context.accept),
                parent_is_remote: false,
                start: self.start,
                end,
                attributes,
                fault,
            },
        );
        if let Some((until, calls)) = &self.shaped {
            self.plugins(*until, calls);
        }
        if let Some(sent) = &self.sent {
            self.request(endpoint, number, sent);
        }
    }

    /// The calls of one job follow each other without a pause, and the last ended with it.
    fn plugins(&self, until: SystemTime, calls: &[PluginCall]) {
        let mut left: Duration = calls.iter().map(|call| Duration::from_micros(call.micros)).sum();
        for call in calls {
            let start = earlier(until, left);
            left = left.saturating_sub(Duration::from_micros(call.micros));
            let attributes = vec![
                KeyValue::new("hookweir.plugin", call.plugin.to_string()),
                KeyValue::new("hookweir.plugin.digest", call.digest.to_string()),
            ];
            let name = match call.role {
                PluginRole::Filter => "filter",
                PluginRole::Transformer => "transform",
            };
            self.recorder.record(
                &self.context,
                Step {
                    name,
                    kind: SpanKind::Internal,
                    id: SpanId::random(),
                    parent: Some(self.delivery),
                    parent_is_remote: false,
                    start,
                    end: earlier(until, left),
                    attributes,
                    fault: None,
                },
            );
        }
    }

    fn request(&self, endpoint: &EndpointKey, number: u32, sent: &Sent) {
        let mut attributes = vec![
            KeyValue::new("hookweir.tenant", endpoint.tenant.to_string()),
            KeyValue::new("hookweir.endpoint", endpoint.endpoint.to_string()),
            KeyValue::new("hookweir.attempt", i64::from(number)),
            KeyValue::new("hookweir.outcome", sent.outcome.as_str()),
        ];
        attributes
            .extend(sent.status.map(|code| KeyValue::new("http.response.status_code", i64::from(code))));
        let fault = (sent.outcome != Outcome::Delivered)
            .then(|| sent.reason.as_deref().unwrap_or(sent.outcome.as_str()));
        self.recorder.record(
            &self.context,
            Step {
                name: "attempt",
                kind: SpanKind::Client,
                id: self.attempt,
                parent: Some(self.delivery),
                parent_is_remote: false,
                start: earlier(sent.end, sent.took),
                end: sent.end,
                attributes,
                fault,
            },
        );
    }
}

fn of_event(event: &Event) -> Vec<KeyValue> {
    vec![
        KeyValue::new("hookweir.tenant", event.tenant.to_string()),
        KeyValue::new("hookweir.event.id", event.id.to_string()),
        KeyValue::new("hookweir.event.type", event.event_type.to_string()),
    ]
}

/// A clock that was set back may make a span begin at the beginning of time rather than fail.
fn earlier(now: SystemTime, by: Duration) -> SystemTime {
    now.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
