//! Plugins: list, get, upload, rollback, pause, resume, dry run.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use hookweir_journal::EventFilter;
use hookweir_model::{PluginId, PluginKey, PluginRole, TenantId, TypePattern};
use serde::Deserialize;

use super::access::{OwnTenant, Tenant};
#[cfg(test)]
use super::openapi::Refusals;
use super::query::NamesQuery;
use super::{Admin, ok, query, upload};
use crate::api;
use crate::config::PluginSource;
use crate::live::{self, Live};
use crate::plugins::{DryRunRequest, Refused, Slot, dry_run};
use crate::problem::Problem;

/// Events that a dry run takes where its query names no number, and the most that it takes.
const DRY_RUN_EVENTS: usize = 100;
const MOST_DRY_RUN_EVENTS: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct PluginPath {
    plugin: String,
}

impl PluginPath {
    /// A plugin of the configuration. Whoever may see the tenant may be told how to add it.
    pub(super) fn find(&self, admin: &Admin, tenant: &TenantId) -> Result<PluginKey, Problem> {
        let id = PluginId::new(&self.plugin).map_err(|_| Problem::NotFound("plugin"))?;
        let key = PluginKey::new(tenant.clone(), id);
        match admin.live.load().slot(&key) {
            Some(_) => Ok(key),
            None => Err(missing(&key)),
        }
    }
}

/// The window of a dry run.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Received then or later, in RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Received before, in RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    #[param(value_type = Option<TypePattern>)]
    event_type: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Window {
    fn check(self, tenant: TenantId) -> Result<(EventFilter, usize), Problem> {
        let limit = self.limit.unwrap_or(DRY_RUN_EVENTS);
        if !(1..=MOST_DRY_RUN_EVENTS).contains(&limit) {
            let wanted = format!("give a number from 1 to {MOST_DRY_RUN_EVENTS}");
            return Err(query::malformed("limit", &wanted));
        }
        let filter = EventFilter {
            id_part: None,
            tenant,
            event_type: query::event_type(self.event_type)?,
            since: query::time("since", self.since)?,
            until: query::time("until", self.until)?,
        };
        Ok((filter, limit))
    }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_plugins", path = "/v1/tenants/{tenant}/plugins", params(("tenant" = hookweir_model::TenantId, Path), query::NamesQuery), responses((status = 200, description = "The plugins, by their ids", body = api::List<api::PluginView>), Refusals)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    which: NamesQuery,
) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let plugins = &live.tenant(tenant.as_str()).ok_or(Problem::NotFound("tenant"))?.plugins;
    let (names, next) = which.page(plugins.keys())?;
    let shown = |id: &PluginId| {
        let slot = plugins.get(id)?;
        Some(view(&admin, &live, &PluginKey::new(tenant.clone(), id.clone()), slot))
    };
    let data = names.into_iter().filter_map(shown).collect();
    Ok(ok(&api::List { data, next }))
}

#[cfg_attr(test, utoipa::path(get, operation_id = "get_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path)), responses((status = 200, description = "The plugin", body = api::PluginView), Refusals)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<PluginPath>,
) -> Result<Response, Problem> {
    shown(&admin, &path.find(&admin, &tenant)?)
}

/// Takes a component as the plugin's next one.
#[cfg_attr(test, utoipa::path(put, operation_id = "put_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path)), request_body(content = String, content_type = "application/octet-stream"), responses((status = 200, description = "The plugin as it is then", body = api::PluginView), Refusals)))]
pub(super) async fn put(
    State(admin): State<Admin>,
    OwnTenant(tenant): OwnTenant,
    Path(path): Path<PluginPath>,
    body: Body,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let turn = admin.uploads.turn(&tenant).await?;
    let wasm = upload::read(body).await?;
    let taken = admin.plugins.upload(&key, wasm).await;
    admin.dispatcher.plugins_changed(&key.tenant);
    drop(turn);
    taken.map_err(|refused| problem(&key, refused))?;
    shown(&admin, &key)
}

#[cfg_attr(test, utoipa::path(post, operation_id = "rollback_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}/rollback", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path)), responses((status = 200, description = "The plugin as it is then", body = api::PluginView), Refusals)))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    OwnTenant(tenant): OwnTenant,
    Path(path): Path<PluginPath>,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let changed = admin.plugins.rollback(&key).await;
    admin.dispatcher.plugins_changed(&key.tenant);
    changed.map_err(|refused| problem(&key, refused))?;
    shown(&admin, &key)
}

#[cfg_attr(test, utoipa::path(post, operation_id = "pause_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}/pause", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path)), responses((status = 200, description = "The plugin as it is then", body = api::PluginView), Refusals)))]
pub(super) async fn pause(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<PluginPath>,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let changed = admin.plugins.pause(&key).await;
    // Also where it could not be kept: it is so until the gateway ends.
    admin.dispatcher.plugins_changed(&key.tenant);
    changed.map_err(|refused| problem(&key, refused))?;
    shown(&admin, &key)
}

#[cfg_attr(test, utoipa::path(post, operation_id = "resume_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}/resume", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path)), responses((status = 200, description = "The plugin as it is then", body = api::PluginView), Refusals)))]
pub(super) async fn resume(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<PluginPath>,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let changed = admin.plugins.resume(&key).await;
    admin.dispatcher.plugins_changed(&key.tenant);
    changed.map_err(|refused| problem(&key, refused))?;
    shown(&admin, &key)
}

/// Runs stored events through the present component and the given one; sends and keeps nothing.
#[cfg_attr(test, utoipa::path(post, operation_id = "test_plugin", path = "/v1/tenants/{tenant}/plugins/{plugin}/test", params(("tenant" = hookweir_model::TenantId, Path), ("plugin" = hookweir_model::PluginId, Path), Window), request_body(content = Option<String>, content_type = "application/octet-stream"), responses((status = 200, description = "What would change", body = api::DryRun), Refusals)))]
pub(super) async fn test(
    State(admin): State<Admin>,
    Tenant(tenant): Tenant,
    Path(path): Path<PluginPath>,
    window: Result<Query<Window>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let Query(window) = window.map_err(|error| Problem::Malformed(error.body_text()))?;
    let (filter, limit) = window.check(tenant.clone())?;
    let _turn = admin.uploads.turn(&tenant).await?;
    let wasm = Some(upload::read(body).await?).filter(|wasm| !wasm.is_empty());
    let request = DryRunRequest { filter, limit, wasm };
    let run = dry_run(&admin.plugins, &key, request).await.map_err(|refused| problem(&key, refused))?;
    Ok(ok(&run))
}

fn missing(key: &PluginKey) -> Problem {
    let PluginKey { tenant, plugin } = key;
    Problem::Missing(format!(
        "the configuration has no such plugin: add a table [tenants.{tenant}.plugins.{plugin}], without `file` if \
         its component is to be uploaded, and reload"
    ))
}

fn problem(key: &PluginKey, refused: Refused) -> Problem {
    match refused {
        Refused::NotConfigured => missing(key),
        Refused::FromFile => Problem::Conflict(
            "its component comes from the configuration's file: remove `file` to manage it by upload"
                .to_owned(),
        ),
        Refused::Conflict(detail) => Problem::Conflict(detail),
        Refused::Unusable(detail) => Problem::Unusable(detail),
        Refused::Journal(error) => error.into(),
        Refused::Host => Problem::Internal,
    }
}

fn shown(admin: &Admin, key: &PluginKey) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let slot = live.slot(key).ok_or_else(|| missing(key))?;
    Ok(ok(&view(admin, &live, key, slot)))
}

pub(super) fn view(admin: &Admin, live: &Live, key: &PluginKey, slot: &Slot) -> api::PluginView {
    let settings = &slot.settings;
    let component = slot.component.as_ref().ok();
    let state = admin.plugins.state(key);
    let (source, upload) = match settings.source {
        PluginSource::File { .. } => (api::PluginSource::File, None),
        PluginSource::Builtin { .. } => (api::PluginSource::Builtin, None),
        PluginSource::Upload { .. } => (api::PluginSource::Upload, state.upload),
    };
    let exports = component.map(|component| component.plugin.exports());
    let roles = [
        (PluginRole::Filter, exports.is_some_and(|exports| exports.filter)),
        (PluginRole::Transformer, exports.is_some_and(|exports| exports.transformer)),
    ];
    let users = live.tenant(key.tenant.as_str()).map(|tenant| tenant.endpoints.values());
    let uses =
        |endpoint: &live::Endpoint| live::named(&endpoint.settings).any(|(name, _)| *name == key.plugin);
    let mut endpoints: Vec<_> = users
        .into_iter()
        .flatten()
        .filter(|endpoint| uses(endpoint))
        .map(|endpoint| endpoint.key.endpoint.clone())
        .collect();
    endpoints.sort();
    let paused = component.and_then(|component| component.watch.paused());
    api::PluginView {
        id: key.plugin.clone(),
        source,
        digest: component.map(|component| component.plugin.digest()),
        previous: upload.as_ref().and_then(|upload| upload.previous),
        size: component.map(|component| component.plugin.size()),
        exports: roles.into_iter().filter(|(_, is)| *is).map(|(role, _)| role).collect(),
        endpoints,
        waits: paused
            .as_ref()
            .map(|paused| format!("it is paused: {}", paused.reason))
            .or_else(|| slot.component.as_ref().err().cloned()),
        paused: paused.map(|paused| api::PausedView {
            since: paused.since.to_string(),
            reason: paused.reason,
            failures: paused.failures,
        }),
        failures: admin.metrics.plugin_failures(key),
        uploaded_at: upload.map(|upload| upload.at.to_string()),
        limits: api::LimitsView {
            deadline_us: u64::try_from(settings.limits.deadline.as_micros()).unwrap_or(u64::MAX),
            memory: settings.limits.memory,
            output: settings.limits.output,
            log: settings.limits.log,
        },
        reuse: settings.reuse,
    }
}
