//! The connections of a listener: how many there may be, and which gives way to a new one.
//!
//! A connection that waits for a request costs its caller nothing, so it is the first to go: one that never sent a valid
//! key before others, and the one that was idle longest before all. One whose request is under way, of a caller with a
//! valid key, stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookweir_model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long to wait for a place before another look at who may give way.
const AGAIN: Duration = Duration::from_millis(20);
/// Where descriptors can't be counted.
const USUAL_DESCRIPTORS: u64 = 1024;

/// How many descriptors this process may have.
pub(crate) fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    usize::try_from(limit.unwrap_or(USUAL_DESCRIPTORS)).unwrap_or(usize::MAX)
}

/// All connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    /// Bytes of heads that are not whole, all connections together.
    most_head_bytes: usize,
    places: Arc<Semaphore>,
    open: Mutex<Open>,
    head_bytes: AtomicUsize,
    evicted: AtomicU64,
    start: Instant,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    peers: HashMap<u64, Arc<Peer>>,
}

/// What a connection does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Doing {
    /// It waits for a head, or for the rest of one.
    Idle,
    /// A request is handled, or its body is read.
    Busy,
    /// An answer is written.
    Answering,
}

/// One connection, as its listener sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    connections: Arc<Connections>,
    number: u64,
    doing: AtomicU8,
    /// Since when it is idle, in milliseconds of the listener's life.
    idle_since: AtomicU64,
    head_bytes: AtomicUsize,
    /// Whether a valid key was seen on it.
    is_known: AtomicBool,
    tenant: Mutex<Option<TenantId>>,
    evicted: CancellationToken,
}

/// A place among the connections, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) peer: Arc<Peer>,
    _permit: OwnedSemaphorePermit,
}

/// What decides who gives way: lower goes first. `None`: it stays.
fn rank(doing: u8, is_known: bool, idle_since: u64) -> Option<(u8, u64)> {
    let is_idle = doing == Doing::Idle as u8;
    match (is_known, is_idle) {
        (false, true) => Some((0, idle_since)),
        (false, false) => Some((1, idle_since)),
        (true, true) => Some((2, idle_since)),
        (true, false) => None,
    }
}

impl Connections {
    /// At most `most` at a time, and so many bytes of heads that are not whole.
    pub(crate) fn new(most: usize, most_head_bytes: usize) -> Arc<Self> {
        let most = most.max(1);
        Arc::new(Self {
            most,
            most_head_bytes,
            places: Arc::new(Semaphore::new(most)),
            open: Mutex::default(),
            head_bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            start: Instant::now(),
        })
    }

    /// Connections that are open now.
    pub(crate) fn count(&self) -> usize {
        self.lock().peers.len()
    }

    /// Connections that had to give way so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// A place for one more connection. Where there is none, others give way; it waits until they have.
    pub(super) async fn admit(self: &Arc<Self>) -> Place {
        let permit = loop {
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(permit) => break permit,
                Err(_) => self.evict(),
            }
            let next = Arc::clone(&self.places).acquire_owned();
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = tokio::time::timeout(AGAIN, next).await {
                break permit;
            }
        };
        let mut open = self.lock();
        open.last += 1;
        let peer = Arc::new(Peer {
            connections: Arc::clone(self),
            number: open.last,
            doing: AtomicU8::new(Doing::Idle as u8),
            idle_since: AtomicU64::new(self.now()),
            head_bytes: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
            tenant: Mutex::default(),
            evicted: CancellationToken::new(),
        });
        open.peers.insert(peer.number, Arc::clone(&peer));
        Place { peer, _permit: permit }
    }

    /// Has some give way. A part at once, so that who opens thousands does not make each of them a search.
    pub(super) fn evict(&self) {
        let open = self.lock();
        let waits = |peer: &&Arc<Peer>| !peer.evicted.is_cancelled();
        let mut ranked: Vec<((u8, u64), &Arc<Peer>)> =
            open.peers.values().filter(waits).filter_map(|peer| Some((peer.rank()?, peer))).collect();
        let part = (self.most / 64 + 1).min(ranked.len());
        if part == 0 {
            return;
        }
        ranked.select_nth_unstable_by_key(part - 1, |(rank, peer)| (*rank, peer.number));
        for (_, peer) in &ranked[..part] {
            peer.evicted.cancel();
        }
        self.evicted.fetch_add(part as u64, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn rank(&self) -> Option<(u8, u64)> {
        let doing = self.doing.load(Ordering::Relaxed);
        rank(doing, self.is_known.load(Ordering::Relaxed), self.idle_since.load(Ordering::Relaxed))
    }

    /// A valid key was seen: of this tenant, or of an operator.
    pub(crate) fn known(&self, tenant: Option<&TenantId>) {
        self.is_known.store(true, Ordering::Relaxed);
        let mut last = self.tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != tenant {
            *last = tenant.cloned();
        }
    }

    /// Whose key was seen last on it; `None`: an operator's, or none.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes when it has to give way.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Bytes have come. Those of heads count, and where there are too many of them, connections give way.
    pub(super) fn read(&self, bytes: usize) {
        if bytes == 0 || self.doing.load(Ordering::Relaxed) != Doing::Idle as u8 {
            return;
        }
        self.head_bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.connections.head_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.connections.most_head_bytes {
            self.connections.evict();
        }
    }

    /// A head is whole: its request is handled now.
    pub(super) fn begins(&self) {
        self.doing.store(Doing::Busy as u8, Ordering::Relaxed);
        self.forget_head();
    }

    /// The answer is made, and is as long as it is: when it is written, the connection is idle.
    pub(super) fn answers(&self) {
        self.doing.store(Doing::Answering as u8, Ordering::Relaxed);
    }

    /// All that was to be written is.
    pub(super) fn written(&self) {
        let (from, to) = (Doing::Answering as u8, Doing::Idle as u8);
        if self.doing.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.idle_since.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    fn forget_head(&self) {
        let bytes = self.head_bytes.swap(0, Ordering::Relaxed);
        self.connections.head_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peer.forget_head();
        self.peer.connections.lock().peers.remove(&self.peer.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_way_first() {
        let (idle, busy, answering) = (Doing::Idle as u8, Doing::Busy as u8, Doing::Answering as u8);
        let mut all = [
            ("known, busy", rank(busy, true, 0)),
            ("known, answering", rank(answering, true, 0)),
            ("known, idle for long", rank(idle, true, 1)),
            ("known, idle", rank(idle, true, 9)),
            ("unknown, busy", rank(busy, false, 1)),
            ("unknown, idle for long", rank(idle, false, 1)),
            ("unknown, idle", rank(idle, false, 9)),
        ];
        all.sort_by_key(|(_, rank)| (rank.is_none(), *rank));
        let order: Vec<_> = all.iter().filter(|(_, rank)| rank.is_some()).map(|(name, _)| *name).collect();
        assert_eq!(
            order,
            [
                "unknown, idle for long",
                "unknown, idle",
                "unknown, busy",
                "known, idle for long",
                "known, idle"
            ]
        );
    }

    #[tokio::test]
    async fn the_one_idle_longest_gives_its_place_to_a_new_one() {
        let connections = Connections::new(3, 1 << 20);
        let mut places = Vec::new();
        for number in 0..3 {
            places.push(connections.admit().await);
            places[number].peer.idle_since.store(number as u64, Ordering::Relaxed);
        }
        places[0].peer.known(None);
        places[0].peer.begins();
        let next = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.admit().await }
        });
        places[1].peer.evicted().await;
        assert!(!next.is_finished(), "it waits until the place is free");
        drop(places.remove(1));
        let _next = next.await.unwrap();
        assert_eq!((connections.count(), connections.evicted()), (3, 1));
        assert!(!places[0].peer.evicted.is_cancelled() && !places[1].peer.evicted.is_cancelled());
    }

    #[tokio::test]
    async fn too_many_bytes_of_heads_make_room_for_themselves() {
        let connections = Connections::new(100, 1000);
        let (old, new) = (connections.admit().await, connections.admit().await);
        old.peer.idle_since.store(0, Ordering::Relaxed);
        new.peer.idle_since.store(5, Ordering::Relaxed);
        old.peer.read(600);
        new.peer.read(300);
        assert!(!old.peer.evicted.is_cancelled());
        new.peer.begins();
        new.peer.read(5000);
        assert!(!old.peer.evicted.is_cancelled(), "bodies do not count");
        new.peer.answers();
        new.peer.written();
        new.peer.read(401);
        assert!(old.peer.evicted.is_cancelled(), "what lay there longest goes");
        drop((old, new));
        assert_eq!(connections.head_bytes.load(Ordering::Relaxed), 0);
    }
}
