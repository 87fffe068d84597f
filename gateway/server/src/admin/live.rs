//! What happens right now, as server-sent events: one stream for as long as the caller reads.
//!
//! Each event's name is `accepted`, `handled` or `missed`; its data is JSON. `missed` says how many happenings a reader
//! that was too slow did not get; they are in the lists.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse as _, Response, Sse};
use futures_util::stream;
use hookweir_model::{EndpointId, Status, TenantId, TypePattern};
use http::request::Parts;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Admin;
use super::access::{Reader, Tenant};
#[cfg(test)]
use super::openapi::Refusals;
use super::{query, streams};
use crate::api;
use crate::problem::Problem;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Written {
    #[param(value_type = Option<EndpointId>)]
    endpoint: Option<String>,
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    #[param(value_type = Option<TypePattern>)]
    event_type: Option<String>,
}

/// Which happenings are wanted. What an endpoint or a status is asked for leaves out what has none.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    endpoint: Option<EndpointId>,
    status: Option<Status>,
    event_type: Option<TypePattern>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let written: Written = query::written(parts, state).await?;
        Ok(Self {
            endpoint: query::endpoint(written.endpoint)?,
            status: query::status(written.status)?,
            event_type: query::event_type(written.event_type)?,
        })
    }
}

impl Wanted {
    fn takes(&self, what: &api::Happening) -> bool {
        let (event_type, status) = match what {
            api::Happening::Accepted { event, .. } => (&event.event_type, None),
            api::Happening::Handled { delivery, .. } => (&delivery.event_type, Some(delivery.status)),
        };
        let goes_to = |wanted: &EndpointId| match what {
            api::Happening::Accepted { endpoints, .. } => endpoints.contains(wanted),
            api::Happening::Handled { delivery, .. } => delivery.endpoint == *wanted,
        };
        self.endpoint.as_ref().is_none_or(goes_to)
            && self.status.is_none_or(|wanted| status == Some(wanted))
            && self.event_type.as_ref().is_none_or(|pattern| pattern.matches(event_type))
    }
}

/// One stream's place in the feed.
struct Watch {
    feed: Receiver<Arc<api::Told>>,
    stop: CancellationToken,
    tenant: Option<TenantId>,
    wanted: Wanted,
    _place: streams::Stream,
}

#[cfg_attr(test, utoipa::path(get, operation_id = "watch_all", path = "/v1/live", params(Written), responses((status = 200, description = "Server-sent events, for as long as they are read", content_type = "text/event-stream", body = String), Refusals)))]
pub(super) async fn of_all(
    State(admin): State<Admin>,
    Reader(caller): Reader,
    wanted: Wanted,
) -> Result<Response, Problem> {
    watch(&admin, caller.tenant, wanted)
}

#[cfg_attr(test, utoipa::path(get, operation_id = "watch", path = "/v1/tenants/{tenant}/live", params(("tenant" = hookweir_model::TenantId, Path), Written), responses((status = 200, description = "Server-sent events, for as long as they are read", content_type = "text/event-stream", body = String), Refusals)))]
pub(super) async fn of_tenant(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    wanted: Wanted,
) -> Result<Response, Problem> {
    watch(&admin, Some(tenant), wanted)
}

fn watch(admin: &Admin, tenant: Option<TenantId>, wanted: Wanted) -> Result<Response, Problem> {
    let place = admin.streams.open(tenant.clone())?;
    let (feed, stop) = (admin.feed.watch(), admin.stop.clone());
    let watch = Watch { feed, stop, tenant, wanted, _place: place };
    let events = stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::default());
    // nginx holds answers back until it has some kilobytes of them.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

impl Watch {
    /// The next event of the stream; none once the gateway stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                received = self.feed.recv() => received,
            };
            match received {
                Ok(told) if self.is_wanted(&told) => {
                    let name = match told.what {
                        api::Happening::Accepted { .. } => "accepted",
                        api::Happening::Handled { .. } => "handled",
                    };
                    return Some(event(name, &*told));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(event("missed", &api::Missed { count })),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn is_wanted(&self, told: &api::Told) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| told.tenant == *tenant) && self.wanted.takes(&told.what)
    }
}

fn event(name: &'static str, data: &impl serde::Serialize) -> Event {
    // Our own types always serialize, and JSON text has no line break.
    let text = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(text)
}
