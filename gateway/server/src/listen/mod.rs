//! What both listeners share: connections with bounds in time, in number and in bytes.
//!
//! Bytes have to come and go at a minimal pace ([`pace`], [`stream`], [`body`]). What is held for requests that are not
//! whole and for answers that are not read has a budget in bytes, in sum and by tenant ([`budget`], [`held`]). Connections
//! have a budget in number, and the one that was idle longest gives way to a new one ([`connections`]).

mod body;
mod budget;
mod connections;
mod failures;
mod held;
mod pace;
mod serve;
mod stream;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::body::{Cut, Paced, read};
pub(crate) use self::budget::{Budget, Over, Share};
pub(crate) use self::connections::{Connections, Peer, descriptors};
pub(crate) use self::held::{Held, count, hold};
pub(crate) use self::serve::{From, bind, serve};

/// A head must be whole by then, and a connection may be idle that long.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(60);
/// After a stop is asked for, new requests are answered 503 for so long before connections are refused, so that a load
/// balancer sees it and sends elsewhere.
pub(crate) const LEAVE: Duration = Duration::from_secs(1);

/// The two budgets in bytes of what both listeners hold for their callers.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// For bodies of requests that are not whole.
    pub requests: Arc<Budget>,
    /// For answers that are being made or are not read to their end.
    pub answers: Arc<Budget>,
}

impl Budgets {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { requests: Budget::new(bytes), answers: Budget::new(bytes) }
    }
}

/// All that listens.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub accept: Arc<Connections>,
    pub admin: Arc<Connections>,
    pub budgets: Budgets,
}
