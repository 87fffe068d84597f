//! Deliveries: list, get with all attempts, retry.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::{DeliveryFilter, Selection};
use hookweir_model::{DeliveryKey, EndpointId, EndpointKey, EventId, TenantId};
use serde::Deserialize;

use super::access::Tenant;
use super::query::{self, ListQuery};
use super::{Admin, ok};
use crate::api;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct DeliveryPath {
    event: String,
    endpoint: String,
}

impl DeliveryPath {
    fn key(&self, tenant: TenantId) -> Result<DeliveryKey, Problem> {
        let missing = Problem::NotFound("delivery");
        let event = EventId::new(&self.event).map_err(|_| missing.clone())?;
        let endpoint = EndpointId::new(&self.endpoint).map_err(|_| missing)?;
        Ok(DeliveryKey { tenant, endpoint, event })
    }
}

pub(super) async fn list(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    query: ListQuery,
) -> Result<Response, Problem> {
    let filter = DeliveryFilter {
        tenant,
        endpoint: query.endpoint,
        status: query.status,
        event_type: query.event_type,
        since: query.since,
        until: query.until,
    };
    let page = admin.journal.deliveries(&filter, query.cursor.as_ref(), query.limit).await?;
    Ok(ok(&query::list(page, api::DeliveryView::from)))
}

pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    let key = path.key(tenant)?;
    let delivery = admin.journal.delivery(&key).await?.ok_or(Problem::NotFound("delivery"))?;
    let attempts = admin.journal.attempts(&key).await?;
    let attempts = attempts.into_iter().map(Into::into).collect();
    Ok(ok(&api::DeliveryDetail { delivery: delivery.into(), attempts }))
}

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
