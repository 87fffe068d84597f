//! Standard Webhooks: `{id}.{timestamp}.{body}` under HMAC-SHA256 (`v1`) or Ed25519 (`v1a`).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use hookweir_model::Timestamp;
use http::{HeaderMap, HeaderName};
use ring::hmac;

use super::key::{Key, Signer, Verifier, VerifyingKey};
use super::{VerifyFault, fresh_seconds, text};

/// The event's id; the same on every retry.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When this attempt was made, in Unix seconds.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// Signatures with their versions, separated by spaces.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The value of `webhook-signature`: one signature for each key that has not ended, in the order of the keys. `timestamp`
/// is the value of `webhook-timestamp`, in Unix seconds.
pub fn sign_standard(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let (head, now) = (format!("{id}.{timestamp}."), Instant::now());
    let signatures: Vec<String> =
        keys.iter().filter(|key| key.signs_at(now)).map(|key| sign_one(key, &head, body)).collect();
    signatures.join(" ")
}

pub(super) fn sign_one(key: &Key, head: &str, body: &[u8]) -> String {
    match &key.signer {
        Signer::Symmetric(key) => {
            let mut mac = hmac::Context::with_key(key);
            mac.update(head.as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.sign()))
        }
        Signer::Ed25519(key) => {
            let signature = key.sign(&[head.as_bytes(), body].concat());
            format!("v1a,{}", STANDARD.encode(signature.to_bytes()))
        }
    }
}

/// Says whether a request was signed with one of the keys, within `tolerance` of `now`. Signatures of unknown
/// versions are passed over.
pub fn verify_standard(
    keys: &[VerifyingKey],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), VerifyFault> {
    let id = text(headers, &WEBHOOK_ID)?;
    let timestamp = fresh_seconds(headers, &WEBHOOK_TIMESTAMP, now, tolerance)?;
    let signatures = text(headers, &WEBHOOK_SIGNATURE)?;
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signed_by = |version: &str, signature: &[u8]| {
        keys.iter().any(|key| match (&key.0, version) {
            (Verifier::Symmetric(key), "v1") => hmac::verify(key, &signed, signature).is_ok(),
            (Verifier::Ed25519(key), "v1a") => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(&signed, &signature).is_ok()),
            _ => false,
        })
    };
    let matched = signatures
        .split(' ')
        .filter_map(|entry| entry.split_once(','))
        .filter_map(|(version, signature)| Some((version, STANDARD.decode(signature).ok()?)))
        .any(|(version, signature)| signed_by(version, &signature));
    if matched { Ok(()) } else { Err(VerifyFault::NoMatch) }
}
