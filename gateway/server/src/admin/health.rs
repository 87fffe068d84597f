//! Is it alive, can it take events, and what does it count.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::access::Reader;
#[cfg(test)]
use super::openapi::Refusals;
use super::{Admin, ok};
use crate::api::DamageSummaryView;
use crate::metrics::Form;
use crate::problem::{Problem, json};
use crate::scrape;

/// The process answers: that is all this says.
#[cfg_attr(test, utoipa::path(get, operation_id = "healthz", path = "/healthz", security(()), responses((status = 200, description = "The process lives", content_type = "text/plain", body = String))))]
pub(super) async fn process() -> &'static str {
    "ok\n"
}

/// Whether events are taken.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    engine: &'static str,
    /// Whether an acknowledged event survives a power cut.
    power_safe: bool,
    epoch: u64,
    pending: u64,
    /// Why no events are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Damage in the journal that nobody has acknowledged; left out where there is none. Events are taken all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<DamageSummaryView>,
    /// Why https receivers are not trusted by the machine's own authorities, and what to do; left out where they are, or where
    /// there are none. Events are taken all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<String>,
}

/// 200 while events are taken, else 503. It tells nothing of a tenant, so it asks for no token.
#[cfg_attr(test, utoipa::path(get, operation_id = "readyz", path = "/readyz", security(()), responses(
    (status = 200, description = "Events are taken", body = Readiness),
    (status = 503, description = "No events are taken", body = Readiness),
)))]
pub(super) async fn ready(State(admin): State<Admin>) -> Result<Response, Problem> {
    let health = admin.journal.health().await?;
    // Load balancers see it before the listeners are closed.
    let stopping = admin.stop.is_cancelled().then(|| "the gateway is stopping".to_owned());
    let reason = stopping.or(health.writable.err());
    let readiness = Readiness {
        ready: reason.is_none(),
        engine: "embedded",
        power_safe: health.power_safe,
        epoch: health.epoch.0,
        pending: health.pending,
        reason,
        damage: DamageSummaryView::new(&admin.journal.damage_summary()),
        trust: admin.live.load().distrust(),
    };
    if readiness.ready {
        Ok(ok(&readiness))
    } else {
        Ok(json(StatusCode::SERVICE_UNAVAILABLE, &readiness).map(axum::body::Body::new))
    }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "metrics", path = "/metrics", responses((status = 200, description = "Metrics for Prometheus", content((String = "text/plain"), (String = "application/openmetrics-text"))), Refusals)))]
pub(super) async fn metrics(
    State(admin): State<Admin>,
    Reader(caller): Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if caller.tenant.is_some() {
        return Err(Problem::NotFound("resource"));
    }
    let live = admin.live.load_full();
    let form = Form::asked_for(&headers);
    let moment =
        scrape::moment(&*admin.journal, &live, &admin.dispatcher, &admin.clock, &admin.listening).await?;
    let text = admin.metrics.render(&moment, form);
    Ok(([(CONTENT_TYPE, form.content_type())], text).into_response())
}

/// What the admin listener answers, in OpenAPI 3.1. It is made from the code and compared with it by a test.
#[cfg(feature = "manual")]
pub(super) async fn specification() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("../../../../docs/openapi.json")).into_response()
}
