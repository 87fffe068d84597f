//! Deliveries: list, get with all attempts, retry.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::{DeliveryFilter, Journal, Selection};
use hookweir_model::{DeliveryKey, EndpointId, EndpointKey, EventId, TenantId};
use serde::Deserialize;

use super::access::{Reader, Tenant};
#[cfg(test)]
use super::openapi::Refusals;
use super::query::{self, ListQuery};
use super::{Admin, ok};
use crate::api;
use crate::clock::Clock;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct DeliveryPath {
    pub event: String,
    pub endpoint: String,
}

impl DeliveryPath {
    pub(super) fn key(&self, tenant: TenantId) -> Result<DeliveryKey, Problem> {
        let missing = Problem::NotFound("delivery");
        let event = EventId::new(&self.event).map_err(|_| missing.clone())?;
        let endpoint = EndpointId::new(&self.endpoint).map_err(|_| missing)?;
        Ok(DeliveryKey { tenant, endpoint, event })
    }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_deliveries", path = "/v1/tenants/{tenant}/deliveries", params(("tenant" = hookweir_model::TenantId, Path), query::DeliveriesQuery), responses((status = 200, description = "Deliveries, newest first", body = api::List<api::DeliveryView>), Refusals)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    query: ListQuery<DeliveryFilter>,
) -> Result<Response, Problem> {
    Ok(ok(&deliveries(&*admin.journal, &admin.clock, &query).await?))
}

/// A page of deliveries.
pub(super) async fn deliveries(
    journal: &dyn Journal,
    clock: &Clock,
    query: &ListQuery<DeliveryFilter>,
) -> Result<api::List<api::DeliveryView>, Problem> {
    let page = journal.deliveries(&query.filter, query.cursor.as_ref(), query.limit).await?;
    Ok(query::list(page, &query.hidden, |delivery| api::DeliveryView::new(clock, delivery)))
}

#[cfg_attr(test, utoipa::path(get, operation_id = "get_delivery", path = "/v1/tenants/{tenant}/events/{event}/deliveries/{endpoint}", params(("tenant" = hookweir_model::TenantId, Path), ("event" = hookweir_model::EventId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "The delivery", body = api::DeliveryDetail), Refusals)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Reader(caller): Reader,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    Ok(ok(&delivery(&*admin.journal, &admin.clock, tenant, &path, caller.sees_of_attempts()).await?))
}

/// One delivery, with all that is kept of it, as far as it may be seen.
pub(super) async fn delivery(
    journal: &dyn Journal,
    clock: &Clock,
    tenant: TenantId,
    path: &DeliveryPath,
    sees: api::Sees,
) -> Result<api::DeliveryDetail, Problem> {
    let key = path.key(tenant)?;
    api::DeliveryDetail::read(journal, clock, &key, sees).await?.ok_or(Problem::NotFound("delivery"))
}

#[cfg_attr(test, utoipa::path(post, operation_id = "retry_delivery", path = "/v1/tenants/{tenant}/events/{event}/deliveries/{endpoint}/retry", params(("tenant" = hookweir_model::TenantId, Path), ("event" = hookweir_model::EventId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "How many deliveries are sent", body = api::Requeued), Refusals)))]
pub(super) async fn retry(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    let key = path.key(tenant)?;
    admin.journal.delivery(&key).await?.ok_or(Problem::NotFound("delivery"))?;
    let endpoint = EndpointKey::new(key.tenant.clone(), key.endpoint.clone());
    if admin.live.load().endpoint(&endpoint).is_none() {
        let detail =
            format!("endpoint {} is not in the configuration any more: put it back first", key.endpoint);
        return Err(Problem::Conflict(detail));
    }
    let deliveries = admin.journal.requeue(Selection::Retry(key)).await?;
    admin.dispatcher.wake(&endpoint);
    Ok(ok(&api::Requeued { deliveries }))
}

#[cfg_attr(test, utoipa::path(post, operation_id = "cancel_delivery", path = "/v1/tenants/{tenant}/events/{event}/deliveries/{endpoint}/cancel", params(("tenant" = hookweir_model::TenantId, Path), ("event" = hookweir_model::EventId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "How many deliveries were cancelled: none where it was not pending any more", body = api::Cancelled), Refusals)))]
pub(super) async fn cancel(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    let key = path.key(tenant)?;
    let was_pending = admin.journal.cancel(&key, "cancelled by hand").await?;
    if was_pending {
        let endpoint = EndpointKey::new(key.tenant.clone(), key.endpoint.clone());
        admin.dispatcher.forget(&endpoint, &key.event);
        if let Some(delivery) = admin.journal.delivery(&key).await? {
            let what = api::Happening::Handled {
                delivery: api::DeliveryView::new(&admin.clock, delivery),
                attempt: None,
            };
            admin.feed.tell(api::Told { tenant: key.tenant, what });
        }
    }
    Ok(ok(&api::Cancelled { deliveries: u64::from(was_pending) }))
}
