//! Reads a log: its header, and of each frame what its header says and whether its checksum fits.

use std::io::{self, Read};

/// Bytes before the first frame.
pub(super) const HEADER: usize = 32;
/// Bytes before the page of a frame.
pub(super) const FRAME: usize = 24;
/// The page size of every journal: the schema leaves it at SQLite's default.
pub(super) const PAGE: usize = 4096;

/// The magic number of a log whose checksums read words of the byte order of this machine, and of one of the other order.
const MAGIC: u32 = if cfg!(target_endian = "big") { 0x377f_0683 } else { 0x377f_0682 };
const VERSION: u32 = 3_007_000;

/// A checksum, which goes on from frame to frame.
pub(super) type Sum = [u32; 2];
/// What all frames of one generation of the log have in common. The first grows by one with each generation.
pub(super) type Salts = [u32; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// How many generations there were before, since the log was made.
    pub(super) sequence: u32,
    pub(super) salts: Salts,
    pub(super) sum: Sum,
}

impl Header {
    /// `None` where the bytes are no header of a log of ours.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let word = |at| word(bytes, at);
        let header = Self { sequence: word(12), salts: [word(16), word(20)], sum: [word(24), word(28)] };
        let is_ours = word(0) == MAGIC && word(4) == VERSION && word(8) as usize == PAGE;
        (is_ours && sum([0, 0], &bytes[..24]) == header.sum).then_some(header)
    }

    pub(super) fn new(sequence: u32, salts: Salts) -> (Self, [u8; HEADER]) {
        let mut bytes = [0; HEADER];
        for (at, word) in [MAGIC, VERSION, PAGE as u32, sequence, salts[0], salts[1]].into_iter().enumerate()
        {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        let sum = sum([0, 0], &bytes[..24]);
        bytes[24..28].copy_from_slice(&sum[0].to_be_bytes());
        bytes[28..].copy_from_slice(&sum[1].to_be_bytes());
        (Self { sequence, salts, sum }, bytes)
    }
}

/// A frame, as far as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The number of the page that it holds.
    pub(super) page: u32,
    /// Of a frame that ends a transaction: how many pages the journal has then; else 0.
    pub(super) size: u32,
    pub(super) sum: Sum,
    /// Whether it has the salts of the log's present generation.
    pub(super) is_present: bool,
    /// Whether its checksum goes on from that of the frame before it, as it stands there. A frame behind a bad one can
    /// be whole.
    pub(super) is_whole: bool,
    /// A checksum of the page alone.
    pub(super) content: u32,
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Log {
    /// `None` where the log has none, or one that is damaged: SQLite then ignores the log.
    pub(super) header: Option<Header>,
    /// What the first frame's checksum goes on from, as it stands in the header.
    pub(super) start: Sum,
    /// The salts of the present generation; where the header is damaged, those that were hinted at, or else those of the
    /// first two frames that have the same.
    pub(super) salts: Option<Salts>,
    pub(super) frames: Vec<Frame>,
}

impl Log {
    /// The number of frames up to the end of the last transaction that ends within the first `frames`.
    pub(super) fn committed(&self, frames: usize) -> usize {
        let within = self.frames.get(..frames).unwrap_or(&self.frames);
        within.iter().rposition(|frame| frame.is_whole && frame.size != 0).map_or(0, |last| last + 1)
    }

    /// The number of frames up to the last transaction that was synced, as the log alone tells: the next transaction
    /// is begun only after that sync.
    pub(super) fn synced(&self) -> usize {
        let next = |at: usize| self.frames.get(at + 1).is_some_and(|next| next.is_whole);
        let is_end = |frame: &Frame| frame.is_present && frame.size != 0;
        let ends = self.frames.iter().enumerate().rev();
        ends.filter(|(at, frame)| is_end(frame) && next(*at)).map(|(at, _)| at + 1).next().unwrap_or(0)
    }
}

/// Reads a log to its end; what is less than a frame there is left out. `hint` are the salts that it should have.
pub(super) fn scan(mut log: impl Read, hint: Option<Salts>) -> io::Result<Log> {
    let mut bytes = [0; HEADER];
    if !fill(&mut log, &mut bytes)? {
        return Ok(Log::default());
    }
    let header = Header::read(&bytes);
    let (mut heads, mut contents, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    let mut frame = [0; FRAME + PAGE];
    let start = [word(&bytes, 24), word(&bytes, 28)];
    let mut salts = header.map(|header| header.salts).or(hint);
    let mut before = start;
    while fill(&mut log, &mut frame)? {
        let found: Salts = [word(&frame, 8), word(&frame, 12)];
        // The first frame may be damaged with the header.
        if salts.is_none() && heads.last() == Some(&found) {
            salts = Some(found);
        }
        let is_old = salts.is_some_and(|salts| salts != found);
        // The checksum of a frame of an earlier generation says nothing.
        let sum = [word(&frame, 16), word(&frame, 20)];
        let goes_on = !is_old && frame_sum(before, &frame) == sum;
        before = sum;
        heads.push(found);
        contents.push(crc32fast::hash(&frame[FRAME..]));
        sums.push((word(&frame, 0), word(&frame, 4), sum, goes_on));
    }
    let frames =
        heads.iter().zip(contents).zip(sums).map(|((found, content), (page, size, sum, goes_on))| {
            let is_present = salts == Some(*found);
            Frame { page, size, sum, is_present, is_whole: is_present && goes_on, content }
        });
    Ok(Log { header, start, salts, frames: frames.collect() })
}

/// Fills the buffer; says false where the bytes end before.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum after a frame, given that before it.
fn frame_sum(before: Sum, frame: &[u8; FRAME + PAGE]) -> Sum {
    sum(sum(before, &frame[..8]), &frame[FRAME..])
}

/// The checksum after a frame that would hold this page.
pub(super) fn sum_of(before: Sum, page: u32, size: u32, content: &[u8]) -> Sum {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&page.to_be_bytes());
    head[4..].copy_from_slice(&size.to_be_bytes());
    sum(sum(before, &head), content)
}

/// A multiple of eight bytes.
fn sum([mut a, mut b]: Sum, bytes: &[u8]) -> Sum {
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(native(pair, 0)).wrapping_add(b);
        b = b.wrapping_add(native(pair, 4)).wrapping_add(a);
    }
    [a, b]
}

fn native(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The number at a place of a header.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
