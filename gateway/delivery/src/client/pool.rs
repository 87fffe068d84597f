//! Connections that wait for their next request.
//!
//! A connection belongs to one tenant, one server and one way to trust it, so that what a receiver says too late, or twice,
//! can never be read by another tenant. The client that owns the pool has one egress policy. Bytes that come while no
//! request is under way end a connection: they answer nothing that was asked.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::TenantId;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tracing::debug;

use crate::Server;
use crate::network::Connected;

/// Many servers close an idle connection after 5 s. Whoever closes first loses no request.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Enough for the busiest endpoint: one that has more requests under way than this opens a connection for each of those
/// beyond it. Bounds what a burst leaves open.
const MOST_OF_A_SERVER: usize = 1024;

/// The bound of all together. What has no room is closed after its answer.
const MOST: usize = 4096;

/// Whose connection it is, and to which server.
pub(super) type Key = (TenantId, Server);

/// A connection that takes one request at a time.
pub(super) struct Line {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) peer: SocketAddr,
}

impl Line {
    /// Lets a task of its own move the bytes.
    pub(super) async fn open(connected: Connected) -> Result<Self, hyper::Error> {
        let Connected { stream, peer, .. } = connected;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Who waits for an answer is told of it too; of an idle connection nobody else knows.
            if let Err(error) = connection.await {
                debug!(
                    target: "hookweir::delivery",
                    error = &error as &dyn std::error::Error,
                    "a connection ended"
                );
            }
        });
        Ok(Self { sender, peer })
    }
}

/// Clones share the connections.
#[derive(Clone, Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    lines: HashMap<Key, Vec<(Instant, Line)>>,
    count: usize,
}

impl Pool {
    /// The connection that was used last, of those that are open.
    pub(super) fn take(&self, key: &Key) -> Option<Line> {
        let mut idle = lock(&self.idle);
        let lines = idle.lines.get_mut(key)?;
        let (before, now) = (lines.len(), Instant::now());
        let mut found = None;
        while let Some((since, line)) = lines.pop() {
            if !line.sender.is_closed() && now.duration_since(since) < IDLE_LIMIT {
                found = Some(line);
                break;
            }
        }
        let taken = before - lines.len();
        if lines.is_empty() {
            idle.lines.remove(key);
        }
        idle.count -= taken;
        found
    }

    /// Keeps a connection whose answer was read to its end, as soon as it says that it is ready for another request.
    pub(super) fn give_back(&self, key: Key, mut line: Line) {
        if line.sender.is_ready() {
            self.keep(key, line);
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            // An error: it was closed, or the answer was followed by bytes that answer nothing.
            if let Ok(Ok(())) = tokio::time::timeout(IDLE_LIMIT, line.sender.ready()).await {
                pool.keep(key, line);
            }
        });
    }

    fn keep(&self, key: Key, line: Line) {
        let mut idle = lock(&self.idle);
        if idle.count >= MOST {
            return;
        }
        let is_first = idle.count == 0;
        let lines = idle.lines.entry(key).or_default();
        if lines.len() >= MOST_OF_A_SERVER {
            return;
        }
        lines.push((Instant::now(), line));
        idle.count += 1;
        if is_first {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *lock(&self.idle));
        drop(gone);
    }
}

/// Closes what is unused for too long. It ends with the last connection or with the pool.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(IDLE_LIMIT / 4).await;
        let Some(idle) = idle.upgrade() else { return };
        let now = Instant::now();
        let mut idle = lock(&idle);
        idle.lines.retain(|_, lines| {
            lines.retain(|(since, line)| !line.sender.is_closed() && now.duration_since(*since) < IDLE_LIMIT);
            !lines.is_empty()
        });
        idle.count = idle.lines.values().map(Vec::len).sum();
        if idle.count == 0 {
            return;
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &lock(&self.idle).count).finish()
    }
}
