//! What the admin listener would answer about a journal that no gateway is at work on.

use axum::extract::Query;
use hookweir_journal::Journal;
use hookweir_model::TenantId;
use http::Uri;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::deliveries::{self, DeliveryPath};
use super::events::{self, EventPath};
use super::query::{DeliveriesQuery, EventsQuery};
use crate::api::Sees;
use crate::clock::Clock;
use crate::numbers::Numbers;
use crate::problem::Problem;

/// Answers a GET of a list of events or deliveries, or of one of them, by the segments of its path.
///
/// `numbers` are those of the journal, so that a list goes on from a cursor of its gateway.
pub(crate) async fn answer(
    journal: &dyn Journal,
    numbers: &Numbers,
    path: &[&str],
    uri: &Uri,
) -> Result<String, Problem> {
    let ["v1", "tenants", tenant, rest @ ..] = path else { return Err(Problem::NotFound("route")) };
    let tenant = TenantId::new(tenant).map_err(|_| Problem::NotFound("tenant"))?;
    let clock = Clock::start(journal.kept_clock().await?.as_ref());
    match rest {
        ["events"] => {
            let query = written::<EventsQuery>(uri)?.check(tenant, numbers)?;
            json(&events::events(journal, &query).await?)
        }
        ["events", event] => {
            let path = EventPath { event: (*event).to_owned() };
            json(&events::event(journal, &clock, &tenant, &path).await?)
        }
        ["deliveries"] => {
            let query = written::<DeliveriesQuery>(uri)?.check(tenant, numbers)?;
            json(&deliveries::deliveries(journal, &clock, &query).await?)
        }
        ["events", event, "deliveries", endpoint] => {
            let path = DeliveryPath { event: (*event).to_owned(), endpoint: (*endpoint).to_owned() };
            json(&deliveries::delivery(journal, &clock, tenant, &path, Sees::ALL).await?)
        }
        _ => Err(Problem::NotFound("route")),
    }
}

fn written<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let query = Query::<T>::try_from_uri(uri).map_err(|error| Problem::Malformed(error.body_text()))?;
    Ok(query.0)
}

fn json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|_| Problem::Internal)
}
