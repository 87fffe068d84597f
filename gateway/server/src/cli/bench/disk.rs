//! How the disk is doing: a durable gateway is measured together with the disk under its journal.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use super::spread::Spread;

/// What statfs(2) calls a file system that lies in memory.
const TMPFS: u64 = 0x0102_1994;

/// Whether syncs cost nothing in this directory, so that a durable gateway looks faster than it is.
pub(super) fn is_in_memory(directory: &Path) -> anyhow::Result<bool> {
    let statistics = rustix::fs::statfs(directory).context("the journal's file system is not known")?;
    Ok(u64::try_from(statistics.f_type) == Ok(TMPFS))
}

/// The median time in milliseconds to write 4 KiB over what is there and have it on disk.
pub(super) fn sync_ms(directory: &Path) -> anyhow::Result<f64> {
    const TIMES: usize = 32;
    let file = File::create(directory.join("sync-probe")).context("the disk can't be probed")?;
    let page = [0; 4096];
    file.write_all_at(&page, 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let start = Instant::now();
        file.write_all_at(&page, 0)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Spread::of(times).map_or(0.0, |spread| spread.median))
}
