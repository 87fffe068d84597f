//! The write-ahead log as bytes, and what it must hold: read before SQLite opens the journal.
//!
//! SQLite takes the first frame whose checksum does not fit for the end of the log. That is right for the end that a
//! crash tore, and wrong for a sector that went bad in the middle: all that was committed behind it would be gone
//! without a word. So `scan` reads the log whole, `mark` keeps outside of it what was answered, `plan` compares the two
//! and says what can be had, `rewrite` makes a log of that, and `examine` does these in order. `renew` brings a log to the disk
//! that a failed sync has left in the system's memory alone.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

mod examine;
mod mark;
mod plan;
mod renew;
mod rewrite;
mod scan;

#[cfg(test)]
mod tests;

pub(super) use self::examine::{Examined, Loss, examine};
pub(super) use self::mark::Mark;
pub(super) use self::renew::renew;
