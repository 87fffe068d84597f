//! Tenants and their endpoints: list, get, enable, disable, recover, test, rotate-secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use hookweir_journal::{Counts, Selection};
use hookweir_model::{EndpointKey, PluginId, Status, TenantId, Timestamp};
use http::header::{CACHE_CONTROL, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::access::{OwnTenant, Reader, Tenant};
#[cfg(test)]
use super::openapi::Refusals;
use super::query::NamesQuery;
use super::{Admin, ok, query};
use crate::api;
use crate::live::Endpoint;
use crate::probe;
use crate::problem::Problem;
use crate::rotate::{self, Told};

/// How many seconds secrets before a new one sign beside it, unless it is said, and the longest that can be.
const KEPT: u32 = 24 * 3600;
const LONGEST_KEPT: u32 = 30 * 24 * 3600;

#[derive(Debug, Deserialize)]
pub(super) struct EndpointPath {
    endpoint: String,
}

impl EndpointPath {
    pub(super) fn find(&self, admin: &Admin, tenant: &TenantId) -> Result<Arc<Endpoint>, Problem> {
        let live = admin.live.load();
        let found =
            live.tenant(tenant.as_str()).and_then(|tenant| tenant.endpoints.get(self.endpoint.as_str()));
        found.cloned().ok_or(Problem::NotFound("endpoint"))
    }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_tenants", path = "/v1/tenants", responses((status = 200, description = "The tenants that the caller sees", body = api::List<api::TenantView>), Refusals)))]
pub(super) async fn tenants(State(admin): State<Admin>, Reader(caller): Reader) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let mut data = Vec::new();
    for tenant in live.tenants().filter(|tenant| caller.sees(&tenant.id)) {
        data.push(api::TenantView {
            id: tenant.id.clone(),
            endpoints: tenant.endpoints.len(),
            plugins: tenant.plugins.len(),
            pending_bytes: admin.journal.pending_bytes(&tenant.id).await?,
            quota: tenant.quota.into(),
        });
    }
    data.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(ok(&api::List { data, next: None }))
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_endpoints", path = "/v1/tenants/{tenant}/endpoints", params(("tenant" = hookweir_model::TenantId, Path), query::NamesQuery), responses((status = 200, description = "The endpoints, by their ids", body = api::List<api::EndpointView>), Refusals)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Reader(caller): Reader,
    which: NamesQuery,
) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let endpoints = &live.tenant(tenant.as_str()).ok_or(Problem::NotFound("tenant"))?.endpoints;
    let (names, next) = which.page(endpoints.keys())?;
    let data =
        views(&admin, names.into_iter().filter_map(|name| endpoints.get(name)), caller.sees_urls()).await?;
    Ok(ok(&api::List { data, next }))
}

#[cfg_attr(test, utoipa::path(get, operation_id = "get_endpoint", path = "/v1/tenants/{tenant}/endpoints/{endpoint}", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "The endpoint", body = api::EndpointView), Refusals)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Reader(caller): Reader,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    Ok(ok(&view(&admin, &endpoint, caller.sees_urls()).await?))
}

#[cfg_attr(test, utoipa::path(post, operation_id = "enable_endpoint", path = "/v1/tenants/{tenant}/endpoints/{endpoint}/enable", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "The endpoint as it is then", body = api::EndpointView), Refusals)))]
pub(super) async fn enable(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    switch(&admin, &tenant, &path, true).await
}

#[cfg_attr(test, utoipa::path(post, operation_id = "disable_endpoint", path = "/v1/tenants/{tenant}/endpoints/{endpoint}/disable", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), responses((status = 200, description = "The endpoint as it is then", body = api::EndpointView), Refusals)))]
pub(super) async fn disable(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    switch(&admin, &tenant, &path, false).await
}

async fn switch(
    admin: &Admin,
    tenant: &TenantId,
    path: &EndpointPath,
    on: bool,
) -> Result<Response, Problem> {
    let endpoint = path.find(admin, tenant)?;
    if on && !endpoint.settings.enabled {
        let detail = format!(
            "endpoint {} says 'enabled = false' in the configuration: change it there",
            path.endpoint
        );
        return Err(Problem::Conflict(detail));
    }
    admin.dispatcher.set_enabled(&endpoint.key, on).await?;
    // Who may switch an endpoint sees its URL too.
    Ok(ok(&view(admin, &endpoint, true).await?))
}

/// Sends all failed deliveries of an endpoint since a time again, or all that wait for the time of their next attempt now.
#[cfg_attr(test, utoipa::path(post, operation_id = "recover_endpoint", path = "/v1/tenants/{tenant}/endpoints/{endpoint}/recover", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), request_body = api::RecoverForms, responses((status = 200, description = "How many deliveries are sent, or would be", body = api::Requeued), Refusals)))]
pub(super) async fn recover(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
    body: Bytes,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    let request: api::RecoverRequest = query::object(&body).map_err(|error| {
        Problem::Malformed(format!("send {{\"since\": TIME}} or {{\"pending\": true}}: {error}"))
    })?;
    let since = match (&request.since, request.pending) {
        (Some(since), false) => Some(Timestamp::parse(since).ok_or_else(|| {
            Problem::Malformed("since: give a time in RFC 3339, as 2026-01-31T12:00:00Z".to_owned())
        })?),
        (None, true) => None,
        _ => {
            let wanted =
                "send {\"since\": TIME} for what was given up, or {\"pending\": true} for what waits";
            return Err(Problem::Malformed(wanted.to_owned()));
        }
    };
    if request.dry_run {
        let deliveries = match since {
            Some(since) => admin.journal.recoverable(&endpoint.key, since).await?,
            None => admin.journal.waiting(&endpoint.key).await?,
        };
        return Ok(ok(&api::Requeued { deliveries }));
    }
    let selection = match since {
        Some(since) => Selection::Recover { endpoint: endpoint.key.clone(), since },
        None => Selection::Waiting { endpoint: endpoint.key.clone() },
    };
    let requeued = admin.journal.requeue(selection).await;
    // Also where a later part failed: those before it are due.
    if request.pending {
        admin.dispatcher.send_now(&endpoint.key);
    } else {
        admin.dispatcher.wake(&endpoint.key);
    }
    Ok(ok(&api::Requeued { deliveries: requeued? }))
}

/// Sends a sample, and answers what the receiver said to it.
#[cfg_attr(test, utoipa::path(post, operation_id = "test_endpoint", path = "/v1/tenants/{tenant}/endpoints/{endpoint}/test", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), request_body = Option<probe::Sample>, responses((status = 200, description = "What became of the sample", body = api::Probe), Refusals)))]
pub(super) async fn test(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
    body: Bytes,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    let sample = query::object_or_nothing(&body).map_err(|error| {
        Problem::Malformed(format!("send {{\"type\": ..., \"data\": ...}}, or nothing for a sample: {error}"))
    })?;
    Ok(ok(&probe::probe(&admin.live, &admin.host, &admin.queues, &endpoint.key, sample).await?))
}

/// Puts another signing secret in force, and answers what its receiver has to be told.
#[cfg_attr(test, utoipa::path(post, operation_id = "rotate_endpoint_secret", path = "/v1/tenants/{tenant}/endpoints/{endpoint}/rotate-secret", params(("tenant" = hookweir_model::TenantId, Path), ("endpoint" = hookweir_model::EndpointId, Path)), request_body = Option<api::RotateRequest>, responses((status = 200, description = "The new secret", body = api::Rotated), Refusals)))]
pub(super) async fn rotate_secret(
    State(admin): State<Admin>,
    OwnTenant(tenant): OwnTenant,
    Path(path): Path<EndpointPath>,
    body: Bytes,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?.key.clone();
    let api::RotateRequest { secret, keep_seconds } = query::object_or_nothing(&body).map_err(|_| {
        // What was sent may hold a secret and is not repeated.
        let wanted = "send {\"secret\": TEXT, \"keep_seconds\": NUMBER}, either or both or nothing";
        Problem::Malformed(wanted.to_owned())
    })?;
    let keep_seconds = keep_seconds.unwrap_or(KEPT);
    if keep_seconds > LONGEST_KEPT {
        let wanted = format!("give at most {LONGEST_KEPT}, which is 30 days");
        return Err(query::malformed("keep_seconds", &wanted));
    }
    let keep = Duration::from_secs(keep_seconds.into());
    let rotated =
        rotate::rotate(&admin.plugins, &key, secret, keep).await.map_err(|refused| match refused {
            rotate::Refused::Gone => Problem::NotFound("endpoint"),
            rotate::Refused::Conflict(reason) => Problem::Conflict(reason),
            rotate::Refused::Secret(_) => Problem::Malformed(refused.to_string()),
            rotate::Refused::Random(_) => {
                tracing::error!(
                    target: "hookweir::admin",
                    error = %refused,
                    "the machine gives no random bytes"
                );
                Problem::Internal
            }
        })?;
    let (secret, public_key) = match rotated.told {
        Some(Told::Secret(secret)) => (Some(secret.expose_secret().to_owned()), None),
        Some(Told::Public(key)) => (None, Some(key)),
        None => (None, None),
    };
    let answer = api::Rotated { secret, public_key, previous_until: rotated.until.to_string() };
    let mut response = ok(&answer);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn view(
    admin: &Admin,
    endpoint: &Endpoint,
    sees_url: bool,
) -> Result<api::EndpointView, Problem> {
    let counts = admin.journal.counts(&endpoint.key).await?;
    Ok(counted(admin, endpoint, &counts, sees_url))
}

/// Endpoints in their order: the journal is asked once for all.
pub(super) async fn views<'e>(
    admin: &Admin,
    endpoints: impl Iterator<Item = &'e Arc<Endpoint>> + Clone,
    sees_urls: bool,
) -> Result<Vec<api::EndpointView>, Problem> {
    let keys: Vec<EndpointKey> = endpoints.clone().map(|endpoint| endpoint.key.clone()).collect();
    let counts = admin.journal.counts_of(&keys).await?;
    Ok(endpoints.zip(&counts).map(|(endpoint, counts)| counted(admin, endpoint, counts, sees_urls)).collect())
}

fn counted(admin: &Admin, endpoint: &Endpoint, counts: &Counts, sees_url: bool) -> api::EndpointView {
    let key: &EndpointKey = &endpoint.key;
    let state = admin.dispatcher.state(key);
    let names = |plugins: &[PluginId]| plugins.iter().map(ToString::to_string).collect();
    let settings = &endpoint.settings;
    api::EndpointView {
        id: key.endpoint.clone(),
        kind: settings.target.kind().to_owned(),
        url: if sees_url { settings.target.address() } else { settings.target.masked_address() },
        event_types: settings.event_types.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        filters: names(&settings.filters),
        transformers: names(&settings.transformers),
        enabled: settings.enabled && state.disabled.is_none(),
        disabled: state.disabled.as_ref().map(Into::into),
        waits: endpoint.chain.reason(),
        failing_since: api::time_text(admin.dispatcher.failing_since(&state)),
        breaker: admin.dispatcher.breaker(key).into(),
        concurrency: settings.pace.concurrency,
        per_second: settings.pace.per_second,
        deliveries: Status::ALL.into_iter().map(|status| (status.to_string(), counts.of(status))).collect(),
    }
}
