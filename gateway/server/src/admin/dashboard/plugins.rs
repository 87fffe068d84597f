//! One plugin: what is in force, and what another component would change.

use axum::extract::{Path, State};
use axum::response::Response;
use minijinja::context;

use super::page::{Viewer, page};
use crate::admin::Admin;
use crate::admin::access::Tenant;
use crate::admin::plugins::{PluginPath, view};
use crate::problem::Problem;

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
    let config = super::text::pretty(&slot.settings.config);
    let frame = viewer.frame(Some(&tenant), "plugins");
    page("plugin.html", context! { frame, plugin, config })
}
