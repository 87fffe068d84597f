//! What was found damaged in the journal: list it, and acknowledge it.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hookweir_model::Timestamp;

use super::access::Reader;
#[cfg(test)]
use super::openapi::Refusals;
use super::query::NumbersQuery;
use super::{Admin, ok, query};
use crate::api::{self, AcknowledgeRequest, Acknowledged, DamageView};
use crate::live::Caller;
use crate::problem::Problem;
use crate::role::Action;

/// Damage concerns the whole journal, so that tenants' keys do not see it.
fn whole_gateway(caller: &Caller) -> Result<(), Problem> {
    if caller.tenant.is_some() { Err(Problem::NotFound("resource")) } else { Ok(()) }
}

#[cfg_attr(test, utoipa::path(get, operation_id = "list_damage", path = "/v1/damage", params(query::NumbersQuery), responses((status = 200, description = "What was found damaged in the journal, newest first", body = api::List<DamageView>), Refusals)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Reader(caller): Reader,
    which: NumbersQuery,
) -> Result<Response, Problem> {
    whole_gateway(&caller)?;
    let (before, limit) = which.check()?;
    let mut records = admin.journal.damage(before, limit + 1).await?;
    let is_more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| is_more).map(|record| record.number.to_string());
    Ok(ok(&api::List { data: records.into_iter().map(DamageView::from).collect(), next }))
}

#[cfg_attr(test, utoipa::path(post, operation_id = "acknowledge_damage", path = "/v1/damage/acknowledge", request_body = AcknowledgeRequest, responses((status = 200, description = "How many records nobody had acknowledged before", body = Acknowledged), Refusals)))]
pub(super) async fn acknowledge(
    State(admin): State<Admin>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    whole_gateway(&caller)?;
    caller.may(Action::Administer)?;
    let wanted =
        |error: String| Problem::Malformed(format!("send {{\"up_to\": NUMBER}} of a record: {error}"));
    let AcknowledgeRequest { up_to } = query::object(&body).map_err(wanted)?;
    // The journal gives no higher numbers.
    if up_to > i64::MAX.unsigned_abs() {
        return Err(wanted(format!("there is no record {up_to}")));
    }
    let records = admin.journal.acknowledge_damage(up_to, Timestamp::now()).await?;
    Ok(ok(&Acknowledged { records }))
}
