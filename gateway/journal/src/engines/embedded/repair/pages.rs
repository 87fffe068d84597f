//! The pages of a journal's file as its readers see them: those of the main file, under those of the write-ahead log.
//!
//! SQLite refuses a page that it can't make sense of, and with it all that is found by way of it. Here every page is read
//! by its number, so that one bad page costs what lies on it and nothing else. A page that the system can't read is
//! taken like one that makes no sense.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// SQLite's page size, which the schema leaves at its default.
pub(super) const PAGE: usize = 4096;

/// The page that holds the byte that SQLite locks; nothing is stored there.
const LOCKED: u32 = 0x4000_0000 / 4096 + 1;

/// Pages that one page of the map of parents describes.
const DESCRIBED: u32 = 4096 / 5;

const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;

pub(super) struct Pages {
    file: File,
    log: Option<File>,
    /// Where the log has the newest committed content of a page.
    in_log: HashMap<u32, u64>,
    count: u32,
}

impl Pages {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let file = File::open(directory.join("journal.db"))?;
        let pages = file.metadata()?.len().div_ceil(PAGE as u64);
        let mut pages =
            Self { file, log: None, in_log: HashMap::new(), count: u32::try_from(pages).unwrap_or(u32::MAX) };
        match File::open(directory.join("journal.db-wal")) {
            Ok(log) => pages.read_log(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(pages)
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// A page; `None` where it is not there or can't be read.
    pub(super) fn read(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE];
        match (self.in_log.get(&number), &self.log) {
            (Some(at), Some(log)) => log.read_exact_at(&mut page, *at).ok()?,
            _ => {
                let at = u64::from(number.checked_sub(1)?) * PAGE as u64;
                self.file.read_exact_at(&mut page, at).ok()?;
            }
        }
        Some(page)
    }

    /// Takes the log's committed frames up to the first that does not fit, as SQLite does.
    fn read_log(&mut self, log: File) {
        let mut head = [0; LOG_HEAD as usize];
        if log.read_exact_at(&mut head, 0).is_err() {
            return;
        }
        let is_big_endian = match u32_at(&head, 0) {
            Some(0x377f_0682) => false,
            Some(0x377f_0683) => true,
            _ => return,
        };
        let mut sum = checksum(is_big_endian, [0, 0], &head[..24]);
        if stored_sum(&head, 24) != Some(sum) {
            return;
        }
        let (mut frame, mut at) = (vec![0; FRAME_HEAD as usize + PAGE], LOG_HEAD);
        let mut open = Vec::new();
        while log.read_exact_at(&mut frame, at).is_ok() && frame[8..16] == head[16..24] {
            sum = checksum(is_big_endian, sum, &frame[..8]);
            sum = checksum(is_big_endian, sum, &frame[FRAME_HEAD as usize..]);
            let (Some(number), Some(size)) = (u32_at(&frame, 0), u32_at(&frame, 4)) else { break };
            if stored_sum(&frame, 16) != Some(sum) {
                break;
            }
            open.push((number, at + FRAME_HEAD));
            if size > 0 {
                self.in_log.extend(open.drain(..));
                self.count = size;
            }
            at += FRAME_HEAD + PAGE as u64;
        }
        self.log = Some(log);
    }

    /// Which page lies under which, by the map that SQLite keeps to move pages about. It tells the children of a page
    /// that is damaged itself.
    pub(super) fn parents(&self) -> Parents {
        let mut parents = Parents::default();
        let mut map = 2;
        while map <= self.count {
            let place = if map == LOCKED { map + 1 } else { map };
            let page = self.read(place).unwrap_or_default();
            for index in 0..DESCRIBED {
                let number = place + 1 + index;
                let at = index as usize * 5;
                match (page.get(at), u32_at(&page, at + 1)) {
                    (Some(1), Some(0)) => {
                        parents.roots.insert(number);
                    }
                    (Some(5), Some(parent)) if number <= self.count && parent <= self.count => {
                        parents.of.insert(number, parent);
                        parents.under.entry(parent).or_default().push(number);
                    }
                    _ => {}
                }
            }
            map += DESCRIBED + 1;
        }
        parents
    }
}

#[derive(Debug, Default)]
pub(super) struct Parents {
    roots: HashSet<u32>,
    of: HashMap<u32, u32>,
    under: HashMap<u32, Vec<u32>>,
}

impl Parents {
    pub(super) fn is_root(&self, page: u32) -> bool {
        self.roots.contains(&page)
    }

    /// Whether the map has `child` under another page than `parent`.
    pub(super) fn contradict(&self, parent: u32, child: u32) -> bool {
        self.of.get(&child).is_some_and(|other| *other != parent)
    }

    pub(super) fn under(&self, parent: u32) -> &[u32] {
        self.under.get(&parent).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn stored_sum(bytes: &[u8], at: usize) -> Option<[u32; 2]> {
    Some([u32_at(bytes, at)?, u32_at(bytes, at + 4)?])
}

/// The log's running checksum, over a number of bytes that eight divides.
fn checksum(is_big_endian: bool, [mut a, mut b]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let word = |four: &[u8]| {
        let four = four.try_into().unwrap_or_default();
        if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for eight in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&eight[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&eight[4..])).wrapping_add(a);
    }
    [a, b]
}
