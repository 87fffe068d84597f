//! One plugin: what is in force, how its last calls went, and what another component would change.

use axum::extract::{Path, State};
use axum::response::Response;
use hookweir_journal::DeliveryFilter;
use hookweir_model::{Delivery, EndpointId, PluginCall, PluginKey, PluginRole, Status};
use minijinja::context;
use serde::Serialize;

use super::deliveries::newest;
use super::page::{Viewer, page};
use super::spread::Spread;
use crate::admin::Admin;
use crate::admin::access::Tenant;
use crate::admin::plugins::{PluginPath, view};
use crate::api::DeliveryView;
use crate::problem::Problem;

/// Deliveries whose calls are looked at, over all endpoints that use the plugin.
const LOOKED_AT: usize = 60;
/// Calls with log lines that are shown.
const LOGS: usize = 8;

/// How the last calls in one role went.
#[derive(Debug, Serialize)]
struct InRole {
    role: PluginRole,
    /// In microseconds, by the clock.
    took: Spread,
    /// The most memory that an instance had, where that was kept.
    memory: Option<u64>,
}

/// What a call logged, and for which delivery.
#[derive(Debug, Serialize)]
struct Log {
    delivery: DeliveryView,
    log: String,
}

pub(super) async fn get(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    Path(path): Path<PluginPath>,
) -> Result<Response, Problem> {
    let key = path.find(&admin, &tenant)?;
    let live = admin.live.load_full();
    let slot = live.slot(&key).ok_or(Problem::NotFound("plugin"))?;
    let plugin = view(&admin, &live, &key, slot);
    let calls = calls(&admin, &key, &plugin.endpoints).await?;
    let roles: Vec<InRole> = [PluginRole::Filter, PluginRole::Transformer]
        .into_iter()
        .filter_map(|role| in_role(role, calls.iter().map(|(_, call)| call)))
        .collect();
    let logs: Vec<Log> = calls
        .into_iter()
        .filter(|(_, call)| !call.log.is_empty())
        .take(LOGS)
        .map(|(delivery, call)| Log { delivery: DeliveryView::new(&admin.clock, delivery), log: call.log })
        .collect();
    let config = super::text::pretty(&slot.settings.config);
    let frame = viewer.frame(Some(&tenant), "plugins");
    page("plugin.html", context! { frame, plugin, config, roles, logs })
}

/// The plugin's calls for the newest deliveries of its endpoints, newest first.
async fn calls(
    admin: &Admin,
    key: &PluginKey,
    endpoints: &[EndpointId],
) -> Result<Vec<(Delivery, PluginCall)>, Problem> {
    let each = LOOKED_AT / endpoints.len().clamp(1, LOOKED_AT);
    let mut calls = Vec::new();
    for endpoint in endpoints.iter().take(LOOKED_AT) {
        let filter =
            DeliveryFilter { endpoint: Some(endpoint.clone()), ..DeliveryFilter::of(key.tenant.clone()) };
        for delivery in newest(admin, &filter, each).await? {
            let mut made: Vec<PluginCall> = match delivery.attempts {
                0 => Vec::new(),
                _ => {
                    let attempts = admin.journal.attempts(&delivery.key).await?;
                    attempts.into_iter().flat_map(|attempt| attempt.plugins).collect()
                }
            };
            // An event that a filter dropped was not attempted then.
            if delivery.status == Status::Filtered {
                made.extend(admin.journal.made(&delivery.key).await?.calls);
            }
            let own = made.into_iter().filter(|call| call.plugin == key.plugin);
            calls.extend(own.map(|call| (delivery.clone(), call)));
        }
    }
    calls.sort_by_key(|(delivery, _)| std::cmp::Reverse(delivery.received));
    Ok(calls)
}

/// `None` where it was not called so.
fn in_role<'a>(role: PluginRole, calls: impl Iterator<Item = &'a PluginCall>) -> Option<InRole> {
    let calls: Vec<&PluginCall> = calls.filter(|call| call.role == role).collect();
    let took = Spread::of(calls.iter().map(|call| call.micros).collect())?;
    let memory = calls.iter().map(|call| call.memory).max().filter(|most| *most > 0);
    Some(InRole { role, took, memory })
}
