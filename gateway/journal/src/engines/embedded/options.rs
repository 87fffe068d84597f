//! What an operator may set.

use std::path::Path;

/// How the embedded engine is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a start does that finds less than was answered.
    pub on_damage: OnDamage,
    /// The most that the journal's content may take, in bytes. Near it, the oldest finished events are removed; where
    /// what is left takes as much, appends are refused.
    pub max_size: Option<u64>,
    /// Appends are refused while the disk has less than this left, so that settling and expiring, which need room
    /// too, go on. Near it, the oldest finished events are removed. `None`: as [`default_reserve`] says.
    pub reserve: Option<u64>,
    /// How many bytes of calls may wait for the writer before further appends are answered
    /// [`Busy`](crate::Error::Busy).
    pub waiting_bytes: usize,
    /// The same, in calls.
    pub waiting_calls: usize,
    /// Connections that read for deliveries and for health, each on a thread of its own while it is used. Those who look
    /// at lists and details have two more.
    pub readers: usize,
}

/// The most that SQLite leaves of the write-ahead log once its content has been moved to the main file.
const WAL_LIMIT: u64 = 64 << 20;
/// The log is moved when it has about this much, so that it is not cut to less.
const LEAST_WAL: u64 = 4 << 20;

/// The least that is kept free for deliveries: a write-ahead log of ordinary length.
pub const LEAST_RESERVE: u64 = 2 * LEAST_WAL;
const MOST_RESERVE: u64 = 256 << 20;

/// What a start does that finds less in the journal than was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// The journal is not opened, and nothing is changed.
    #[default]
    Stop,
    /// It is opened with what is left; what is missing is recorded.
    Continue,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            on_damage: OnDamage::default(),
            max_size: None,
            reserve: None,
            waiting_bytes: 64 << 20,
            waiting_calls: 32 * 1024,
            readers: 4,
        }
    }
}

impl Options {
    pub(super) fn reserve(&self) -> u64 {
        self.reserve.unwrap_or(MOST_RESERVE).max(LEAST_RESERVE)
    }

    /// To what size SQLite cuts the write-ahead log.
    pub(super) fn wal_limit(&self) -> u64 {
        (self.reserve() / 2).clamp(LEAST_WAL, WAL_LIMIT)
    }

    /// How long the log may grow while a check of the file reads one snapshot, and the log can't be cut.
    pub(super) fn wal_during_check(&self) -> u64 {
        if self.reserve() < MOST_RESERVE { self.reserve() } else { 8 * WAL_LIMIT }
    }
}

/// A disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What is left of it for this user.
    pub free: u64,
}

impl Disk {
    /// The disk under a path, where the system tells.
    pub fn under(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.checked_mul(stat.f_frsize);
        Some(Self { total: bytes(stat.f_blocks)?, free: bytes(stat.f_bavail)? })
    }
}

/// What is kept free for deliveries on a disk of this size, unless it is set: the smaller of 256 MiB and a tenth of the
/// disk, and [`LEAST_RESERVE`] at least.
pub fn default_reserve(total: u64) -> u64 {
    (total / 10).clamp(LEAST_RESERVE, MOST_RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_reserve_follows_the_disk() {
        for (total, wanted) in [(10, 8), (40, 8), (272, 27), (2560, 256), (1 << 20, 256)] {
            let reserve = default_reserve(total * MIB);
            assert_eq!(reserve / MIB, wanted, "{total}");
        }
        for (reserve, wal, during_check) in
            [(0, 4, 8), (8, 4, 8), (100, 50, 100), (256, 64, 512), (1024, 64, 512)]
        {
            let options = Options { reserve: Some(reserve * MIB), ..Options::default() };
            assert_eq!(
                (options.wal_limit(), options.wal_during_check()),
                (wal * MIB, during_check * MIB),
                "{reserve}"
            );
        }
    }
}
