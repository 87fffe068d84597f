//! Signatures: Standard Webhooks (HMAC-SHA256 and Ed25519) and the callback signature of Alibaba's IMS.
//!
//! Pure functions of keys, texts and bytes: the body that is signed is the body that is sent, never a
//! re-serialisation of it. Keys show no secret in their `Debug` form or in an error. Verifying compares in constant
//! time; it is here for receivers, for tests and for sources that are signed the same way.

mod ims;
mod key;
mod standard;

pub use ims::{IMS_SIGNATURE, IMS_TIMESTAMP, sign_ims, verify_ims};
pub use key::{Algorithm, End, Key, KeyFault, NewSecret, VerifyingKey};
pub use standard::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, sign_standard, verify_standard};

use std::time::Duration;

use hookweir_model::Timestamp;
use http::{HeaderMap, HeaderName};
use thiserror::Error;

/// Why a request does not verify.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyFault {
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    #[error("the header {0} is not text")]
    NotText(HeaderName),
    #[error("the header {0} is not a number of seconds")]
    NotSeconds(HeaderName),
    #[error("the timestamp is more than {} s in the past", .0.as_secs())]
    TooOld(Duration),
    #[error("the timestamp is more than {} s in the future", .0.as_secs())]
    TooNew(Duration),
    #[error("no signature matches: the key, the id, the timestamp or the body is another one")]
    NoMatch,
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, VerifyFault> {
    let value = headers.get(name).ok_or_else(|| VerifyFault::Missing(name.clone()))?;
    value.to_str().map_err(|_| VerifyFault::NotText(name.clone()))
}

/// Reads a timestamp header, and says whether it is near enough to be no replay.
fn fresh_seconds(
    headers: &HeaderMap,
    name: &HeaderName,
    now: Timestamp,
    tolerance: Duration,
) -> Result<i64, VerifyFault> {
    let seconds: i64 = text(headers, name)?.parse().map_err(|_| VerifyFault::NotSeconds(name.clone()))?;
    let age = now.as_seconds().saturating_sub(seconds);
    let limit = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    if age > limit {
        Err(VerifyFault::TooOld(tolerance))
    } else if age < -limit {
        Err(VerifyFault::TooNew(tolerance))
    } else {
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests;
