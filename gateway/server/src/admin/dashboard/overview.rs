//! How everything fares, and what failed last: for all tenants, or for one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use hookweir_journal::DeliveryFilter;
use hookweir_model::{Delivery, EndpointId, EndpointKey, PluginKey, Status, TenantId, Timestamp};
use http::request::Parts;
use minijinja::context;
use serde::{Deserialize, Serialize};

use super::page::{Viewer, page};
use crate::admin::access::Tenant;
use crate::admin::{Admin, endpoints, plugins, query};
use crate::api;
use crate::live::{self, Live};
use crate::problem::Problem;

/// Failed deliveries that are shown.
const FAILED: usize = 8;
/// Problems of the configuration that are shown.
const PROBLEMS: usize = 8;
/// Of what a receiver answered, so much is shown beside the reason.
const SAID: usize = 200;
/// Tenants, of those with failures, whose failed deliveries are looked for.
const TENANTS_LOOKED_AT: usize = 20;
/// Endpoints that a page lists, and tenants without one. Of more, those come first that somebody may have to look after.
const SHOWN: usize = 200;

/// An endpoint with what its state comes to, in a word.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub endpoint: api::EndpointView,
    pub condition: &'static str,
    pub pending: u64,
    /// When the event of the oldest of them was received; where one endpoint alone is shown, it is not looked up.
    pub oldest: Option<String>,
    pub delivered: u64,
    /// Exhausted and failed ones.
    pub failed: u64,
}

#[derive(Debug, Serialize)]
struct Group {
    id: TenantId,
    plugins: usize,
    pending_bytes: u64,
    quota: api::QuotaView,
    /// When the event of its oldest pending delivery was received.
    oldest: Option<String>,
    rows: Vec<Row>,
    /// Endpoints that are not shown.
    more: usize,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    pending: u64,
    delivered: u64,
    filtered: u64,
    failed: u64,
    /// Endpoints by condition, where it is not the good one.
    failing: usize,
    off: usize,
    endpoints: usize,
    /// When the event of the oldest pending delivery was received.
    #[serde(skip)]
    oldest: Option<Timestamp>,
}

/// A delivery that somebody may have to look after.
#[derive(Debug, Serialize)]
struct Trouble {
    tenant: TenantId,
    #[serde(flatten)]
    delivery: api::DeliveryView,
    /// What the receiver answered to the last attempt.
    said: Option<String>,
}

/// Which tenants or endpoints a page is to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// A part of the id.
    #[serde(default)]
    id: String,
}

impl FromRequestParts<Admin> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        query::written(parts, admin).await
    }
}

impl Row {
    pub(super) async fn read(
        admin: &Admin,
        endpoint: &live::Endpoint,
        viewer: &Viewer,
    ) -> Result<Self, Problem> {
        Ok(endpoints::view(admin, endpoint, viewer.caller.sees_urls()).await?.into())
    }

    fn is_failing(&self) -> bool {
        !matches!(self.condition, "healthy" | "recovering" | "disabled")
    }

    /// Somebody may have to look after it: also where it is off, by hand or by the gateway, and something waits for it.
    fn is_troubled(&self) -> bool {
        self.is_failing() || (self.condition == "disabled" && self.pending > 0)
    }
}

impl From<api::EndpointView> for Row {
    fn from(endpoint: api::EndpointView) -> Self {
        Self {
            condition: condition(&endpoint),
            pending: endpoint.count(Status::Pending),
            oldest: None,
            delivered: endpoint.count(Status::Delivered),
            failed: endpoint.count(Status::Exhausted) + endpoint.count(Status::Failed),
            endpoint,
        }
    }
}

impl Group {
    fn troubled(&self) -> usize {
        self.rows.iter().filter(|row| row.is_troubled()).count()
    }

    /// Keeps so many endpoints at most.
    fn keep(&mut self, most: usize) {
        if self.rows.len() > most {
            self.rows.sort_by_key(|row| !row.is_troubled());
            self.more = self.rows.len() - most;
            self.rows.truncate(most);
        }
    }
}

/// Keeps tenants with so many endpoints at most, and of all of them those with trouble before any other; answers how many
/// tenants are left out.
fn keep(groups: &mut Vec<Group>, most: usize) -> usize {
    let lines = |group: &Group| group.rows.len().max(1);
    if groups.iter().map(lines).sum::<usize>() <= most {
        return 0;
    }
    groups.sort_by_cached_key(|group| group.troubled() == 0);
    let before = groups.len();
    let mut for_trouble = groups.iter().map(Group::troubled).sum::<usize>().min(most);
    let mut for_others = most - for_trouble;
    groups.retain_mut(|group| {
        let troubled = group.troubled();
        let others = (lines(group) - troubled).min(for_others);
        let troubled = troubled.min(for_trouble);
        for_trouble -= troubled;
        for_others -= others;
        group.keep(troubled + others);
        troubled + others > 0
    });
    before - groups.len()
}

/// The one word that says most.
fn condition(endpoint: &api::EndpointView) -> &'static str {
    if !endpoint.enabled {
        "disabled"
    } else if endpoint.waits.is_some() {
        "waiting"
    } else if endpoint.breaker.state == "open" {
        "paused"
    } else if endpoint.failing_since.is_some() {
        "failing"
    } else if endpoint.breaker.state == "half-open" {
        "recovering"
    } else {
        "healthy"
    }
}

/// All tenants that the viewer may see; the page of the only one where that is its own.
pub(super) async fn all(
    State(admin): State<Admin>,
    viewer: Viewer,
    asked: Asked,
) -> Result<Response, Problem> {
    if let Some(own) = &viewer.caller.tenant {
        return Ok(Redirect::to(&format!("/t/{own}")).into_response());
    }
    let live = admin.live.load_full();
    let mut tenants: Vec<_> = live.tenants().cloned().collect();
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    let (mut groups, totals, failed) = gather(&admin, &tenants, &viewer).await?;
    let oldest = totals.oldest.map(|oldest| oldest.to_string());
    groups.retain(|group| group.id.as_str().contains(&asked.id));
    let more = keep(&mut groups, SHOWN);
    let frame = viewer.frame(None, "overview");
    let writable = admin.journal.writable().is_ok();
    let problems = admin.metrics.taken.problems();
    let more_problems = problems.len().saturating_sub(PROBLEMS);
    let problems = &problems[..problems.len() - more_problems];
    page(
        "overview.html",
        context! { frame, asked => asked.id, groups, more, totals, failed, oldest, writable, problems, more_problems, all => true, now => Timestamp::now().to_string() },
    )
}

pub(super) async fn tenant(
    State(admin): State<Admin>,
    viewer: Viewer,
    Tenant(tenant): Tenant,
    asked: Asked,
) -> Result<Response, Problem> {
    let live = admin.live.load_full();
    let configured = live.tenant(tenant.as_str()).ok_or(Problem::NotFound("tenant"))?;
    let (mut groups, totals, failed) = gather(&admin, std::slice::from_ref(configured), &viewer).await?;
    for group in &mut groups {
        group.rows.retain(|row| row.endpoint.id.as_str().contains(&asked.id));
        group.keep(SHOWN);
    }
    let plugins = plugins_of(&admin, &live, configured);
    let frame = viewer.frame(Some(&tenant), "overview");
    let oldest = groups[0].oldest.clone();
    page(
        "tenant.html",
        context! { frame, asked => asked.id, group => &groups[0], groups, totals, failed, plugins, oldest, all => false },
    )
}

fn plugins_of(admin: &Admin, live: &Live, tenant: &live::Tenant) -> Vec<api::PluginView> {
    let key = |id| PluginKey::new(tenant.id.clone(), id);
    let view =
        |(id, slot): (&hookweir_model::PluginId, _)| plugins::view(admin, live, &key(id.clone()), slot);
    let mut plugins: Vec<_> = tenant.plugins.iter().map(view).collect();
    plugins.sort_by(|a, b| a.id.cmp(&b.id));
    plugins
}

async fn gather(
    admin: &Admin,
    tenants: &[Arc<live::Tenant>],
    viewer: &Viewer,
) -> Result<(Vec<Group>, Totals, Vec<Trouble>), Problem> {
    let mut groups = Vec::with_capacity(tenants.len());
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    let mut looked_at = 0;
    let backlogs = admin.journal.backlogs().await?.into_iter();
    let oldest: HashMap<EndpointKey, Timestamp> =
        backlogs.filter_map(|backlog| Some((backlog.endpoint, admin.clock.came(backlog.oldest?)))).collect();
    let endpoints = tenants.iter().flat_map(|tenant| tenant.endpoints.values());
    let mut views = endpoints::views(admin, endpoints, viewer.caller.sees_urls()).await?.into_iter();
    for tenant in tenants {
        let mut of_tenant: Option<Timestamp> = None;
        let mut rows = Vec::with_capacity(tenant.endpoints.len());
        for (endpoint, view) in tenant.endpoints.values().zip(&mut views) {
            let since = oldest.get(&endpoint.key).copied();
            of_tenant = of_tenant.into_iter().chain(since).min();
            rows.push(Row { oldest: since.map(|since| since.to_string()), ..view.into() });
        }
        rows.sort_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        totals.add(&rows);
        totals.oldest = totals.oldest.into_iter().chain(of_tenant).min();
        let has_trouble = rows.iter().any(|row| row.failed > 0 || row.endpoint.failing_since.is_some());
        if has_trouble && looked_at < TENANTS_LOOKED_AT {
            looked_at += 1;
            failed.extend(trouble(admin, &tenant.id, &rows).await?);
        }
        groups.push(Group {
            id: tenant.id.clone(),
            plugins: tenant.plugins.len(),
            pending_bytes: admin.journal.pending_bytes(&tenant.id).await?,
            quota: tenant.quota.into(),
            oldest: of_tenant.map(|since| since.to_string()),
            rows,
            more: 0,
        });
    }
    // Those that were given up first: the others are tried again without anybody's help.
    failed.sort_by_key(|delivery| (delivery.status == Status::Pending, Reverse(delivery.received)));
    failed.truncate(FAILED);
    let mut shown = Vec::with_capacity(failed.len());
    for delivery in failed {
        let last = admin.journal.attempts(&delivery.key).await?.pop();
        let said = last.and_then(|attempt| attempt.answer).map(|answer| answer.body);
        let said = said.map(|body| body[..body.floor_char_boundary(SAID)].to_owned());
        shown.push(Trouble {
            tenant: delivery.key.tenant.clone(),
            said: said.filter(|said| !said.is_empty()),
            delivery: api::DeliveryView::new(&admin.clock, delivery),
        });
    }
    Ok((groups, totals, shown))
}

impl Totals {
    fn add(&mut self, rows: &[Row]) {
        for row in rows {
            self.pending += row.pending;
            self.delivered += row.delivered;
            self.failed += row.failed;
            self.filtered += row.endpoint.count(Status::Filtered);
            self.endpoints += 1;
            self.off += usize::from(row.condition == "disabled");
            self.failing += usize::from(row.is_failing());
        }
    }
}

/// The newest deliveries of a tenant that were given up, and those of its failing endpoints that are tried again.
async fn trouble(admin: &Admin, tenant: &TenantId, rows: &[Row]) -> Result<Vec<Delivery>, Problem> {
    let read = async |endpoint: Option<&EndpointId>, status| {
        let filter = DeliveryFilter {
            endpoint: endpoint.cloned(),
            status: Some(status),
            ..DeliveryFilter::of(tenant.clone())
        };
        admin.journal.deliveries(&filter, None, FAILED).await
    };
    let mut found = Vec::new();
    for status in [Status::Exhausted, Status::Failed] {
        found.extend(read(None, status).await?.items);
    }
    for row in rows.iter().filter(|row| row.endpoint.failing_since.is_some() && row.pending > 0) {
        let pending = read(Some(&row.endpoint.id), Status::Pending).await?.items;
        found.extend(pending.into_iter().filter(|delivery| delivery.attempts > 0));
    }
    Ok(found)
}
