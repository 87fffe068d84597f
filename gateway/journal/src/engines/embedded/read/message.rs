//! What queues hold.

use hookweir_model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::clock;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::message::{content, content_columns};
use crate::{Content, Look, Message, QueueStats};

/// Messages, and the numbers of those that are damaged.
#[derive(Debug, Default)]
pub(in crate::engines::embedded) struct Found {
    pub(in crate::engines::embedded) messages: Vec<Message>,
    pub(in crate::engines::embedded) damaged: Vec<u64>,
}

/// The columns that [`Found::add`] takes.
macro_rules! message_columns {
    () => {
        "number, visible, receives, enqueued, first_received"
    };
}

impl Found {
    fn add(&mut self, connection: &Connection, row: &Row<'_>) -> Result<(), Fault> {
        let number: i64 = row.get(0)?;
        let first_received: Option<i64> = row.get(4)?;
        match read_content(connection, number)? {
            Some(content) => self.messages.push(Message {
                number: number.unsigned_abs(),
                content,
                enqueued: Timestamp::from_millis(row.get(3)?),
                visible: Timestamp::from_millis(row.get(1)?),
                receives: row.get(2)?,
                first_received: first_received.map(Timestamp::from_millis),
            }),
            None => self.damaged.push(number.unsigned_abs()),
        }
        Ok(())
    }
}

/// `None` where it is damaged or gone.
fn read_content(connection: &Connection, number: i64) -> Result<Option<Content>, Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        content_columns!(),
        " FROM message_content WHERE number = ?1"
    ))?;
    Ok(statement.query_row((number,), |row| Ok(content(row))).optional()?.flatten())
}

/// These messages, in this order. One that is gone is left out.
pub(in crate::engines::embedded) fn by_numbers(
    connection: &Connection,
    lane: i64,
    numbers: &[u64],
) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        message_columns!(),
        " FROM message WHERE lane = ?1 AND number = ?2"
    ))?;
    for number in numbers {
        let mut rows = statement.query((lane, number.cast_signed()))?;
        if let Some(row) = rows.next()? {
            found.add(connection, row)?;
        }
    }
    Ok(found)
}

/// Up to `limit` messages with up to `bytes` of body, and the number of the last where these bounds ended it.
pub(in crate::engines::embedded) fn look(
    connection: &Connection,
    lane: i64,
    look: Look,
    limit: usize,
    bytes: usize,
) -> Result<(Found, Option<u64>), Fault> {
    let (sql, from) = match look {
        Look::Visible { now } => (
            concat!(
                "SELECT ",
                message_columns!(),
                " FROM message INDEXED BY message_waiting \
                 WHERE lane = ?1 AND state < 2 AND visible <= ?2 ORDER BY visible, number LIMIT ?3"
            ),
            now.as_millis(),
        ),
        Look::Dead { after } => (
            concat!(
                "SELECT ",
                message_columns!(),
                " FROM message INDEXED BY message_dead \
                 WHERE lane = ?1 AND state = 2 AND number > ?2 ORDER BY number LIMIT ?3"
            ),
            i64::try_from(after).unwrap_or(i64::MAX),
        ),
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let (mut found, mut last, mut looked_at, mut room) = (Found::default(), None, 0, bytes);
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((lane, from, most))?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let size = body_size(connection, number)?;
        if size > room && !found.messages.is_empty() {
            return Ok((found, last));
        }
        room = room.saturating_sub(size);
        found.add(connection, row)?;
        last = Some(number.unsigned_abs());
        looked_at += 1;
    }
    Ok((found, last.filter(|_| looked_at >= limit)))
}

/// The size of a message's body, for which the body itself is not read.
fn body_size(connection: &Connection, number: i64) -> Result<usize, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT length(body) FROM message_content WHERE number = ?1")?;
    let size: Option<Option<i64>> = statement.query_row((number,), |row| row.get(0)).optional()?;
    Ok(size.flatten().and_then(|size| usize::try_from(size).ok()).unwrap_or(0))
}

pub(in crate::engines::embedded) fn queue_stats(
    connection: &Connection,
    lane: i64,
    now: Timestamp,
) -> Result<QueueStats, Fault> {
    let mut counts = connection.prepare_cached("SELECT alive, dead FROM queue WHERE lane = ?1")?;
    let counts: Option<(i64, i64)> =
        counts.query_row((lane,), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((alive, dead)) = counts else { return Ok(QueueStats::default()) };
    let mut hidden = connection.prepare_cached(
        "SELECT coalesce(sum(state = 1), 0), coalesce(sum(state = 0), 0) FROM message INDEXED BY message_waiting \
         WHERE lane = ?1 AND state < 2 AND visible > ?2",
    )?;
    let (in_flight, delayed): (i64, i64) =
        hidden.query_row((lane, now.as_millis()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut oldest = connection.prepare_cached(
        "SELECT number, enqueued FROM message WHERE lane = ?1 AND state < 2 ORDER BY number LIMIT 1",
    )?;
    let oldest: Option<(i64, i64)> =
        oldest.query_row((lane,), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let oldest =
        oldest.map(|(number, at)| clock::oldest(connection, clock::MESSAGE, number, at)).transpose()?;
    Ok(QueueStats {
        visible: alive.saturating_sub(in_flight).saturating_sub(delayed).unsigned_abs(),
        in_flight: in_flight.unsigned_abs(),
        delayed: delayed.unsigned_abs(),
        dead: dead.unsigned_abs(),
        oldest,
    })
}

/// The lanes that hold messages.
pub(in crate::engines::embedded) fn queues(connection: &Connection) -> Result<Vec<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT lane FROM queue WHERE alive > 0 OR dead > 0")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
