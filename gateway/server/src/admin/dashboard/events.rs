//! Events: the list, and one with its data and deliveries.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::EventFilter;
use http::Uri;
use minijinja::context;

use super::filter::Asked;
use super::page::{Viewer, page};
use super::text;
use crate::admin::Admin;
use crate::admin::access::Tenant;
use crate::admin::events::EventPath;
use crate::admin::query::{self, ListQuery};
use crate::api;
use crate::problem::Problem;

pub(super) async fn list(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    uri: Uri,
    query: ListQuery<EventFilter>,
) -> Result<Response, Problem> {
    let asked = Asked::read(uri.query());
    let frame = viewer.frame(Some(&tenant), "events");
    let found = admin.journal.events(&query.filter, query.cursor.as_ref(), query.limit).await?;
    let found = query::list(found, &query.hidden, |event| api::EventView::from(&event));
    let next = found.next.as_deref().map(|cursor| Asked::next(uri.query(), cursor));
    page("events.html", context! { frame, asked, next, events => found.data })
}

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Path(path): Path<EventPath>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let event = admin.journal.stored_event(&tenant, &id).await?.ok_or(Problem::NotFound("event"))?;
    let deliveries = admin.journal.deliveries_of(&tenant, &id).await?;
    let frame = viewer.frame(Some(&tenant), "events");
    let data = text::shown(&event.event.data);
    let view = |delivery| api::DeliveryView::new(&admin.clock, delivery);
    let detail = api::EventDetail::new(&event, deliveries.into_iter().map(view).collect());
    page("event.html", context! { frame, detail, data })
}
