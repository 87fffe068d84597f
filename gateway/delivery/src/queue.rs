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

use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};

pub(crate) use fault::{Fault, Progress, attempt};
pub use template::{InvalidTemplate, Template};

/// Locks what no panic can leave half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands for credentials where connections are told apart by them.
fn fingerprint(kind: &str, secrets: &[&SecretString]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(kind.as_bytes());
    for secret in secrets {
        // With its length, so that no two lists are one text.
        hash.update(&secret.expose_secret().len().to_le_bytes());
        hash.update(secret.expose_secret().as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}
