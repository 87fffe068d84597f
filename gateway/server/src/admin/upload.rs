//! Taking a component in: a body that is far larger than any other, from callers who may be slow or many.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hookweir_model::TenantId;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::MAX_PLUGIN_SIZE;
use crate::problem::Problem;

/// Components that are in memory at once.
const AT_ONCE: usize = 4;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Bounds what components take while they are looked at: a few at once, and one of a tenant, so that none keeps the
/// others out.
#[derive(Debug)]
pub(crate) struct Uploads {
    permits: Arc<Semaphore>,
    tenants: Arc<Mutex<HashSet<TenantId>>>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), tenants: Arc::default() }
    }
}

/// The right to have a component in memory, given back on drop.
#[derive(Debug)]
pub(super) struct Turn {
    tenant: TenantId,
    tenants: Arc<Mutex<HashSet<TenantId>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Uploads {
    /// Waits for a turn. A tenant that has one already is refused.
    pub(super) async fn turn(&self, tenant: &TenantId) -> Result<Turn, Problem> {
        const BUSY: Problem = Problem::Unavailable {
            detail: "another upload or dry run of this tenant is under way; wait for its answer",
            retry_after: 5,
        };
        let is_first = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        if !is_first {
            return Err(BUSY);
        }
        // From here on the tenant's place is given back, whatever happens.
        let mut turn = Turn { tenant: tenant.clone(), tenants: Arc::clone(&self.tenants), permit: None };
        turn.permit = Some(Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Problem::Internal)?);
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

/// The whole body, of no more than a component may have.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_PLUGIN_SIZE).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge(MAX_PLUGIN_SIZE)),
        Ok(Err(_)) => Err(Problem::Malformed("the request's body broke off".to_owned())),
        Err(_) => Err(Problem::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_one_turn_at_a_time() {
        let uploads = Uploads::default();
        let [acme, globex] = ["acme", "globex"].map(|name| TenantId::new(name).unwrap());
        let turn = uploads.turn(&acme).await.unwrap();
        assert_eq!(uploads.turn(&acme).await.unwrap_err().status(), 503);
        let other = uploads.turn(&globex).await;
        assert!(other.is_ok());
        drop(turn);
        assert!(uploads.turn(&acme).await.is_ok());
    }
}
