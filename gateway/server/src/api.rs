//! The JSON of the HTTP interface: what the listeners answer and the command line reads.

mod damage;
mod plugin;
mod queue;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_delivery::text::masked;
use hookweir_journal::{self as journal, Journal, Made, StoredEvent};
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Disabled, EndpointId, Event, EventId, EventType, Shaped, Status,
    TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::config::Quota;
use crate::dispatch::BreakerState;

pub(crate) use self::damage::{AcknowledgeRequest, Acknowledged, DamageSummaryView, DamageView};
pub(crate) use self::plugin::{
    DryRun, DryRunContent, DryRunEvent, DryRunResult, LimitsView, PausedView, PluginSource, PluginView,
};

pub(crate) use self::queue::{
    AnswerRequest, AnswerResult, AnswerView, Answers, LookRequest, MessageView, Messages, QueueView,
    ReceiveRequest, RedriveRequest, Redriven,
};

/// The answer to an accepted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Accepted {
    pub id: EventId,
    /// Whether the event was there already: nothing new is delivered then.
    pub duplicate: bool,
    /// How many endpoints it matched.
    pub deliveries: usize,
}

/// An error, as RFC 9457 has it: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// A stable name for the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of the kind.
    pub title: String,
    pub status: u16,
    /// What happened here and what to do about it.
    pub detail: String,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct List<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to read on; null at the end.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TenantView {
    pub id: TenantId,
    pub endpoints: usize,
    pub plugins: usize,
    /// Bytes of data of its pending deliveries, an event's counted for each of them.
    pub pending_bytes: u64,
    pub quota: QuotaView,
}

/// What a tenant may send; null: no bound of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct QuotaView {
    pub pending_bytes: Option<u64>,
    pub events_per_second: Option<u32>,
}

/// An event in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EventView {
    pub id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub source: String,
    pub subject: Option<String>,
    /// The sender's own time.
    pub time: String,
    /// RFC 3339: when the gateway took it in.
    pub received: String,
    pub content_type: String,
    /// Bytes of data.
    pub size: usize,
    /// What is wrong, where what is stored of the event is not what was written: then the rest is what can still be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// One event, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EventDetail {
    pub event: EventView,
    pub attributes: Vec<(String, String)>,
    pub ordering_key: Option<String>,
    /// The exact data where it is UTF-8 text.
    pub data: Option<String>,
    /// The exact data where it is not text.
    pub data_base64: Option<String>,
    pub deliveries: Vec<DeliveryView>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeliveryView {
    pub event: EventId,
    pub endpoint: EndpointId,
    pub event_type: EventType,
    pub received: String,
    pub status: Status,
    pub attempts: u32,
    /// RFC 3339: when the next attempt is due; null unless pending, and where it is due at once.
    pub due: Option<String>,
    pub reason: Option<String>,
}

/// One delivery with all its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeliveryDetail {
    pub delivery: DeliveryView,
    pub attempts: Vec<AttemptView>,
    /// What all of its attempts sent, where that is kept: once an attempt failed, or with `record = "all"`.
    pub sent: Option<Content>,
    /// The plugins that ran until one of them dropped the event.
    pub plugins: Vec<hookweir_model::PluginCall>,
}

impl DeliveryDetail {
    /// A delivery with all that the journal keeps of it, as far as it may be seen.
    pub(crate) async fn read(
        journal: &dyn Journal,
        clock: &Clock,
        key: &DeliveryKey,
        sees: Sees,
    ) -> Result<Option<Self>, journal::Error> {
        let Some(delivery) = journal.delivery(key).await? else { return Ok(None) };
        let view = |attempt| AttemptView::new(attempt, sees);
        let attempts = journal.attempts(key).await?.into_iter().map(view).collect();
        let Made { shaped, calls } = journal.made(key).await?;
        let delivery = DeliveryView::new(clock, delivery);
        Ok(Some(Self { delivery, attempts, sent: shaped.map(Into::into), plugins: calls }))
    }
}

/// An attempt, with its times as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AttemptView {
    pub number: u32,
    pub started: String,
    pub duration_ms: u64,
    pub outcome: hookweir_model::Outcome,
    pub reason: Option<String>,
    pub answer: Option<hookweir_model::Answer>,
    pub plugins: Vec<hookweir_model::PluginCall>,
    /// What went over the wire, where that is kept: it failed, or the endpoint has `record = "all"`.
    pub exchange: Option<Box<hookweir_model::Exchange>>,
}

/// Something that happened, as a watcher is told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Told {
    pub tenant: TenantId,
    #[serde(flatten)]
    pub what: Happening,
}

/// How many happenings a watcher did not get, since it was too slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Missed {
    pub count: u64,
}

/// What is told of an event to those who watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// It was accepted, and goes to these endpoints.
    Accepted { event: EventView, endpoints: Vec<EndpointId> },
    /// A delivery of it was handled once. There is no attempt where nothing was tried: a filter dropped it, or its
    /// endpoint is gone.
    Handled { delivery: DeliveryView, attempt: Option<Box<AttemptView>> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EndpointView {
    pub id: EndpointId,
    pub kind: String,
    pub url: String,
    pub event_types: Vec<String>,
    pub filters: Vec<String>,
    pub transformers: Vec<String>,
    /// Whether it is sent events: the configuration and the state both say so.
    pub enabled: bool,
    /// Why it is not, where the state says so.
    pub disabled: Option<DisabledView>,
    /// Why deliveries wait although it is enabled: a plugin of its chain is paused, or has no component.
    pub waits: Option<String>,
    /// RFC 3339: the first failure since the last success. After 120 hours of nothing but failures it is disabled.
    pub failing_since: Option<String>,
    pub breaker: BreakerView,
    /// How many attempts may be in flight.
    pub concurrency: usize,
    /// How many attempts may begin in a second; null: as many as fit.
    pub per_second: Option<u32>,
    /// Deliveries by status.
    pub deliveries: BTreeMap<String, u64>,
}

/// Whether an endpoint that only failed is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct BreakerView {
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// How long until the next delivery goes out as a probe, while it is open.
    pub probe_in_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DisabledView {
    pub reason: String,
    pub at: String,
}

/// What became of a sample that was sent to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Probe {
    /// The sample's id; the journal does not know it.
    pub id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub result: ProbeResult,
    /// Why it was not sent.
    pub reason: Option<String>,
    /// What was sent.
    pub content: Option<Content>,
    /// What the receiver said.
    pub attempt: Option<AttemptView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProbeResult {
    /// An attempt was made, which tells how it ended.
    Sent,
    /// A filter dropped it.
    Filtered,
    /// A plugin or the format could make nothing of it.
    Failed,
    /// A plugin of the endpoint is paused or has no component.
    Waits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Content {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub data: Option<String>,
    pub data_base64: Option<String>,
}

/// Asks for a recovery: either of what was given up, or of what waits for the time of its next attempt.
///
/// What is asked for in JSON is one of `RecoverForms`: this takes both, and `admin/endpoints.rs` tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoverRequest {
    /// Of what was given up: events received then or later, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What waits for the time of its next attempt is sent now.
    #[serde(default)]
    pub pending: bool,
    /// Only says how many deliveries it would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for a recovery: either of what was given up, or of what waits for the time of its next attempt.
#[cfg(test)]
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is a schema alone")]
pub(crate) enum RecoverForms {
    GivenUp(RecoverGivenUp),
    Waiting(RecoverWaiting),
}

/// Sends again what was given up.
#[cfg(test)]
#[derive(ToSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoverGivenUp {
    /// Of events received then or later, in RFC 3339.
    #[schema(format = DateTime)]
    pub since: String,
    /// Only says how many deliveries it would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// Sends now what waits for the time of its next attempt.
#[cfg(test)]
#[derive(ToSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoverWaiting {
    #[schema(schema_with = only_true)]
    pub pending: bool,
    /// Only says how many deliveries it would be.
    #[serde(default)]
    pub dry_run: bool,
}

#[cfg(test)]
fn only_true() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// Asks for another signing secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRequest {
    /// `whsec_...` or `whsk_...`; null: the gateway makes one of the same kind.
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<secrecy::SecretString>,
    /// How many seconds those before it sign beside it, 30 days at most; null: a day.
    #[schema(maximum = 2_592_000)]
    pub keep_seconds: Option<u32>,
}

/// The secret that an endpoint signs with from now on, as far as its receiver has to be told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Rotated {
    /// `whsec_...`, where the gateway made it. It is shown this once.
    pub secret: Option<String>,
    /// `whpk_...`, where the gateway made a key pair; the private half stays in the file.
    pub public_key: Option<String>,
    /// RFC 3339: up to when those before it sign beside it.
    pub previous_until: String,
}

/// How many deliveries a retry, recovery or replay sends again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Requeued {
    pub deliveries: u64,
}

/// How many deliveries a cancellation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cancelled {
    pub deliveries: u64,
}

impl EndpointView {
    /// How many of its deliveries have a status.
    pub(crate) fn count(&self, status: Status) -> u64 {
        self.deliveries.get(status.as_str()).copied().unwrap_or(0)
    }
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            subject: event.subject.clone(),
            time: event.time.clone(),
            received: event.received.to_string(),
            content_type: event.content_type.clone(),
            size: event.data.len(),
            damaged: None,
        }
    }
}

impl From<&StoredEvent> for EventView {
    fn from(stored: &StoredEvent) -> Self {
        Self { damaged: stored.damage.map(str::to_owned), ..Self::from(&stored.event) }
    }
}

impl EventDetail {
    pub(crate) fn new(stored: &StoredEvent, deliveries: Vec<DeliveryView>) -> Self {
        let event = &stored.event;
        let (data, data_base64) = text_or_base64(&event.data);
        Self {
            event: stored.into(),
            attributes: event.attributes.clone(),
            ordering_key: event.ordering_key.clone(),
            data,
            data_base64,
            deliveries,
        }
    }
}

impl DeliveryView {
    pub(crate) fn new(clock: &Clock, delivery: Delivery) -> Self {
        let delivery = clock.shown(delivery);
        Self {
            event: delivery.key.event,
            endpoint: delivery.key.endpoint,
            event_type: delivery.event_type,
            received: delivery.received.to_string(),
            status: delivery.status,
            attempts: delivery.attempts,
            due: delivery.due.map(|due| due.to_string()),
            reason: delivery.reason,
        }
    }
}

/// Without the addresses that were dialled, which are not a tenant's to see.
/// What of an attempt somebody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sees {
    /// Where URLs lead behind their hosts.
    pub urls: bool,
    /// The addresses that were dialled.
    pub network: bool,
}

impl Sees {
    /// What everybody sees who sees the attempt.
    pub(crate) const LEAST: Self = Self { urls: false, network: false };
    /// For one who has the journal's files.
    pub(crate) const ALL: Self = Self { urls: true, network: true };
}

impl AttemptView {
    pub(crate) fn new(mut attempt: Attempt, sees: Sees) -> Self {
        if let Some(exchange) = &mut attempt.exchange {
            if !sees.network {
                exchange.tried.clear();
            }
            if !sees.urls {
                exchange.answer_headers.iter_mut().for_each(mask_url);
            }
            if **exchange == hookweir_model::Exchange::default() {
                attempt.exchange = None;
            }
        }
        Self {
            number: attempt.number,
            started: attempt.started.to_string(),
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome,
            reason: attempt.reason,
            answer: attempt.answer,
            plugins: attempt.plugins,
            exchange: attempt.exchange,
        }
    }
}

/// Takes from a receiver's header what the URL in it has behind its host: it may be a secret, as in the endpoint's own URL.
fn mask_url((name, value): &mut (String, String)) {
    if ["location", "content-location", "refresh", "link"].iter().any(|url| name.eq_ignore_ascii_case(url)) {
        *value = Url::parse(value).map_or_else(|_| "***".to_owned(), |url| masked(&url));
    }
}

impl From<Shaped> for Content {
    fn from(shaped: Shaped) -> Self {
        let (data, data_base64) = text_or_base64(&shaped.body);
        Self { content_type: shaped.content_type, headers: shaped.headers, data, data_base64 }
    }
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> Self {
        Self { pending_bytes: quota.pending_size, events_per_second: quota.events_per_second }
    }
}

impl From<BreakerState> for BreakerView {
    fn from(state: BreakerState) -> Self {
        let probe_in_ms = match state {
            BreakerState::Open(time) => Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        Self { state: state.as_str().to_owned(), probe_in_ms }
    }
}

impl From<&Disabled> for DisabledView {
    fn from(disabled: &Disabled) -> Self {
        Self { reason: disabled.reason.clone(), at: disabled.at.to_string() }
    }
}

/// Exact data: as text where it is UTF-8, else in base64.
pub(crate) fn text_or_base64(data: &[u8]) -> (Option<String>, Option<String>) {
    let text = std::str::from_utf8(data).ok().map(str::to_owned);
    let base64 = text.is_none().then(|| BASE64.encode(data));
    (text, base64)
}

/// RFC 3339 text of an optional time.
pub(crate) fn time_text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}
