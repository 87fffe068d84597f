//! A sample for an endpoint: shaped as its events are and handed over once, at once. The journal does not know of it, it
//! is not tried again, and how it ends says nothing of the endpoint's health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hookweir_delivery::{InForce, Report, Request};
use hookweir_host::Host;
use hookweir_model::{
    Attempt, EndpointKey, Event, EventId, EventType, Outcome, Shaped, TenantId, Timestamp, TypePattern,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{AttemptView, Probe, ProbeResult, Sees};
use crate::config::Destination;
use crate::live::{Endpoint, Live};
use crate::problem::Problem;
use crate::pull::{self, Queues};
use crate::shape::{self, Shape};

/// The sample where none is given.
const DATA: &str = r#"{"sample": true}"#;

/// What is sent. All of it may be left out.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
}

impl Sample {
    /// An event of a type that the endpoint is sent, unless it names another.
    fn into_event(self, tenant: &TenantId, endpoint: &Endpoint, now: Timestamp) -> Event {
        let wanted = endpoint.settings.event_types.first().map(TypePattern::example);
        let data = self.data.as_deref().map_or(DATA, RawValue::get);
        Event {
            tenant: tenant.clone(),
            id: EventId::generate(now),
            event_type: self.event_type.or(wanted).unwrap_or_else(|| TypePattern::everything().example()),
            source: "hookweir".to_owned(),
            subject: None,
            time: now.to_string(),
            received: now,
            content_type: "application/json".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data: Bytes::copy_from_slice(data.as_bytes()),
        }
    }
}

/// Sends a sample and waits for the answer. An endpoint that is switched off is sent it too: that is when one wants to
/// know. It is sent by the configuration that is in force then; where that was changed meanwhile, it begins again.
pub(crate) async fn probe(
    live: &Arc<ArcSwap<Live>>,
    host: &Host,
    queues: &Arc<Queues>,
    key: &EndpointKey,
    sample: Sample,
) -> Result<Probe, Problem> {
    let started = Timestamp::now();
    let mut event = None;
    let mut sample = Some(sample);
    for _ in 0..MOST_ROUNDS {
        let now = live.load_full();
        let endpoint = now.endpoint(key).ok_or(Problem::NotFound("endpoint"))?;
        let event = match (&event, sample.take()) {
            (Some(event), _) => Arc::clone(event),
            (None, sample) => {
                let made = sample.unwrap_or_default().into_event(&key.tenant, endpoint, started);
                Arc::clone(event.insert(Arc::new(made)))
            }
        };
        let (swap, held) = (Arc::clone(live), Arc::clone(&now));
        let (key, of) = (key.clone(), Arc::clone(endpoint));
        let in_force = InForce::new(move || {
            let now = swap.load();
            now.outlets.are(&held.outlets) && now.endpoint(&key).is_some_and(|now| Arc::ptr_eq(now, &of))
        });
        if let Some(probe) = once(&now, host, queues, endpoint, &event, &in_force).await? {
            return Ok(probe);
        }
    }
    Err(Problem::Conflict(
        "the configuration was changed while the sample was under way: try again".to_owned(),
    ))
}

/// How often it begins again while the configuration is changed under it.
const MOST_ROUNDS: usize = 8;

/// `None`: nothing was sent, since the configuration was changed before it.
async fn once(
    live: &Live,
    host: &Host,
    queues: &Arc<Queues>,
    endpoint: &Endpoint,
    event: &Arc<Event>,
    in_force: &InForce,
) -> Result<Option<Probe>, Problem> {
    let started = event.received;
    let ended = |result, reason, content, attempt| {
        let (id, event_type) = (event.id.clone(), event.event_type.clone());
        Ok(Some(Probe { id, event_type, result, reason, content, attempt }))
    };
    if endpoint.chain.waits() {
        return ended(ProbeResult::Waits, endpoint.chain.reason(), None, None);
    }
    let (shape, plugins) = shape::preview(host, endpoint, event).await;
    if !in_force.holds() {
        return Ok(None);
    }
    let shaped = match shape {
        Shape::Ready(shaped) => shaped,
        Shape::Filtered(reason) => return ended(ProbeResult::Filtered, Some(reason), None, None),
        Shape::Failed(reason) | Shape::Unavailable(reason) => {
            return ended(ProbeResult::Failed, Some(reason), None, None);
        }
        Shape::Waits => return ended(ProbeResult::Waits, endpoint.chain.reason(), None, None),
    };
    let clock = Instant::now();
    let report = match &endpoint.settings.target {
        Destination::Outside(target) => {
            live.outlets.send(target, request(event, &shaped, in_force), started).await
        }
        Destination::Pull(_) => {
            let message = pull::message(event, shaped.clone(), queues.now());
            queues.put(&endpoint.key, vec![message]).await?;
            queued(clock.elapsed())
        }
    };
    if report.superseded {
        return Ok(None);
    }
    let attempt = Attempt {
        number: 1,
        started,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        outcome: report.outcome,
        reason: report.reason,
        answer: report.answer,
        plugins,
        exchange: report.exchange,
    };
    // Who may send a sample may see where URLs lead.
    let sees = Sees { urls: true, network: false };
    ended(ProbeResult::Sent, None, Some(shaped.into()), Some(AttemptView::new(attempt, sees)))
}

fn request<'a>(event: &'a Event, shaped: &'a Shaped, in_force: &'a InForce) -> Request<'a> {
    Request {
        tenant: &event.tenant,
        event: &event.id,
        event_type: &event.event_type,
        subject: None,
        attempt: 1,
        shaped,
        traceparent: None,
        in_full: true,
        in_force,
    }
}

/// What is said of a sample that is in a queue of the gateway's own.
fn queued(duration: Duration) -> Report {
    Report {
        outcome: Outcome::Delivered,
        reason: None,
        answer: None,
        retry_after: None,
        duration,
        gone: false,
        exchange: None,
        superseded: false,
    }
}
