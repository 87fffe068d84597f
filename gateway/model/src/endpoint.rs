//! An endpoint's key, and the part of its state that outlives the process.

use std::fmt;
use std::time::Duration;

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
    /// Set while there were only failures since the last delivered attempt. What was kept by a version that told it by
    /// the wall clock starts again.
    #[serde(default)]
    pub failing: Option<Failing>,
    /// While it is not in the configuration and deliveries wait for it: for how many milliseconds the gateway has run so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_ms: Option<u64>,
}

/// Since when an endpoint only fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The first failed attempt, by the gateway's own time.
    pub since: Timestamp,
    /// How long the gateway had run then. The difference to now is how long it has failed: a stop or a step of the wall
    /// clock is no failure.
    pub running: Duration,
    /// Failed attempts since.
    pub attempts: u32,
}

/// Why and since when an endpoint is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub reason: String,
    pub at: Timestamp,
}
