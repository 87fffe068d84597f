//! Events: list, get, replay.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::{EventFilter, Journal, Selection};
use hookweir_model::{EndpointId, EndpointKey, EventId, TenantId};
use serde::Deserialize;

use super::access::Tenant;
#[cfg(test)]
use super::openapi::Refusals;
use super::query::{self, ListQuery};
use super::{Admin, ok};
use crate::api;
use crate::clock::Clock;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct EventPath {
    pub event: String,
}

impl EventPath {
    pub(super) fn id(&self) -> Result<EventId, Problem> {
        EventId::new(&self.event).map_err(|_| Problem::NotFound("event"))
    }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_events", path = "/v1/tenants/{tenant}/events", params(("tenant" = hookweir_model::TenantId, Path), query::EventsQuery), responses((status = 200, description = "Events, newest first", body = api::List<api::EventView>), Refusals)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    query: ListQuery<EventFilter>,
) -> Result<Response, Problem> {
    Ok(ok(&events(&*admin.journal, &query).await?))
}

/// A page of events.
pub(super) async fn events(
    journal: &dyn Journal,
    query: &ListQuery<EventFilter>,
) -> Result<api::List<api::EventView>, Problem> {
    let page = journal.events(&query.filter, query.cursor.as_ref(), query.limit).await?;
    Ok(query::list(page, &query.hidden, |event| api::EventView::from(&event)))
}

#[cfg_attr(test, utoipa::path(get, operation_id = "get_event", path = "/v1/tenants/{tenant}/events/{event}", params(("tenant" = hookweir_model::TenantId, Path), ("event" = hookweir_model::EventId, Path)), responses((status = 200, description = "The event", body = api::EventDetail), Refusals)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EventPath>,
) -> Result<Response, Problem> {
    Ok(ok(&event(&*admin.journal, &admin.clock, &tenant, &path).await?))
}

/// One event, with where it went.
pub(super) async fn event(
    journal: &dyn Journal,
    clock: &Clock,
    tenant: &TenantId,
    path: &EventPath,
) -> Result<api::EventDetail, Problem> {
    let id = path.id()?;
    let event = journal.stored_event(tenant, &id).await?.ok_or(Problem::NotFound("event"))?;
    let deliveries = journal.deliveries_of(tenant, &id).await?;
    let view = |delivery| api::DeliveryView::new(clock, delivery);
    Ok(api::EventDetail::new(&event, deliveries.into_iter().map(view).collect()))
}

/// Sends an event anew: to every endpoint it went to, and to those that would match it today.
#[cfg_attr(test, utoipa::path(post, operation_id = "replay_event", path = "/v1/tenants/{tenant}/events/{event}/replay", params(("tenant" = hookweir_model::TenantId, Path), ("event" = hookweir_model::EventId, Path)), responses((status = 200, description = "How many deliveries are sent", body = api::Requeued), Refusals)))]
pub(super) async fn replay(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EventPath>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let stored = admin.journal.stored_event(&tenant, &id).await?.ok_or(Problem::NotFound("event"))?;
    if let Some(damage) = stored.damage {
        return Err(Problem::Conflict(damage.to_owned()));
    }
    let event = stored.event;
    let live = admin.live.load_full();
    let configured = live.tenant(tenant.as_str()).ok_or(Problem::NotFound("tenant"))?;
    let mut endpoints = configured.matching(&event.event_type);
    for delivery in admin.journal.deliveries_of(&tenant, &id).await? {
        let endpoint: EndpointId = delivery.key.endpoint;
        if configured.endpoints.contains_key(&endpoint) && !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    let selection = Selection::Replay { tenant: tenant.clone(), event: id, endpoints: endpoints.clone() };
    let deliveries = admin.journal.requeue(selection).await?;
    for endpoint in endpoints {
        admin.dispatcher.wake(&EndpointKey::new(tenant.clone(), endpoint));
    }
    Ok(ok(&api::Requeued { deliveries }))
}
