//! A delivery: one event for one endpoint.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{EndpointId, EventId, EventType, TenantId, Timestamp};

/// Names a delivery: it needs no id of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeliveryKey {
    pub tenant: TenantId,
    pub endpoint: EndpointId,
    pub event: EventId,
}

/// What has become of a delivery. All but `Pending` are final, until an operator sends it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Status {
    Pending,
    Delivered,
    /// A plugin dropped it, with its reason.
    Filtered,
    /// The attempts are used up.
    Exhausted,
    /// A plugin or format fault that no retry mends.
    Failed,
    /// Its endpoint was removed.
    Cancelled,
    /// It outlived the retention while it was pending.
    Expired,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Delivered,
        Self::Filtered,
        Self::Exhausted,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Filtered => "filtered",
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The number that stands for it in the journal. Never reuse one.
    pub const fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Delivered => 1,
            Self::Filtered => 2,
            Self::Exhausted => 3,
            Self::Failed => 4,
            Self::Cancelled => 5,
            Self::Expired => 6,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A delivery as a query shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub key: DeliveryKey,
    pub event_type: EventType,
    /// When its event was taken in.
    pub received: Timestamp,
    pub status: Status,
    /// Attempts made so far, over all rounds.
    pub attempts: u32,
    /// When the next attempt is due; `None` unless pending. A delivery that was never tried is due at once.
    pub due: Option<Timestamp>,
    /// Why it has its status, where there is more to say than the status does.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_from_text_and_code() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::parse("in_progress"), None);
        assert_eq!(Status::from_code(7), None);
    }
}
