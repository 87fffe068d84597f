//! One endpoint: how it fares, how it is set up, and what it was sent last.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::DeliveryFilter;
use hookweir_model::{DeliveryKey, Status, TenantId};
use minijinja::context;

use super::deliveries::newest;
use super::overview::Row;
use super::page::{Viewer, page};
use super::spread::{Spread, histogram};
use crate::admin::Admin;
use crate::admin::access::Tenant;
use crate::admin::endpoints::EndpointPath;
use crate::api;
use crate::problem::Problem;

/// Deliveries that the strip shows.
const STRIP: usize = 60;
/// Of these, the newest delivered ones whose attempts are looked at for how long they took.
const TIMED: usize = 30;
/// Deliveries that are listed.
const LISTED: usize = 15;

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    let row = Row::read(&admin, &endpoint, &viewer).await?;
    let filter = DeliveryFilter {
        endpoint: Some(endpoint.key.endpoint.clone()),
        ..DeliveryFilter::of(tenant.clone())
    };
    let newest = newest(&admin, &filter, STRIP).await?;
    let arrived: Vec<_> = newest.iter().filter(|delivery| delivery.status == Status::Delivered).collect();
    let times = times(&admin, arrived.iter().take(TIMED).map(|delivery| &delivery.key)).await?;
    let (columns, took) = (histogram(&times), Spread::of(times));
    let ended = newest
        .iter()
        .filter(|delivery| !matches!(delivery.status, Status::Pending | Status::Filtered))
        .count();
    let rate = (ended > 0).then(|| arrived.len() * 100 / ended);
    let view = |delivery| api::DeliveryView::new(&admin.clock, delivery);
    let mut strip: Vec<api::DeliveryView> = newest.into_iter().map(view).collect();
    let listed: Vec<_> = strip.iter().take(LISTED).cloned().collect();
    strip.reverse();
    let frame = viewer.frame(Some(&tenant), "endpoints");
    let retry = &endpoint.settings.retry;
    let waits: Vec<String> =
        retry.waits.iter().map(|wait| humantime::format_duration(*wait).to_string()).collect();
    page(
        "endpoint.html",
        context! { frame, endpoint => row, strip, listed, took, columns, rate, ended, waits },
    )
}

/// How long the attempts took that arrived, in milliseconds.
async fn times(admin: &Admin, keys: impl Iterator<Item = &DeliveryKey>) -> Result<Vec<u64>, Problem> {
    let mut times = Vec::new();
    for key in keys {
        times.extend(admin.journal.attempts(key).await?.last().map(|attempt| attempt.duration_ms));
    }
    Ok(times)
}

/// The names of a tenant's endpoints, for a choice among them.
pub(super) fn names(admin: &Admin, tenant: &TenantId) -> Vec<String> {
    let live = admin.live.load();
    let keys = live.tenant(tenant.as_str()).map(|tenant| tenant.endpoints.keys());
    let mut names: Vec<_> = keys.into_iter().flatten().map(ToString::to_string).collect();
    names.sort();
    names
}
