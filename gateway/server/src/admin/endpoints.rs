//! Tenants and their endpoints: list, get, enable, disable, recover, test.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use hookweir_journal::Selection;
use hookweir_model::{EndpointKey, PluginId, Status, TenantId, Timestamp};
use serde::Deserialize;

use super::access::{Scope, Tenant};
use super::{Admin, ok};
use crate::api;
use crate::live::Endpoint;
use crate::probe;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
pub(super) struct EndpointPath {
    endpoint: String,
}

impl EndpointPath {
    fn find(&self, admin: &Admin, tenant: &TenantId) -> Result<Arc<Endpoint>, Problem> {
        let live = admin.live.load();
        let found =
            live.tenant(tenant.as_str()).and_then(|tenant| tenant.endpoints.get(self.endpoint.as_str()));
        found.cloned().ok_or(Problem::NotFound("endpoint"))
    }
}

pub(super) async fn tenants(State(admin): State<Admin>, scope: Scope) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let visible = |id: &TenantId| match &scope {
        Scope::Everything => true,
        Scope::Tenant(own) => own == id,
    };
    let mut data = Vec::new();
    for tenant in live.tenants().filter(|tenant| visible(&tenant.id)) {
        data.push(api::TenantView {
            id: tenant.id.clone(),
            endpoints: tenant.endpoints.len(),
            plugins: tenant.plugins.len(),
            pending_bytes: admin.journal.pending_bytes(&tenant.id).await?,
            quota: api::QuotaView {
                pending_bytes: tenant.quota.pending_size,
                events_per_second: tenant.quota.events_per_second,
            },
        });
    }
    data.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(ok(&api::List { data, next: None }))
}

pub(super) async fn list(State(admin): State<Admin>, Tenant(tenant): Tenant) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let configured = live.tenant(tenant.as_str()).ok_or(Problem::NotFound("tenant"))?;
    let mut data = Vec::with_capacity(configured.endpoints.len());
    for endpoint in configured.endpoints.values() {
        data.push(view(&admin, endpoint).await?);
    }
    data.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(ok(&api::List { data, next: None }))
}

pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    Ok(ok(&view(&admin, &endpoint).await?))
}

pub(super) async fn enable(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
) -> Result<Response, Problem> {
    switch(&admin, &tenant, &path, true).await
}

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
    Ok(ok(&view(admin, &endpoint).await?))
}

/// Sends all failed deliveries of an endpoint since a time again.
pub(super) async fn recover(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
    body: Bytes,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    let request: api::RecoverRequest = serde_json::from_slice(&body)
        .map_err(|error| Problem::Malformed(format!("send {{\"since\": TIME}}: {error}")))?;
    let since = Timestamp::parse(&request.since).ok_or_else(|| {
        Problem::Malformed("since: give a time in RFC 3339, as 2026-01-31T12:00:00Z".to_owned())
    })?;
    if request.dry_run {
        let deliveries = admin.journal.recoverable(&endpoint.key, since).await?;
        return Ok(ok(&api::Requeued { deliveries }));
    }
    let selection = Selection::Recover { endpoint: endpoint.key.clone(), since };
    let deliveries = admin.journal.requeue(selection).await?;
    admin.dispatcher.wake(&endpoint.key);
    Ok(ok(&api::Requeued { deliveries }))
}

/// Sends a sample, and answers what the receiver said to it.
pub(super) async fn test(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<EndpointPath>,
    body: Bytes,
) -> Result<Response, Problem> {
    let endpoint = path.find(&admin, &tenant)?;
    let sample = if body.is_empty() { Ok(probe::Sample::default()) } else { serde_json::from_slice(&body) };
    let sample = sample.map_err(|error| {
        Problem::Malformed(format!("send {{\"type\": ..., \"data\": ...}}, or nothing for a sample: {error}"))
    })?;
    let live = admin.live.load_full();
    Ok(ok(&probe::probe(&live, &admin.host, &admin.queues, &endpoint, sample).await?))
}

async fn view(admin: &Admin, endpoint: &Endpoint) -> Result<api::EndpointView, Problem> {
    let key: &EndpointKey = &endpoint.key;
    let state = admin.dispatcher.state(key);
    let counts = admin.journal.counts(key).await?;
    let names = |plugins: &[PluginId]| plugins.iter().map(ToString::to_string).collect();
    let settings = &endpoint.settings;
    Ok(api::EndpointView {
        id: key.endpoint.clone(),
        kind: settings.target.kind().to_owned(),
        url: settings.target.address(),
        event_types: settings.event_types.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        filters: names(&settings.filters),
        transformers: names(&settings.transformers),
        enabled: settings.enabled && state.disabled.is_none(),
        disabled: state.disabled.as_ref().map(Into::into),
        waits: endpoint.chain.reason(),
        failing_since: api::time_text(state.failing_since),
        breaker: admin.dispatcher.breaker(key).into(),
        concurrency: settings.pace.concurrency,
        per_second: settings.pace.per_second,
        deliveries: Status::ALL.into_iter().map(|status| (status.to_string(), counts.of(status))).collect(),
    })
}
