//! The JSON of queues.

use hookweir_journal::{Message, QueueStats};
use hookweir_model::{EventId, EventType, Timestamp};
use serde::{Deserialize, Serialize};

use super::{text_or_base64, time_text};

/// Asks for messages. Durations are texts such as "20s".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiveRequest {
    /// How many at most; one where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How long to wait for one; not at all where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
    /// How long they are hidden from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_timeout: Option<String>,
}

/// Answers for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRequest {
    pub receipts: Vec<String>,
    /// `nack` alone: after how long they are visible again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// `extend` alone: how long they stay hidden from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_timeout: Option<String>,
}

/// Looks at messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// `dead` alone: go on after this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Puts dead letters back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedriveRequest {
    /// Which; all where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageView {
    /// What answers for it; only with what was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    pub number: u64,
    /// The id of the event.
    pub id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub source: String,
    pub subject: Option<String>,
    pub time: String,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    /// The exact bytes where they are UTF-8 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The exact bytes where they are not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    pub receives: u32,
    pub enqueued: String,
    pub first_received: Option<String>,
    /// From when on anybody can receive it.
    pub visible: String,
}

impl MessageView {
    pub(crate) fn new(receipt: Option<String>, message: Message) -> Self {
        let content = message.content;
        let (data, data_base64) = text_or_base64(&content.shaped.body);
        Self {
            receipt,
            number: message.number,
            id: content.id,
            event_type: content.event_type,
            source: content.source,
            subject: content.subject,
            time: content.time,
            content_type: content.shaped.content_type,
            headers: visible_headers(content.shaped.headers),
            data,
            data_base64,
            receives: message.receives,
            enqueued: message.enqueued.to_string(),
            first_received: time_text(message.first_received),
            visible: message.visible.to_string(),
        }
    }
}

/// The headers without those by which the gateway marks messages for itself.
fn visible_headers(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.retain(|(name, _)| !name.starts_with("hookweir-"));
    headers
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Messages {
    pub messages: Vec<MessageView>,
    /// Of dead letters: give it as `after` to read on; null at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// In the order of the receipts.
    pub results: Vec<AnswerView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerView {
    pub receipt: String,
    pub result: AnswerResult,
    /// The status that a request for this receipt alone deserves.
    pub status: u16,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnswerResult {
    Done,
    /// Done, and the message is a dead letter now.
    Dead,
    /// Another has received the message since, or it was given back.
    Stale,
    /// The queue has no such message (any more).
    Gone,
    /// This is no receipt.
    Malformed,
}

/// How a queue fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueView {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
    pub dead: u64,
    /// RFC 3339: when the oldest message that is no dead letter came.
    pub oldest: Option<String>,
    /// Consumers that wait for a message now.
    pub waiting: usize,
}

impl QueueView {
    /// `oldest` as it is shown.
    pub(crate) fn new(stats: QueueStats, oldest: Option<Timestamp>, waiting: usize) -> Self {
        let QueueStats { visible, in_flight, delayed, dead, oldest: _ } = stats;
        Self { visible, in_flight, delayed, dead, oldest: time_text(oldest), waiting }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Redriven {
    pub messages: u64,
}
