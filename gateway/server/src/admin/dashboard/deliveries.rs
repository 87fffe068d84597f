//! Deliveries: the list, and one with every stage of its way.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::DeliveryFilter;
use hookweir_model::{EndpointKey, Status};
use http::Uri;
use minijinja::context;

use super::endpoints::names;
use super::filter::Asked;
use super::overview::Row;
use super::page::{Viewer, page};
use super::text;
use crate::admin::Admin;
use crate::admin::access::Tenant;
use crate::admin::deliveries::DeliveryPath;
use crate::admin::query::{self, ListQuery};
use crate::api;
use crate::problem::Problem;

pub(super) async fn list(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    uri: Uri,
    query: ListQuery<DeliveryFilter>,
) -> Result<Response, Problem> {
    let asked = Asked::read(uri.query());
    let frame = viewer.frame(Some(&tenant), "deliveries");
    let endpoints = names(&admin, &tenant);
    let found = admin.journal.deliveries(&query.filter, query.cursor.as_ref(), query.limit).await?;
    let found = query::list(found, api::DeliveryView::from);
    let next = found.next.as_deref().map(|cursor| Asked::next(uri.query(), cursor));
    let statuses = Status::ALL.map(Status::as_str);
    page("deliveries.html", context! { frame, asked, next, endpoints, statuses, deliveries => found.data })
}

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    let key = path.key(tenant.clone())?;
    let delivery = admin.journal.delivery(&key).await?.ok_or(Problem::NotFound("delivery"))?;
    let attempts = admin.journal.attempts(&key).await?;
    let attempts: Vec<api::AttemptView> = attempts.into_iter().map(Into::into).collect();
    let event = admin.journal.event(&tenant, &key.event).await?.ok_or(Problem::NotFound("event"))?;
    let live = admin.live.load_full();
    let endpoint = match live.endpoint(&EndpointKey::new(tenant.clone(), key.endpoint.clone())) {
        Some(endpoint) => Some(Row::read(&admin, endpoint).await?),
        None => None,
    };
    let frame = viewer.frame(Some(&tenant), "deliveries");
    let data = text::shown(&event.data);
    let delivery = api::DeliveryView::from(delivery);
    let event = api::EventView::from(&event);
    page("delivery.html", context! { frame, delivery, attempts, event, endpoint, data })
}
