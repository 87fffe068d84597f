//! The JSON about plugins: what is in force, and what a dry run would change.

use std::collections::BTreeMap;

use hookweir_model::{Digest, EndpointId, EventId, EventType, PluginId, PluginRole};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plugin of the configuration and the component that it has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginView {
    pub id: PluginId,
    pub source: PluginSource,
    /// Null while nothing was uploaded, or what was can't be used.
    pub digest: Option<Digest>,
    /// What a rollback puts in force.
    pub previous: Option<Digest>,
    /// Bytes of the component.
    pub size: Option<usize>,
    /// What it can be used as.
    pub exports: Vec<PluginRole>,
    /// The endpoints that use it.
    pub endpoints: Vec<EndpointId>,
    pub paused: Option<PausedView>,
    /// Why deliveries that need it wait; null while they don't.
    pub waits: Option<String>,
    /// Calls that gave no result since the gateway was started, by the reason; those that never happened are left out.
    pub failures: BTreeMap<String, u64>,
    /// RFC 3339; null for a plugin that the configuration names.
    pub uploaded_at: Option<String>,
    pub limits: LimitsView,
    pub reuse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PluginSource {
    /// The configuration names a file.
    File,
    /// The configuration names a plugin of the binary.
    Builtin,
    /// What was last sent to the admin listener.
    Upload,
}

impl PluginSource {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Builtin => "builtin",
            Self::Upload => "upload",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PausedView {
    /// RFC 3339.
    pub since: String,
    pub reason: String,
    /// How many calls in a row had failed; 0 where it was paused by hand.
    pub failures: u32,
}

/// The bounds of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LimitsView {
    pub deadline_us: u64,
    pub memory: usize,
    pub output: usize,
    pub log: usize,
}

/// What a dry run found. Nothing was sent and nothing was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DryRun {
    /// The component in force; null where there is none.
    pub before: Option<Digest>,
    pub after: Digest,
    /// How many stored events were run.
    pub events: usize,
    pub same: usize,
    pub changed: usize,
    /// Whether it stopped at a bound of its own (time, size of the answer, events looked at) with events left.
    pub cut: bool,
    /// Newest event first; for each of its endpoints that use the plugin.
    pub data: Vec<DryRunEvent>,
}

/// One event put through one endpoint's plugins, as they are and with the new component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DryRunEvent {
    pub event: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Null where no endpoint uses the plugin: then it ran alone.
    pub endpoint: Option<EndpointId>,
    pub same: bool,
    pub before: DryRunResult,
    pub after: DryRunResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum DryRunResult {
    /// It would be sent. The content is the last transformer's, or the event's own.
    Send(DryRunContent),
    /// A filter dropped it.
    Drop { plugin: PluginId, reason: String },
    /// A plugin gave no result.
    Fail { plugin: PluginId, kind: String, reason: String },
    /// A plugin of the chain has no component: the delivery would wait.
    Wait { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DryRunContent {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    /// Bytes of the data.
    pub size: usize,
    /// The data, where it is text and differs; no more than its first 64 KiB.
    pub data: Option<String>,
    /// The data, where it is no text and differs; no more than its first 64 KiB.
    pub data_base64: Option<String>,
}
