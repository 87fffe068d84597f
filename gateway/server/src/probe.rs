//! A sample for an endpoint: shaped as its events are and handed over once, at once. The journal does not know of it, it
//! is not tried again, and how it ends says nothing of the endpoint's health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir_delivery::{Report, Request};
use hookweir_host::Host;
use hookweir_model::{Attempt, Event, EventId, EventType, Outcome, Shaped, TenantId, Timestamp, TypePattern};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Probe, ProbeResult};
use crate::config::Destination;
use crate::live::{Endpoint, Live};
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
/// know.
pub(crate) async fn probe(
    live: &Live,
    host: &Host,
    queues: &Arc<Queues>,
    endpoint: &Endpoint,
    sample: Sample,
) -> Result<Probe, hookweir_journal::Error> {
    let started = Timestamp::now();
    let event = Arc::new(sample.into_event(&endpoint.key.tenant, endpoint, started));
    let (id, event_type) = (event.id.clone(), event.event_type.clone());
    let ended =
        |result, reason, content, attempt| Ok(Probe { id, event_type, result, reason, content, attempt });
    if endpoint.chain.waits() {
        return ended(ProbeResult::Waits, endpoint.chain.reason(), None, None);
    }
    let (shape, plugins) = shape::preview(host, endpoint, &event).await;
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
        Destination::Outside(target) => live.outlets.send(target, request(&event, &shaped), started).await,
        Destination::Pull(_) => {
            let message = pull::message(&event, shaped.clone(), started);
            queues.put(&endpoint.key, vec![message]).await?;
            queued(clock.elapsed())
        }
    };
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
    ended(ProbeResult::Sent, None, Some(shaped.into()), Some(attempt.into()))
}

fn request<'a>(event: &'a Event, shaped: &'a Shaped) -> Request<'a> {
    Request {
        event: &event.id,
        event_type: &event.event_type,
        subject: None,
        attempt: 1,
        shaped,
        traceparent: None,
        in_full: true,
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
    }
}
