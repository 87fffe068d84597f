//! What an endpoint's filters and transformers make of an event that was pasted or stored: nothing is sent, nothing kept.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use hookweir_model::{EndpointId, EndpointKey, Event, EventId, EventType, PluginCall, TenantId, Timestamp};
use minijinja::context;
use serde::{Deserialize, Serialize};

use super::endpoints::names;
use super::page::{Viewer, page};
use super::text;
use crate::admin::access::Tenant;
use crate::admin::{Admin, ok};
use crate::api;
use crate::problem::Problem;
use crate::shape::{self, Shape};

/// The event where none is named.
const DATA: &str = "{\n  \"order\": { \"id\": \"A-1\", \"total\": 120 }\n}";

/// Which stored event fills the form, and which endpoint is chosen.
#[derive(Debug, Deserialize)]
pub(super) struct Start {
    event: Option<String>,
    endpoint: Option<String>,
}

/// A pasted event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pasted {
    endpoint: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    content_type: String,
    data: String,
}

#[derive(Debug, Serialize)]
struct Previewed {
    /// `sent`, `filtered`, `failed` or `waits`.
    result: &'static str,
    reason: Option<String>,
    content: Option<api::Content>,
    plugins: Vec<PluginCall>,
}

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Query(start): Query<Start>,
) -> Result<Response, Problem> {
    let id = start.event.as_deref().and_then(|id| EventId::new(id).ok());
    let event = match &id {
        Some(id) => admin.journal.stored_event(&tenant, id).await?,
        None => None,
    };
    let shown = event
        .as_ref()
        .map(|event| text::shown(&event.event.data))
        .filter(|shown| !shown.binary && !shown.cut);
    let data = shown.map_or_else(|| DATA.to_owned(), |shown| shown.text);
    let event = event.as_ref().map(api::EventView::from);
    let frame = viewer.frame(Some(&tenant), "try");
    let endpoints = names(&admin, &tenant);
    page("try.html", context! { frame, event, data, endpoints, chosen => start.endpoint.unwrap_or_default() })
}

pub(super) async fn post(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    body: Bytes,
) -> Result<Response, Problem> {
    let pasted: Pasted = serde_json::from_slice(&body)
        .map_err(|error| Problem::Malformed(format!("send a pasted event: {error}")))?;
    let missing = Problem::NotFound("endpoint");
    let endpoint = EndpointId::new(&pasted.endpoint).map_err(|_| missing.clone())?;
    let live = admin.live.load_full();
    let endpoint = live.endpoint(&EndpointKey::new(tenant.clone(), endpoint)).ok_or(missing)?;
    let event = Arc::new(event(tenant, pasted)?);
    let waits =
        |plugins| Previewed { result: "waits", reason: endpoint.chain.reason(), content: None, plugins };
    if endpoint.chain.waits() {
        return Ok(ok(&waits(Vec::new())));
    }
    let (shape, plugins) = shape::preview(&admin.host, endpoint, &event).await;
    let ended = |result, reason| (result, Some(reason), None);
    let (result, reason, content) = match shape {
        Shape::Ready(shaped) => ("sent", None, Some(shaped.into())),
        Shape::Filtered(reason) => ended("filtered", reason),
        Shape::Failed(reason) | Shape::Unavailable(reason) => ended("failed", reason),
        Shape::Waits => return Ok(ok(&waits(plugins))),
    };
    Ok(ok(&Previewed { result, reason, content, plugins }))
}

fn event(tenant: TenantId, pasted: Pasted) -> Result<Event, Problem> {
    let now = Timestamp::now();
    let event_type =
        EventType::new(&pasted.event_type).map_err(|error| Problem::Malformed(format!("type: {error}")))?;
    Ok(Event {
        source: format!("/tenants/{tenant}"),
        tenant,
        id: EventId::generate(now),
        event_type,
        subject: Some(pasted.subject).filter(|subject| !subject.is_empty()),
        time: now.to_string(),
        received: now,
        content_type: pasted.content_type,
        attributes: Vec::new(),
        ordering_key: None,
        data: Bytes::from(pasted.data),
    })
}
