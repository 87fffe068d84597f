//! The blocks of numbers that hold something of a tenant or a lane, newest first.

use rusqlite::Connection;

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{BLOCK, block};

/// Goes down through the blocks in which one is present.
#[derive(Debug)]
pub(super) struct Blocks<'c> {
    connection: &'c Connection,
    /// A lane, or what stands for a tenant.
    id: i64,
    from: i64,
    /// The highest number that was not looked at yet.
    to: i64,
}

impl<'c> Blocks<'c> {
    /// The blocks of the numbers between the two, as far as there are events.
    pub(super) fn new(connection: &'c Connection, id: i64, from: i64, to: i64) -> Result<Self, Fault> {
        let mut first = connection.prepare_cached("SELECT coalesce(min(seq), 1) FROM event")?;
        let mut last = connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM event")?;
        let first: i64 = first.query_row([], |row| row.get(0))?;
        let last: i64 = last.query_row([], |row| row.get(0))?;
        Ok(Self { connection, id, from: from.max(first), to: to.min(last) })
    }

    /// The lowest and the highest number of the next block.
    pub(super) fn next(&mut self) -> Result<Option<(i64, i64)>, Fault> {
        let mut present =
            self.connection.prepare_cached("SELECT 1 FROM present WHERE block = ?1 AND id = ?2")?;
        while self.to >= self.from {
            let (number, to) = (block(self.to), self.to);
            let start = number * BLOCK;
            self.to = start - 1;
            if present.exists((number, self.id))? {
                return Ok(Some((start.max(self.from), to)));
            }
        }
        Ok(None)
    }
}
