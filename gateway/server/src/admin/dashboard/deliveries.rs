//! Deliveries: the list, and one with every stage of its way.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::DeliveryFilter;
use hookweir_model::{Delivery, EndpointKey, Outcome, Status};
use http::Uri;
use minijinja::context;
use serde::Serialize;

use super::endpoints::names;
use super::filter::Asked;
use super::overview::Row;
use super::page::{Viewer, page};
use super::text::{self, Shown};
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
    let view = |delivery| api::DeliveryView::new(&admin.clock, delivery);
    let found = query::list(found, &query.hidden, view);
    let next = found.next.as_deref().map(|cursor| Asked::next(uri.query(), cursor));
    let statuses = Status::ALL.map(Status::as_str);
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    page(
        "deliveries.html",
        context! { frame, asked, next, endpoints, statuses, outcomes, deliveries => found.data },
    )
}

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Path(path): Path<DeliveryPath>,
) -> Result<Response, Problem> {
    let key = path.key(tenant.clone())?;
    let detail =
        api::DeliveryDetail::read(&*admin.journal, &admin.clock, &key, viewer.caller.sees_of_attempts())
            .await?
            .ok_or(Problem::NotFound("delivery"))?;
    let event = admin.journal.stored_event(&tenant, &key.event).await?.ok_or(Problem::NotFound("event"))?;
    let live = admin.live.load_full();
    let endpoint = match live.endpoint(&EndpointKey::new(tenant.clone(), key.endpoint.clone())) {
        Some(endpoint) => Some(Row::read(&admin, endpoint, &viewer).await?),
        None => None,
    };
    let frame = viewer.frame(Some(&tenant), "deliveries");
    let data = text::shown(&event.event.data);
    let event = api::EventView::from(&event);
    let api::DeliveryDetail { delivery, attempts, sent, plugins } = detail;
    let sent = sent.map(|sent| Sent::new(sent, &data));
    page("delivery.html", context! { frame, delivery, attempts, plugins, event, endpoint, data, sent })
}

/// How often the journal is asked to go on, where its page ends early because it has looked for long.
const TURNS: usize = 16;

/// So many of the newest deliveries under a filter, as far as they are found in reasonable time.
pub(super) async fn newest(
    admin: &Admin,
    filter: &DeliveryFilter,
    wanted: usize,
) -> Result<Vec<Delivery>, Problem> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..TURNS {
        let page = admin.journal.deliveries(filter, after.as_ref(), wanted - found.len()).await?;
        found.extend(page.items);
        after = page.next;
        if after.is_none() || found.len() == wanted {
            break;
        }
    }
    Ok(found)
}

/// What was sent, beside what came in.
#[derive(Debug, Serialize)]
struct Sent {
    content_type: String,
    headers: Vec<(String, String)>,
    body: Shown,
    /// Where the two differ, line by line; empty where they do not.
    changes: Vec<text::Change>,
}

impl Sent {
    fn new(sent: api::Content, came: &Shown) -> Self {
        let body = sent.data.as_deref().or(sent.data_base64.as_deref()).unwrap_or_default();
        let body = Shown { binary: sent.data.is_none(), ..text::shown(body.as_bytes()) };
        let changes = text::changes(&came.text, &body.text);
        Self { content_type: sent.content_type, headers: sent.headers, body, changes }
    }
}
