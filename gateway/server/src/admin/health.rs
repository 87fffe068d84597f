//! Is it alive, can it take events, and what does it count.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hookweir_model::Timestamp;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use super::access::Scope;
use super::{Admin, ok};
use crate::problem::{Problem, json};

/// The process answers: that is all this says.
pub(super) async fn process() -> &'static str {
    "ok\n"
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    engine: &'static str,
    /// Whether an acknowledged event survives a power cut.
    power_safe: bool,
    epoch: u64,
    pending: u64,
    /// Why no events are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// 200 while events are taken, else 503. It tells nothing of a tenant, so it asks for no token.
pub(super) async fn ready(State(admin): State<Admin>) -> Result<Response, Problem> {
    let health = admin.journal.health().await?;
    let readiness = Readiness {
        ready: health.writable.is_ok(),
        engine: "embedded",
        power_safe: health.power_safe,
        epoch: health.epoch.0,
        pending: health.pending,
        reason: health.writable.err(),
    };
    if readiness.ready {
        Ok(ok(&readiness))
    } else {
        Ok(json(StatusCode::SERVICE_UNAVAILABLE, &readiness).map(axum::body::Body::new))
    }
}

pub(super) async fn metrics(State(admin): State<Admin>, scope: Scope) -> Result<Response, Problem> {
    if scope != Scope::Everything {
        return Err(Problem::NotFound("resource"));
    }
    let health = admin.journal.health().await?;
    let live = admin.live.load_full();
    admin.metrics.plugins_paused(
        live.tenants()
            .flat_map(|tenant| tenant.plugins.iter().map(|(id, slot)| (&tenant.id, id, slot.is_paused()))),
    );
    let text = admin.metrics.render(&health, Timestamp::now());
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
