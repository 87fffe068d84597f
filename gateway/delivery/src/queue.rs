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
mod signed;
pub mod smq;
#[cfg(feature = "sqs")]
pub(crate) mod sqs;
mod template;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};

use crate::dial::Tried;
pub(crate) use fault::{Fault, Progress, attempt};
pub use template::{InvalidTemplate, Template};

/// How long one server of a cluster may be silent before the next is tried beside it. A login takes several round trips.
const SERVER_PATIENCE: Duration = Duration::from_secs(1);

/// What the last server that answered said, of those that were tried.
fn last_fault<C>(tried: Tried<C, Fault>) -> Fault {
    let silent = || Fault::retry("no server of the broker answered");
    tried.into_iter().rev().find_map(|(_, fault)| fault).unwrap_or_else(silent)
}

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
