//! The event: CloudEvents attributes, kept headers, and the sender's exact bytes.

use bytes::Bytes;
use thiserror::Error;

use crate::{EventId, EventType, TenantId, Timestamp};

/// One event of a tenant, as it was accepted.
///
/// Invariant: `data` holds the bytes that the sender sent, never a re-serialisation of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub tenant: TenantId,
    pub id: EventId,
    pub event_type: EventType,
    /// The CloudEvents `source`: a URI reference that the sender chooses.
    pub source: String,
    pub subject: Option<String>,
    /// When it happened: RFC 3339, the sender's own text where it gave one.
    pub time: String,
    /// When the gateway took it in.
    pub received: Timestamp,
    pub content_type: String,
    /// Further attributes and kept headers, in the sender's order.
    pub attributes: Vec<(String, String)>,
    /// Events of one key keep their order on endpoints with `ordered = true`.
    pub ordering_key: Option<String>,
    pub data: Bytes,
}

/// The sender's `time` is not a time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("time is not RFC 3339, as in 2026-01-31T12:00:00Z")]
pub struct InvalidTime;

/// Says whether a sender's `time` can be kept as it is.
pub fn check_time(text: &str) -> Result<(), InvalidTime> {
    Timestamp::parse(text).map(|_| ()).ok_or(InvalidTime)
}
