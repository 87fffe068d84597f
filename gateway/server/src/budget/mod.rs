//! Bytes of memory that are held for many: in sum and by owner, given back on drop, which wakes who waits for some.
//!
//! How much an owner may hold, and who is granted what is given back, is for each budget to say: that of the listeners
//! ([`crate::listen`]), and that of deliveries ([`crate::dispatch`]). Both have those who wait take turns ([`Turns`]).

mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

pub(crate) use self::turns::{Fit, Turns};

/// What all owners hold together.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    held: AtomicUsize,
    /// Whether anybody has to be told that bytes were given back.
    is_awaited: AtomicBool,
    /// Bytes were given back, or asked for.
    changed: Notify,
}

impl Sum {
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::SeqCst)
    }

    /// Says whether anybody waits. Who begins to wait calls [`Self::wake`] then: what was given back before woke nobody.
    pub(crate) fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::SeqCst);
    }

    /// Has one of those who wait look what can be granted.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Completes when there may be something to grant.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn gave_back(&self) {
        if self.is_awaited() {
            self.wake();
        }
    }
}

/// What one owner holds of a sum.
#[derive(Debug)]
pub(crate) struct Account {
    sum: Arc<Sum>,
    held: AtomicUsize,
}

impl Account {
    pub(crate) fn new(sum: &Arc<Sum>) -> Arc<Self> {
        Arc::new(Self { sum: Arc::clone(sum), held: AtomicUsize::new(0) })
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes bytes, whether or not there is room for them.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Held {
        let mut held = Held { account: Arc::clone(self), bytes: 0 };
        held.grow(bytes);
        held
    }
}

/// Bytes that are held, given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Held {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What their owner holds with them.
    pub(crate) fn of_owner(&self) -> usize {
        self.account.held()
    }

    /// Takes more, whether or not there is room for them.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.account.held.fetch_add(bytes, Ordering::Relaxed);
        self.account.sum.held.fetch_add(bytes, Ordering::SeqCst);
        self.bytes += bytes;
    }

    /// Gives some back, and no more than there are.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        self.account.held.fetch_sub(bytes, Ordering::Relaxed);
        self.account.sum.held.fetch_sub(bytes, Ordering::SeqCst);
        self.account.sum.gave_back();
    }

    /// Parts with some of them, and no more than there are.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: Arc::clone(&self.account), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_once_in_sum_and_by_owner() {
        let sum = Arc::new(Sum::default());
        let (one, other) = (Account::new(&sum), Account::new(&sum));
        let counts = || (sum.held(), one.held(), other.held());
        let (mut first, second) = (one.take(100), other.take(20));
        assert_eq!(counts(), (120, 100, 20));
        let mut part = first.split(30);
        part.grow(5);
        assert_eq!((first.bytes(), part.bytes(), counts()), (70, 35, (125, 105, 20)));
        assert_eq!(first.split(1000).bytes(), 70, "more than there is can't be parted with");
        assert_eq!(counts(), (55, 35, 20));
        part.give_back(1000);
        assert_eq!(counts(), (20, 0, 20));
        drop((first, second, part));
        assert_eq!(counts(), (0, 0, 0));
    }
}
