//! A plugin's key, and the part of its state that outlives the process.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, PluginId, TenantId, Timestamp};

/// A plugin's id is unique within its tenant; this pair is unique in the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginKey {
    pub tenant: TenantId,
    pub plugin: PluginId,
}

impl PluginKey {
    pub const fn new(tenant: TenantId, plugin: PluginId) -> Self {
        Self { tenant, plugin }
    }
}

impl fmt::Display for PluginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.plugin)
    }
}

/// What was uploaded for a plugin, and whether it is called. The configuration says that there is such a plugin; this
/// says how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginState {
    /// The upload that is in force; `None` for a plugin that comes from a file, or that waits for its first upload.
    pub upload: Option<Upload>,
    pub paused: Option<Paused>,
}

/// An uploaded component, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub current: Digest,
    /// What a rollback puts in its place.
    pub previous: Option<Digest>,
    /// When the current one came in force.
    pub at: Timestamp,
}

impl PluginState {
    /// The blobs that must be kept for it.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.upload.iter().flat_map(|upload| std::iter::once(upload.current).chain(upload.previous))
    }
}

/// Why and since when a plugin is not called; its deliveries stay pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The component that it is said of: another one is not paused by it.
    pub digest: Digest,
    pub since: Timestamp,
    pub reason: String,
    /// How many calls in a row had failed; 0 where an operator paused it.
    pub failures: u32,
}
