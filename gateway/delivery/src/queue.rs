//! What all kinds of queue share: how an attempt at a broker ends, connections that endpoints share, and texts with
//! places for an event's attributes.

mod fault;
mod gather;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
#[cfg(feature = "nats")]
pub(crate) mod nats;
mod pool;
#[cfg(feature = "rabbitmq")]
pub(crate) mod rabbitmq;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub mod smq;
#[cfg(feature = "sqs")]
pub(crate) mod sqs;
mod template;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

pub(crate) use fault::{Fault, Progress, attempt};
pub use template::{InvalidTemplate, Template};

/// Locks what no panic can leave half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
