//! The callback signature of Alibaba's IMS: MD5 over the configured URL, the time and a shared key.
//!
//! It proves that the sender knows the key, and nothing about the body. MD5 is what its receivers compute.

use std::time::Duration;

use hookweir_model::Timestamp;
use http::{HeaderMap, HeaderName};
use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{VerifyFault, fresh_seconds, text};
use crate::text::hex;

/// When this attempt was made, in Unix seconds.
pub const IMS_TIMESTAMP: HeaderName = HeaderName::from_static("x-ice-timestamp");
/// 32 lower-case hex digits.
pub const IMS_SIGNATURE: HeaderName = HeaderName::from_static("x-ice-signature");

/// The value of `X-ICE-SIGNATURE`. `url` is the URL as it was configured, byte for byte.
pub fn sign_ims(url: &str, timestamp: i64, key: &SecretString) -> String {
    let text = format!("{url}|{timestamp}|{}", key.expose_secret());
    hex(&Md5::digest(text))
}

/// Says whether a request was signed with one of the keys, within `tolerance` of `now`. A receiver has two keys
/// while the sender changes from one to the other.
pub fn verify_ims(
    keys: &[SecretString],
    url: &str,
    headers: &HeaderMap,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), VerifyFault> {
    let timestamp = fresh_seconds(headers, &IMS_TIMESTAMP, now, tolerance)?;
    let signature = text(headers, &IMS_SIGNATURE)?.as_bytes();
    let matches = |key: &SecretString| bool::from(sign_ims(url, timestamp, key).as_bytes().ct_eq(signature));
    if keys.iter().any(matches) { Ok(()) } else { Err(VerifyFault::NoMatch) }
}
