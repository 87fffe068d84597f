//! The plugin host.

mod contract;

pub use contract::{Fault, FaultKind, Job, Limits, Outgoing, Ran, Step, Verdict};

/// A plugin that is loaded and can be called.
#[derive(Debug)]
pub struct Plugin;
