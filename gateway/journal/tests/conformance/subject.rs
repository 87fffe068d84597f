//! The engines under test, each opened fresh and empty.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hookweir_journal::Journal;
use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::engines::memory::Memory;
use hookweir_model::Timestamp;

/// An empty journal.
pub(crate) struct Subject {
    pub(crate) journal: Arc<dyn Journal>,
    /// Moves the clock by which leases end; `None` where they do not end.
    pub(crate) advance: Option<Box<dyn Fn(Duration) + Send + Sync>>,
    /// What has to outlive the journal.
    _keep: Box<dyn Any + Send + Sync>,
}

pub(crate) fn memory() -> Subject {
    let now = Arc::new(AtomicI64::new(1_000_000));
    let read = Arc::clone(&now);
    let journal = Memory::with_clock(Arc::new(move || Timestamp::from_millis(read.load(Ordering::SeqCst))));
    let advance = move |by: Duration| {
        now.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    };
    Subject { journal: Arc::new(journal), advance: Some(Box::new(advance)), _keep: Box::new(()) }
}

pub(crate) fn embedded() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let journal = Embedded::open(directory.path(), Options::default()).unwrap();
    Subject { journal: Arc::new(journal), advance: None, _keep: Box::new(directory) }
}
