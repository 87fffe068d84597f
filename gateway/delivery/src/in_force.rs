//! Whether what an attempt was prepared by still holds.
//!
//! An attempt waits: for a name, a connection, a login, its place in a batch. The configuration may change meanwhile, so
//! that a way out asks again after each wait, at the last moment before it hands bytes of the message over.

use std::fmt;
use std::sync::Arc;

/// Says whether the configuration by which an attempt was prepared is still in force.
#[derive(Clone)]
pub struct InForce(Arc<dyn Fn() -> bool + Send + Sync>);

impl InForce {
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// For what no change of a configuration concerns.
    pub fn always() -> Self {
        Self::new(|| true)
    }

    /// Whether it is in force at this moment.
    pub fn holds(&self) -> bool {
        (self.0)()
    }

    /// Holds while all of these do: for what is sent together.
    pub(crate) fn all(of: Vec<Self>) -> Self {
        Self::new(move || of.iter().all(Self::holds))
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InForce").finish()
    }
}
