//! How many live streams are open: each holds a connection for as long as it is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::TenantId;

use crate::problem::Problem;

/// All streams together.
const MOST: usize = 256;
/// Those of one tenant's keys.
const OF_A_TENANT: usize = 32;

/// The open streams, by tenant; those of operators are under `None`.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<Option<TenantId>, usize>>);

/// An open stream, given back on drop.
#[derive(Debug)]
pub(super) struct Stream {
    streams: Arc<Streams>,
    owner: Option<TenantId>,
}

impl Streams {
    pub(super) fn open(self: &Arc<Self>, owner: Option<TenantId>) -> Result<Stream, Problem> {
        let mut open = self.lock();
        if owner.is_some() && open.get(&owner).is_some_and(|count| *count >= OF_A_TENANT) {
            let detail =
                format!("{OF_A_TENANT} live streams of this tenant are open, as many as may be: close one");
            return Err(Problem::Quota { detail, retry_after: 5 });
        }
        if open.values().sum::<usize>() >= MOST {
            let detail = "as many live streams are open as may be; try again later, or read the lists";
            return Err(Problem::Unavailable { detail, retry_after: 5 });
        }
        *open.entry(owner.clone()).or_default() += 1;
        drop(open);
        Ok(Stream { streams: Arc::clone(self), owner })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<TenantId>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(count) = open.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_leaves_streams_to_others_and_all_have_a_bound() {
        let streams: Arc<Streams> = Arc::default();
        let tenant = |name: &str| Some(TenantId::new(name).unwrap());
        let fill = |owner: Option<TenantId>| -> Vec<Stream> {
            std::iter::from_fn(|| streams.open(owner.clone()).ok()).collect()
        };
        let first = fill(tenant("a"));
        assert_eq!(first.len(), OF_A_TENANT);
        assert_eq!(streams.open(tenant("a")).unwrap_err().status(), 429);
        let operators = fill(None);
        assert_eq!(operators.len(), MOST - OF_A_TENANT);
        assert_eq!(streams.open(tenant("b")).unwrap_err().status(), 503);
        drop((first, operators));
        assert!(streams.lock().is_empty(), "all are given back");
    }
}
