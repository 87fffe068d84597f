//! The numbers at which something of a tenant or a lane is, newest first.

use rusqlite::{Connection, OptionalExtension as _};

use super::patience::Patience;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{BLOCK, block, take_run};

/// Goes down through the blocks in which one is present.
#[derive(Debug)]
pub(super) struct Blocks<'c> {
    connection: &'c Connection,
    /// A lane, or what stands for a tenant.
    id: i64,
    from: i64,
    /// The highest number that was not looked at yet, outside the block at hand.
    to: i64,
    at_hand: Block,
}

/// What is left of a block.
#[derive(Debug, Default)]
struct Block {
    number: i64,
    fours: u64,
    to: i64,
}

/// Where to look next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// From the lowest of these numbers to the highest.
    At(i64, i64),
    /// Patience is over: what is left lies below this number.
    Below(i64),
    End,
}

impl<'c> Blocks<'c> {
    /// The blocks of the numbers between the two, as far as there are events.
    pub(super) fn new(connection: &'c Connection, id: i64, from: i64, to: i64) -> Result<Self, Fault> {
        let mut first = connection.prepare_cached("SELECT coalesce(min(seq), 1) FROM event")?;
        let mut last = connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM event")?;
        let first: i64 = first.query_row([], |row| row.get(0))?;
        let last: i64 = last.query_row([], |row| row.get(0))?;
        Ok(Self { connection, id, from: from.max(first), to: to.min(last), at_hand: Block::default() })
    }

    pub(super) fn next(&mut self, patience: &mut Patience) -> Result<Next, Fault> {
        let mut present =
            self.connection.prepare_cached("SELECT fours FROM present WHERE block = ?1 AND id = ?2")?;
        loop {
            while let Some((low, high)) = take_run(self.at_hand.number, &mut self.at_hand.fours) {
                let (low, high) = (low.max(self.from), high.min(self.at_hand.to));
                if low <= high {
                    return Ok(Next::At(low, high));
                }
            }
            if self.to < self.from {
                return Ok(Next::End);
            }
            if patience.is_over() {
                return Ok(Next::Below(self.to + 1));
            }
            let (number, to) = (block(self.to), self.to);
            self.to = number * BLOCK - 1;
            let fours: Option<i64> = present.query_row((number, self.id), |row| row.get(0)).optional()?;
            match fours {
                Some(fours) => self.at_hand = Block { number, fours: fours.cast_unsigned(), to },
                None => patience.passed_a_block(),
            }
        }
    }
}
