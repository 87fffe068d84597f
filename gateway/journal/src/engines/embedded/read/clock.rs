//! The clock as it was kept, and the age of what waits.

use std::time::Duration;

use hookweir_model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use crate::engines::embedded::fault::Fault;
use crate::{KeptClock, Oldest};

/// The clock as it was kept last.
pub(in crate::engines::embedded) fn kept_clock(connection: &Connection) -> Result<Option<KeptClock>, Fault> {
    let span = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let mut statement = connection.prepare_cached("SELECT running, time, wall, uptime, boot FROM clock")?;
    let kept = statement.query_row([], |row| {
        Ok(KeptClock {
            running: span(row.get(0)?),
            time: Timestamp::from_millis(row.get(1)?),
            wall: Timestamp::from_millis(row.get(2)?),
            uptime: span(row.get(3)?),
            boot: row.get(4)?,
        })
    });
    Ok(kept.optional()?)
}

/// What an event's number is compared with.
pub(super) const EVENT: [&str; 2] = [
    "SELECT time FROM age INDEXED BY age_event WHERE event < ?1 ORDER BY event DESC, time DESC LIMIT 1",
    "SELECT time FROM age INDEXED BY age_event WHERE event >= ?1 ORDER BY event, time LIMIT 1",
];

/// What a message's number is compared with.
pub(super) const MESSAGE: [&str; 2] = [
    "SELECT time FROM age INDEXED BY age_message WHERE message < ?1 ORDER BY message DESC, time DESC LIMIT 1",
    "SELECT time FROM age INDEXED BY age_message WHERE message >= ?1 ORDER BY message, time LIMIT 1",
];

/// The age of what has this number.
pub(super) fn oldest(
    connection: &Connection,
    notes: [&str; 2],
    number: i64,
    received: i64,
) -> Result<Oldest, Fault> {
    let [after, before] = notes.map(|sql| {
        let time: Option<i64> =
            connection.prepare_cached(sql)?.query_row((number,), |row| row.get(0)).optional()?;
        Ok::<_, Fault>(time.map(Timestamp::from_millis))
    });
    Ok(Oldest { received: Timestamp::from_millis(received), after: after?, before: before? })
}
