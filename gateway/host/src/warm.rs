//! Instances that wait for the next event of their tenant.
//!
//! An instance lies here only between two events, and comes out for the same [`Key`] alone: same tenant, same plugin,
//! same component, configuration and limits. What goes in is bounded by number and by bytes; the instance that has
//! waited longest makes room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::{Digest, PluginId, TenantId};

use crate::contract::{Limits, Step};
use crate::engine::WARM_INSTANCES;
use crate::instance::Instance;

/// Bytes of linear memory that may lie idle. A JavaScript guest has some 2 MB, a Python guest some 20 MB.
const WARM_BYTES: usize = 256 << 20;

/// Whose instance it is and what for. Nothing else may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    tenant: TenantId,
    plugin: PluginId,
    digest: Digest,
    config: Arc<str>,
    limits: Limits,
}

impl Key {
    pub(crate) fn new(tenant: &TenantId, step: &Step) -> Self {
        Self {
            tenant: tenant.clone(),
            plugin: step.id.clone(),
            digest: step.plugin.digest(),
            config: Arc::clone(&step.config),
            limits: step.limits,
        }
    }

    /// Whether this is the same plugin of the same tenant as it was before or after a change of its configuration.
    fn is_other_state_of(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.plugin == other.plugin && self != other
    }
}

/// The instances, of which there are never more than [`WARM_INSTANCES`].
pub(crate) struct Warm {
    waiting: Mutex<Shelf<Instance>>,
}

impl Warm {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Shelf::new(WARM_INSTANCES, WARM_BYTES)) }
    }

    pub(crate) fn take(&self, key: &Key) -> Option<Instance> {
        self.lock().take(key)
    }

    pub(crate) fn put(&self, key: Key, instance: Instance) {
        let bytes = instance.memory();
        let gone = self.lock().put(key, bytes, instance);
        // Unmapping takes its time: the lock is open by now.
        drop(gone);
    }

    /// Lets all of them go.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut self.lock().items);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<Instance>> {
        // No guest code runs under the lock, so the shelf is whole after any panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Items by key, the longest unused first.
struct Shelf<T> {
    items: VecDeque<Item<T>>,
    most_items: usize,
    most_bytes: usize,
}

struct Item<T> {
    key: Key,
    bytes: usize,
    item: T,
}

impl<T> Shelf<T> {
    const fn new(most_items: usize, most_bytes: usize) -> Self {
        Self { items: VecDeque::new(), most_items, most_bytes }
    }

    /// The one that was put last, since its memory is the likeliest to be in the processor's caches.
    fn take(&mut self, key: &Key) -> Option<T> {
        let place = self.items.iter().rposition(|item| item.key == *key)?;
        self.items.remove(place).map(|item| item.item)
    }

    /// Puts one back and answers those that had to go: of an earlier configuration, or for want of room.
    fn put(&mut self, key: Key, bytes: usize, item: T) -> Vec<T> {
        let (outdated, kept) = std::mem::take(&mut self.items)
            .into_iter()
            .partition::<VecDeque<_>, _>(|item| item.key.is_other_state_of(&key));
        self.items = kept;
        self.items.push_back(Item { key, bytes, item });
        let mut gone: Vec<T> = outdated.into_iter().map(|item| item.item).collect();
        while self.items.len() > self.most_items || self.bytes() > self.most_bytes {
            gone.extend(self.items.pop_front().map(|item| item.item));
        }
        gone
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes).sum()
    }
}

impl std::fmt::Debug for Warm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warm").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, config: &str) -> Key {
        Key {
            tenant: TenantId::new(tenant).unwrap(),
            plugin: PluginId::new("p").unwrap(),
            digest: Digest::of(b"component"),
            config: config.into(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn each_tenant_gets_its_own_back_the_latest_first() {
        let mut shelf = Shelf::new(8, 100);
        assert_eq!(shelf.put(key("a", "{}"), 1, "a1"), [""; 0]);
        assert_eq!(shelf.put(key("b", "{}"), 1, "b1"), [""; 0]);
        assert_eq!(shelf.put(key("a", "{}"), 1, "a2"), [""; 0]);
        assert_eq!(shelf.take(&key("a", "{}")), Some("a2"));
        assert_eq!(shelf.take(&key("a", "{}")), Some("a1"));
        assert_eq!(shelf.take(&key("a", "{}")), None);
        assert_eq!(shelf.take(&key("b", "{}")), Some("b1"));
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut shelf = Shelf::new(2, 100);
        shelf.put(key("a", "{}"), 1, "a");
        shelf.put(key("b", "{}"), 1, "b");
        assert_eq!(shelf.put(key("c", "{}"), 1, "c"), ["a"]);
        assert_eq!(shelf.put(key("d", "{}"), 99, "d"), ["b"]);
        assert_eq!(shelf.put(key("e", "{}"), 101, "too large to keep"), ["c", "d", "too large to keep"]);
        assert_eq!(shelf.take(&key("e", "{}")), None);
    }

    #[test]
    fn a_changed_configuration_sends_the_old_ones_away() {
        let mut shelf = Shelf::new(8, 100);
        shelf.put(key("a", "{}"), 1, "a old");
        shelf.put(key("b", "{}"), 1, "b old");
        assert_eq!(shelf.take(&key("a", "{\"x\":1}")), None);
        assert_eq!(shelf.put(key("a", "{\"x\":1}"), 1, "a new"), ["a old"]);
        assert_eq!(shelf.take(&key("b", "{}")), Some("b old"));
    }
}
