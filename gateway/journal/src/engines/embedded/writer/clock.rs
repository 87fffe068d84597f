//! Keeping the clock, and what was there at which running time.

use std::time::Duration;

use rusqlite::OptionalExtension as _;

use super::statements::Statements;
use crate::engines::embedded::fault::Fault;
use crate::{KeptClock, Old};

/// Notes are kept as they were made for this long, then one an hour.
const WHOLE: Duration = Duration::from_secs(24 * 3600);

/// A span as SQLite keeps it, in milliseconds.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// `last` is the number of the last event.
pub(super) fn keep(statements: &mut Statements<'_>, last: i64, clock: &KeptClock) -> Result<(), Fault> {
    let KeptClock { running, time, wall, uptime, boot } = clock;
    let running = millis(*running);
    let (time, wall, uptime) = (time.as_millis(), wall.as_millis(), millis(*uptime));
    statements.put_clock.execute((running, time, wall, uptime, boot))?;
    // Where nothing has come since the last note, that one says more.
    statements.put_age.execute((running, time, last))?;
    statements.thin_age.execute((running.saturating_sub(millis(WHOLE)),))?;
    statements.drop_age.execute([])?;
    Ok(())
}

/// The number of the last event that is old. `last` is that of the last one of all.
pub(super) fn last_event(statements: &mut Statements<'_>, old: Old, last: i64) -> Result<i64, Fault> {
    match old {
        Old::All => Ok(last),
        Old::At(running) => {
            let found = statements.event_at.query_row((millis(running),), |row| row.get(0)).optional()?;
            Ok(found.unwrap_or(0))
        }
    }
}

/// The number of the last message that is old.
pub(super) fn last_message(statements: &mut Statements<'_>, old: Old) -> Result<i64, Fault> {
    match old {
        Old::All => Ok(i64::MAX),
        Old::At(running) => {
            let found = statements.message_at.query_row((millis(running),), |row| row.get(0)).optional()?;
            Ok(found.unwrap_or(0))
        }
    }
}
