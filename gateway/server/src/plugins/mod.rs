//! The life of tenants' plugins in the gateway: what was uploaded, what is in force, what is paused, and trying a new
//! component before anything depends on it.
//!
//! On an event's path only `watch` and `slot` matter: they are what [`crate::live`] hands to dispatch. All else is on
//! behalf of the admin listener and of reloads, and runs guests as the tenant's own work, through the host's fair queue.
//!
//! A component comes in force in one order: size, kind and imports, exports against every endpoint's use, compilation
//! in a child process, a trial, the journal, and only then the swap. Calls that run keep the component that they began
//! with.

mod chain;
mod dry_run;
mod history;
mod registry;
mod slot;
mod tally;
mod trial;
mod watch;

pub(crate) use dry_run::{DryRunRequest, dry_run};
pub(crate) use registry::{Plugins, Refused};
pub(crate) use slot::{Component, Loader, Slot, Unloaded, misfits, step};
pub(crate) use trial::try_sample;
pub(crate) use watch::{Heard, Watch};
