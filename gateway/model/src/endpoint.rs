//! An endpoint's key, and the part of its state that outlives the process.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{EndpointId, TenantId, Timestamp};

/// An endpoint's id is unique within its tenant; this pair is unique in the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointKey {
    pub tenant: TenantId,
    pub endpoint: EndpointId,
}

impl EndpointKey {
    pub const fn new(tenant: TenantId, endpoint: EndpointId) -> Self {
        Self { tenant, endpoint }
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.endpoint)
    }
}

/// What the gateway has learned of an endpoint or was told by an operator. The configuration says what an endpoint
/// is; this says how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointState {
    /// Set while the endpoint is switched off by an operator or by its own answers; its deliveries stay pending.
    pub disabled: Option<Disabled>,
    /// The first failed attempt since the last delivered one.
    pub failing_since: Option<Timestamp>,
    /// While it is not in the configuration and deliveries wait for it: for how many milliseconds the gateway has run so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_ms: Option<u64>,
}

/// Why and since when an endpoint is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub reason: String,
    pub at: Timestamp,
}
