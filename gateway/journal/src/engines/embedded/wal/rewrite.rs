//! Makes a log that holds what is left of a damaged one, and puts it in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::scan::{FRAME, HEADER, Header, Log, PAGE, sum_of};
use crate::engines::embedded::writer::wal_path;

/// Replaces the log by one of the next generation that holds these pages, each from its frame, in one transaction; where
/// there are none, by an empty one. The new log is whole on disk before the old one is gone.
pub(super) fn rewrite(
    directory: &Path,
    log: &Log,
    pages: &BTreeMap<u32, usize>,
    size: u32,
) -> io::Result<()> {
    let (old, new) = (wal_path(directory), directory.join("journal.db-wal.new"));
    let file = File::create(&new)?;
    if !pages.is_empty() {
        let mut out = BufWriter::new(&file);
        let sequence = log.header.map_or(0, |header| header.sequence).wrapping_add(1);
        let salts = log.salts.map_or([0, 0], |salts| [salts[0].wrapping_add(1), !salts[1]]);
        let (header, bytes) = Header::new(sequence, salts);
        out.write_all(&bytes)?;
        let from = File::open(&old)?;
        let (mut sum, last) = (header.sum, pages.last_key_value().map(|(page, _)| *page));
        let mut content = [0; PAGE];
        for (page, frame) in pages {
            from.read_exact_at(&mut content, (HEADER + frame * (FRAME + PAGE) + FRAME) as u64)?;
            let size = if Some(*page) == last { size } else { 0 };
            sum = sum_of(sum, *page, size, &content);
            for word in [*page, size, salts[0], salts[1], sum[0], sum[1]] {
                out.write_all(&word.to_be_bytes())?;
            }
            out.write_all(&content)?;
        }
        out.flush()?;
    }
    file.sync_all()?;
    fs::rename(&new, &old)?;
    File::open(directory)?.sync_all()
}
