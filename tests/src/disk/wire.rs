//! What the kernel and a file system in user space say to each other over `/dev/fuse`: `include/uapi/linux/fuse.h`, as far
//! as it is needed here. Numbers are in the byte order of the machine.

/// The version of the protocol that is spoken here; the kernel speaks any older one.
pub(super) const VERSION: [u32; 2] = [7, 31];
/// The most that is written at once, for which the kernel has room without being asked for more.
pub(super) const MOST: u32 = 128 << 10;
/// Flags of the first answer: several reads at once, writes of more than a page.
pub(super) const INIT_FLAGS: u32 = 1 | 1 << 5;
/// A change of attributes names a size.
const SIZE: u32 = 1 << 3;

/// An error number of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(i32);

pub(super) const NOT_FOUND: Errno = Errno(2);
pub(super) const FAILED: Errno = Errno(5);
pub(super) const EXISTS: Errno = Errno(17);
pub(super) const UNKNOWN: Errno = Errno(38);

/// A request of the kernel.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) unique: u64,
    /// The number of the file or folder that it is about.
    pub(super) number: u64,
    pub(super) call: Call<'a>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Init {
        readahead: u32,
    },
    Lookup(&'a str),
    /// Where a link leads.
    Target,
    Attributes,
    Resize(Option<u64>),
    Link {
        number: u64,
        name: &'a str,
    },
    Unlink(&'a str),
    Rename {
        from: &'a str,
        to: &'a str,
    },
    Open,
    Create(&'a str),
    Read {
        at: u64,
        most: u32,
    },
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    Sync {
        handle: u64,
    },
    Close {
        handle: u64,
    },
    List {
        from: u64,
        most: u32,
    },
    Room,
    /// To be answered well, and no more.
    Nothing,
    /// Not to be answered.
    Silent,
    /// That is not had here.
    Other,
}

impl<'a> Request<'a> {
    /// `None` where the bytes are no request.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(40)?;
        let (operation, unique, number) = (word(head, 4)?, long(head, 8)?, long(head, 16)?);
        let call = match operation {
            26 => Call::Init { readahead: word(rest, 8)? },
            1 => Call::Lookup(texts(rest).next()?),
            5 => Call::Target,
            3 => Call::Attributes,
            4 => Call::Resize((word(rest, 0)? & SIZE != 0).then_some(long(rest, 16)?)),
            13 => Call::Link { number: long(rest, 0)?, name: texts(rest.get(8..)?).next()? },
            10 => Call::Unlink(texts(rest).next()?),
            12 | 45 => {
                let mut names = texts(rest.get(if operation == 12 { 8 } else { 16 }..)?);
                Call::Rename { from: names.next()?, to: names.next()? }
            }
            14 | 27 => Call::Open,
            35 => Call::Create(texts(rest.get(16..)?).next()?),
            15 => Call::Read { at: long(rest, 8)?, most: word(rest, 16)? },
            16 => Call::Write { at: long(rest, 8)?, bytes: rest.get(40..)? },
            20 | 30 => Call::Sync { handle: long(rest, 0)? },
            18 | 29 => Call::Close { handle: long(rest, 0)? },
            28 => Call::List { from: long(rest, 8)?, most: word(rest, 16)? },
            17 => Call::Room,
            // A flush when a handle is closed, and whether one may read.
            25 | 34 => Call::Nothing,
            // What the kernel has forgotten, and what it no longer waits for.
            2 | 36 | 42 => Call::Silent,
            _ => Call::Other,
        };
        Some(Self { unique, number, call })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Texts that each end with a zero.
fn texts(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == 0).map_while(|text| std::str::from_utf8(text).ok())
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Answer(Vec<u8>);

/// What there is to say of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) number: u64,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Its owner's user and group.
    pub(super) owner: [u32; 2],
}

impl Answer {
    pub(super) fn words<const N: usize>(mut self, words: [u32; N]) -> Self {
        words.iter().for_each(|word| self.0.extend_from_slice(&word.to_ne_bytes()));
        self
    }

    pub(super) fn longs<const N: usize>(mut self, longs: [u64; N]) -> Self {
        longs.iter().for_each(|long| self.0.extend_from_slice(&long.to_ne_bytes()));
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A name's file. How long the kernel may keep that is zero here and below: all is asked again.
    pub(super) fn entry(self, found: Attributes) -> Self {
        self.longs([found.number, 0, 0, 0, 0]).attributes(found)
    }

    pub(super) fn attributes_alone(self, found: Attributes) -> Self {
        self.longs([0, 0]).attributes(found)
    }

    fn attributes(self, found: Attributes) -> Self {
        let Attributes { number, size, mode, owner: [user, group] } = found;
        let (times, links, block) = (0, 1, 4096);
        self.longs([number, size, size.div_ceil(512), times, times, times])
            .words([0, 0, 0, mode, links, user, group, 0, block, 0])
    }

    /// A handle. Where it is `direct`, reads and writes come as they are made, past the kernel's cache.
    pub(super) fn handle(self, handle: u64, is_direct: bool) -> Self {
        self.longs([handle]).words([u32::from(is_direct), 0])
    }

    /// An entry of a list, if it has room within `most` bytes.
    pub(super) fn listed(
        &mut self,
        number: u64,
        next: u64,
        is_folder: bool,
        name: &str,
        most: usize,
    ) -> bool {
        let kind = if is_folder { 4 } else { 8 };
        let length = 24 + name.len();
        let has_room = self.0.len() + length.next_multiple_of(8) <= most;
        if has_room {
            let answer = std::mem::take(self).longs([number, next]).words([name.len() as u32, kind]);
            *self = answer.bytes(name.as_bytes());
            self.0.resize(self.0.len().next_multiple_of(8), 0);
        }
        has_room
    }

    /// The whole answer to a request.
    pub(super) fn to(self, unique: u64) -> Vec<u8> {
        let head = Self::default().words([16 + self.0.len() as u32, 0]).longs([unique]);
        head.bytes(&self.0).0
    }
}

impl Errno {
    /// The whole answer to a request that failed.
    pub(super) fn to(self, unique: u64) -> Vec<u8> {
        Answer::default().words([16, (-self.0).cast_unsigned()]).longs([unique]).0
    }
}
