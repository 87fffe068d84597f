//! What all kinds of queue share: how an attempt at a broker ends, connections that endpoints share, and texts with
//! places for an event's attributes.

mod fault;
mod gather;
pub(crate) mod nats;
mod pool;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
pub mod smq;
pub(crate) mod sqs;
mod template;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

pub(crate) use fault::{Fault, Progress, attempt};
pub use template::{InvalidTemplate, Template};

/// Two lower-case digits a byte.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stands for credentials where connections are told apart by them.
fn fingerprint(kind: &str, secrets: &[&SecretString]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(kind);
    for secret in secrets {
        // With its length, so that no two lists are one text.
        hash.update(secret.expose_secret().len().to_le_bytes());
        hash.update(secret.expose_secret());
    }
    hash.finalize().into()
}
