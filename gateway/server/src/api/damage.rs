//! The JSON of what was found damaged in the journal.

use hookweir_journal::{Damage, DamageRecord, DamageSummary, Seq};
use hookweir_model::{EndpointId, EventId, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time_text;

/// A record of damage in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DamageView {
    /// Later records have higher numbers.
    pub number: u64,
    /// What was damaged: `log`, `file`, `event`, `delivery`, `message` or `blob`.
    pub kind: String,
    /// The numbers of the events concerned; those of the range that are there are whole.
    pub events: Option<NumbersView>,
    pub tenant: Option<TenantId>,
    pub endpoint: Option<EndpointId>,
    /// The event's id, where one alone is concerned.
    pub event: Option<EventId>,
    /// What was found and what follows from it.
    pub what: String,
    #[schema(format = DateTime)]
    pub found: Option<String>,
    /// When an operator acknowledged it; null: nobody has.
    #[schema(format = DateTime)]
    pub acknowledged: Option<String>,
}

/// Numbers that the journal gave to events, in the order in which it took them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NumbersView {
    pub first: u64,
    pub last: u64,
}

impl From<(Seq, Seq)> for NumbersView {
    fn from((first, last): (Seq, Seq)) -> Self {
        Self { first: first.0, last: last.0 }
    }
}

impl From<DamageRecord> for DamageView {
    fn from(record: DamageRecord) -> Self {
        let DamageRecord { number, damage, acknowledged } = record;
        let Damage { kind, events, tenant, endpoint, event, what, found } = damage;
        Self {
            number,
            kind: kind.as_str().to_owned(),
            events: events.map(NumbersView::from),
            tenant,
            endpoint,
            event,
            what,
            found: time_text(Some(found)),
            acknowledged: time_text(acknowledged),
        }
    }
}

/// Damage that nobody has acknowledged. It names no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DamageSummaryView {
    /// How many records there are: `GET /v1/damage` lists them.
    pub records: u64,
    /// How many event numbers they name, where they name ranges.
    pub events: u64,
    /// From the lowest of these numbers to the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<NumbersView>,
}

impl DamageSummaryView {
    /// `None` where there is nothing to tell.
    pub(crate) fn new(summary: &DamageSummary) -> Option<Self> {
        let DamageSummary { records, events, range, .. } = summary;
        (*records > 0).then(|| Self {
            records: *records,
            events: *events,
            range: range.map(NumbersView::from),
        })
    }
}

/// Which records an operator has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcknowledgeRequest {
    /// The highest number of them; those below it are acknowledged too.
    #[serde(deserialize_with = "whole")]
    pub up_to: u64,
}

/// A whole number, which JSON may also write with a fraction of zero.
fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let without_fraction = || {
        // Exact up to here.
        let fits = |number: &f64| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number);
        number.as_f64().filter(fits).map(|number| number as u64)
    };
    let whole = number.as_u64().or_else(without_fraction);
    whole.ok_or_else(|| serde::de::Error::custom(format!("{number} is no whole number of 0 or more")))
}

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Acknowledged {
    /// How many records nobody had acknowledged before.
    pub records: u64,
}
