//! Connections to brokers, and what was learnt over them, shared by all endpoints that say the same of their server.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, lock};

/// How long a connection may be unused before it is closed. Longer than the waits between a busy endpoint's events,
/// shorter than the time after which firewalls forget a connection in silence.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How many connections of one kind may be kept. The one that was unused the longest makes room.
const MOST: usize = 256;

/// What a pool has to know of what it keeps. The last clone of a connection closes it.
pub(crate) trait Pooled: Clone + Send + 'static {
    /// Whether it can still be used, as far as is known.
    fn is_usable(&self) -> bool;
}

/// Connections by what they were made with: server, credentials and trust.
pub(crate) struct Pool<K, C> {
    slots: Arc<Mutex<HashMap<K, Arc<Slot<C>>>>>,
}

struct Slot<C> {
    /// Held while a connection is made, so that those who come meanwhile wait for it instead of making their own.
    connection: tokio::sync::Mutex<Made<C>>,
    used: Mutex<Instant>,
}

/// How the last try to make a connection ended.
enum Made<C> {
    Not,
    Open(C),
    /// Whoever waited for that try has its answer, and does not dial a dead server once more.
    Failed(Instant, Fault),
}

impl<K: Clone + Eq + Hash + Send + 'static, C: Pooled> Pool<K, C> {
    pub(crate) fn new() -> Self {
        Self { slots: Arc::default() }
    }

    /// The open connection for a key, or the one that `connect` makes.
    pub(crate) async fn get(
        &self,
        key: &K,
        connect: impl AsyncFnOnce() -> Result<C, Fault>,
    ) -> Result<C, Fault> {
        let asked = Instant::now();
        let slot = self.slot(key);
        let mut made = slot.connection.lock().await;
        match &*made {
            Made::Open(connection) if connection.is_usable() => return Ok(connection.clone()),
            Made::Failed(at, fault) if *at > asked => return Err(fault.clone()),
            Made::Not | Made::Open(_) | Made::Failed(..) => {}
        }
        // The old one goes before the new one comes, so that a server sees no more than one of us.
        *made = Made::Not;
        let connected = connect().await;
        *made = match &connected {
            Ok(connection) => Made::Open(connection.clone()),
            Err(fault) => Made::Failed(Instant::now(), fault.clone()),
        };
        connected
    }

    /// Lets all connections go. Who uses one at this moment keeps it until done.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *lock(&self.slots));
        drop(gone);
    }

    fn slot(&self, key: &K) -> Arc<Slot<C>> {
        let now = Instant::now();
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(key) {
            *lock(&slot.used) = now;
            return Arc::clone(slot);
        }
        if slots.is_empty() {
            tokio::spawn(sweep(Arc::downgrade(&self.slots)));
        }
        if slots.len() >= MOST
            && let Some(oldest) =
                slots.iter().min_by_key(|(_, slot)| *lock(&slot.used)).map(|(key, _)| key.clone())
        {
            slots.remove(&oldest);
        }
        let slot = Arc::new(Slot { connection: tokio::sync::Mutex::new(Made::Not), used: Mutex::new(now) });
        slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }
}

impl<K, C> std::fmt::Debug for Pool<K, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("connections", &lock(&self.slots).len()).finish()
    }
}

/// Closes what is unused for too long. It ends with the last connection or with the pool.
async fn sweep<K: Eq + Hash, C>(slots: Weak<Mutex<HashMap<K, Arc<Slot<C>>>>>) {
    loop {
        tokio::time::sleep(IDLE_LIMIT / 4).await;
        let Some(slots) = slots.upgrade() else { return };
        let now = Instant::now();
        let mut slots = lock(&slots);
        slots.retain(|_, slot| now.duration_since(*lock(&slot.used)) < IDLE_LIMIT);
        if slots.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Line {
        number: usize,
        closed: Arc<AtomicBool>,
    }

    impl Pooled for Line {
        fn is_usable(&self) -> bool {
            !self.closed.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn endpoints_of_one_server_share_a_connection_until_it_breaks() {
        let pool: Pool<&str, Line> = Pool::new();
        let made = AtomicUsize::new(0);
        let get = async |key| {
            let connect = async || {
                tokio::task::yield_now().await;
                Ok(Line { number: made.fetch_add(1, Ordering::Relaxed), closed: Arc::default() })
            };
            pool.get(&key, connect).await.unwrap()
        };
        let (first, second) = tokio::join!(get("a"), get("a"));
        assert_eq!((first.number, second.number), (0, 0), "the second waits for the first one's");
        assert_eq!(get("b").await.number, 1);
        first.closed.store(true, Ordering::Relaxed);
        assert_eq!(get("a").await.number, 2);
        assert_eq!(get("b").await.number, 1);
        pool.clear();
        assert_eq!(get("b").await.number, 3);
    }

    #[tokio::test]
    async fn a_failed_connection_is_tried_anew_and_the_longest_unused_makes_room() {
        let pool: Pool<usize, Line> = Pool::new();
        let tries = AtomicUsize::new(0);
        let refuse = async || {
            tries.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err(Fault::retry("connection refused"))
        };
        let (first, second) = tokio::join!(pool.get(&0, refuse), pool.get(&0, refuse));
        for refused in [first, second] {
            assert_eq!(refused.err(), Some(Fault::retry("connection refused")));
        }
        assert_eq!(tries.load(Ordering::Relaxed), 1, "who waited for the try has its answer");
        for key in 0..=MOST {
            let line = pool.get(&key, async || Ok(Line { number: key, closed: Arc::default() })).await;
            assert_eq!(line.unwrap().number, key);
        }
        assert_eq!(lock(&pool.slots).len(), MOST);
        assert!(!lock(&pool.slots).contains_key(&0), "it was used first");
    }
}
