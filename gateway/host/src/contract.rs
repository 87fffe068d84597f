//! What the gateway asks of the plugin host and what it hears back. No word here is wasmtime's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{Digest, Event, PluginCall, PluginId, PluginRole, TenantId};

use crate::Plugin;

/// The bounds of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Processor time of the guest, instantiation included. Wall time is bounded too, at a hundred times this.
    pub deadline: Duration,
    /// Bytes of linear memory over all memories of the component.
    pub memory: usize,
    /// Bytes that a call may hand back.
    pub output: usize,
    /// Bytes of log lines that are kept.
    pub log: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(50), memory: 16 << 20, output: 2 << 20, log: 1 << 10 }
    }
}

/// One plugin in an endpoint's chain.
#[derive(Debug, Clone)]
pub struct Step {
    pub id: PluginId,
    pub role: PluginRole,
    pub plugin: Arc<Plugin>,
    /// JSON text.
    pub config: Arc<str>,
    pub limits: Limits,
    /// Whether an instance may see more than one event; `None`: each event gets a fresh one.
    pub reuse: Option<Reuse>,
}

/// How an instance is kept for later events.
///
/// It is kept for the same tenant, plugin, component, configuration and limits, and for nobody else. What the guest
/// leaves in its memory is there at the next event; any fault but the guest's own `invalid` and `unavailable` ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reuse {
    /// Events that one instance sees before a fresh one takes its place.
    pub events: u32,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { events: 1_000 }
    }
}

/// One event to be put through an endpoint's chain: its filters, then its transformers.
#[derive(Debug, Clone)]
pub struct Job {
    pub tenant: TenantId,
    pub event: Arc<Event>,
    pub steps: Arc<[Step]>,
}

/// What came of a [`Job`].
#[derive(Debug, Clone)]
pub struct Ran {
    pub verdict: Verdict,
    /// The calls that were made, in order, the failed one included.
    pub calls: Vec<PluginCall>,
    /// What each of these calls took, in the same order.
    pub used: Vec<Used>,
}

/// What a call took of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Processor time, that of a fresh instance's start included.
    pub processor: Duration,
    /// Bytes of linear memory when it ended. Memory only grows, so this is the most that it had.
    pub memory: usize,
    /// Bytes that it handed back.
    pub output: usize,
    /// Bytes of log lines that were kept.
    pub log: usize,
    /// Whether the instance was made for this event.
    pub fresh: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every filter kept it. `None` where no transformer ran: the event goes out as it came.
    Keep(Option<Outgoing>),
    Drop {
        plugin: PluginId,
        digest: Digest,
        reason: String,
    },
    Fault(Fault),
}

/// What the last transformer made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub data: Bytes,
}

impl Outgoing {
    /// Bytes of it all, as the output limit counts them.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.data.len().saturating_add(self.content_type.len()).saturating_add(headers)
    }
}

/// A call that gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub plugin: PluginId,
    pub digest: Digest,
    pub kind: FaultKind,
    /// A sentence for the tenant, naming the limit where one was hit.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest said that it can never handle this event.
    Invalid,
    /// The guest said that it may handle the event later: the one fault that is retried.
    Unavailable,
    Trap,
    Stack,
    Deadline,
    Memory,
    Output,
    /// What it returned is not what the contract allows.
    InvalidOutput,
    /// The host itself failed; the message is for the log.
    Host,
}

impl FaultKind {
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::Unavailable,
        Self::Trap,
        Self::Stack,
        Self::Deadline,
        Self::Memory,
        Self::Output,
        Self::InvalidOutput,
        Self::Host,
    ];

    /// Whether the plugin broke, rather than answered that it can't handle this event. A fault of the host says
    /// nothing about the plugin.
    pub const fn is_plugins_own(self) -> bool {
        match self {
            Self::Invalid | Self::Unavailable | Self::Host => false,
            Self::Trap | Self::Stack | Self::Deadline | Self::Memory | Self::Output | Self::InvalidOutput => {
                true
            }
        }
    }

    /// The value of the metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Trap => "trap",
            Self::Stack => "stack",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::InvalidOutput => "invalid-output",
            Self::Host => "host",
        }
    }
}
