//! What an operator may set.

/// How the embedded engine is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Appends are refused while the journal's content takes more than this. Expiring events makes room again.
    pub max_size: Option<u64>,
    /// Appends are refused while the disk has less than this left, so that settling and expiring, which need room
    /// too, go on. At least twice the limit of the write-ahead log, which can take that much at any time.
    pub reserve: u64,
    /// How many bytes of calls may wait for the writer before further appends are answered
    /// [`Busy`](crate::Error::Busy).
    pub waiting_bytes: usize,
    /// The same, in calls.
    pub waiting_calls: usize,
    /// Connections that read for deliveries and for health, each on a thread of its own while it is used. Those who look
    /// at lists and details have two more.
    pub readers: usize,
}

/// To what size SQLite cuts the write-ahead log once its content has been moved to the main file.
pub(super) const WAL_LIMIT: u64 = 64 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            max_size: None,
            reserve: 256 << 20,
            waiting_bytes: 64 << 20,
            waiting_calls: 32 * 1024,
            readers: 4,
        }
    }
}

impl Options {
    pub(super) fn reserve(&self) -> u64 {
        self.reserve.max(2 * WAL_LIMIT)
    }
}
