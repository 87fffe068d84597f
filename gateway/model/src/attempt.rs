//! An attempt: one try of one delivery.

use serde::{Deserialize, Serialize};

use crate::{Digest, PluginId, Timestamp};

/// How one try ended. The delivery's next state follows from it, the endpoint's policy and the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// The receiver said that it has the event.
    Delivered,
    /// Another try may mend it.
    Retry,
    /// No further try can mend it.
    Rejected,
    /// It was on its way when the answer was lost: the receiver may have it. It is sent again under the same id.
    Unknown,
    /// The egress policy forbids the address. Retried by the schedule, since the policy or the name may change.
    Blocked,
}

impl Outcome {
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Retry, Self::Rejected, Self::Unknown, Self::Blocked];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Blocked => "blocked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// One try of one delivery, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1, over all rounds of the delivery.
    pub number: u32,
    pub started: Timestamp,
    pub duration_ms: u64,
    pub outcome: Outcome,
    /// What went wrong, in a sentence fit for the tenant: no address of the inside, no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// The plugins that ran in this attempt; empty on a retry, which sends the kept bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginCall>,
    /// What went over the wire, where it is kept and the way out is HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Box<Exchange>>,
}

/// An HTTP exchange, beside its bodies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exchange {
    /// As they were sent, by name; a value that is a secret is `***`. Empty where there was no connection.
    pub request_headers: Vec<(String, String)>,
    /// As they came, at most 16 KiB of them; empty where no answer came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_headers: Vec<(String, String)>,
    pub timings: Timings,
    /// The addresses that were dialled, where none could be reached, and what came of each. Shown to operators alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<String>,
}

/// How long the parts of an HTTP exchange took. A connection that was open already took neither look-up nor handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Timings {
    /// Looking the name up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup_us: Option<u64>,
    /// The TCP handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_us: Option<u64>,
    /// From the start of the attempt to the head of the answer, all before it included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
}

/// What the receiver answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Answer {
    /// The status of an HTTP answer; a broker's acknowledgement has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The first bytes of the body, as text, at most 16 KiB, which never decide the outcome; or what a broker
    /// acknowledged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// One call of a plugin in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PluginCall {
    pub plugin: PluginId,
    pub digest: Digest,
    pub role: PluginRole,
    pub micros: u64,
    /// Bytes of memory that its instance had in the end; 0 where that was not kept.
    #[serde(default)]
    pub memory: u64,
    /// The lines it logged, cut at the log limit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

/// What a plugin was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PluginRole {
    Filter,
    Transformer,
}

impl PluginRole {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transformer => "transformer",
        }
    }
}
