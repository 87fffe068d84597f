//! Replaces a damaged file while the gateway runs: the writer stands still, readers are kept out, and what waits goes on
//! with the new file.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::repair::{self, Report};
use crate::engines::embedded::wal::Mark;
use crate::engines::embedded::{Shared, damage, open};
use crate::{Damage, DamageKind, Seq};

/// Rebuilds the file and opens what is there then: the new one, or the damaged one where it could not be rebuilt. Nobody
/// has it open on this thread. `last` is the number given last, and so is the one that is answered.
pub(super) fn rebuild(shared: &Arc<Shared>, why: &str, last: i64) -> Result<(i64, Connection, Mark), Fault> {
    tracing::error!(target: "hookweir::journal", "the journal's file is damaged and is rebuilt now: {why}");
    shared.check.give_up();
    shared.readers.pause();
    let closing = || {
        if shared.inbox.is_closed() { Err(Fault::Other("the gateway ends".to_owned())) } else { Ok(()) }
    };
    let rebuilt = repair::rebuild(&shared.path, &closing);
    let opened = open_again(shared, why, last, rebuilt);
    shared.readers.resume();
    opened
}

fn open_again(
    shared: &Shared,
    why: &str,
    last: i64,
    rebuilt: Result<Report, Fault>,
) -> Result<(i64, Connection, Mark), Fault> {
    let connection = open::connect(&shared.path, shared.options.wal_limit())?;
    match rebuilt {
        Ok(report) => take_over(shared, &connection, last, &report)?,
        Err(fault) => {
            shared.repair.failed(Instant::now());
            let why = format!("it is damaged ({why}) and could not be rebuilt: {}", fault.of_read());
            shared.door.damaged(why);
        }
    }
    let mark = open::mark(&shared.path, &connection, last)?;
    Ok((last, connection, mark))
}

/// Brings to the new file what only this process knows, and to this process what the new file says.
fn take_over(shared: &Shared, connection: &Connection, last: i64, report: &Report) -> Result<(), Fault> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // Names and the epoch are in memory as they were when the file was whole.
    shared.names(|names| names.keep(connection))?;
    let epoch = shared.epoch().0.cast_signed();
    for (name, value) in [("epoch", epoch), ("seq", last)] {
        let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        connection.execute(sql, (name, value))?;
    }
    connection
        .execute("INSERT INTO meta (name, value) VALUES ('journal', random()) ON CONFLICT DO NOTHING", [])?;
    record(connection, report)?;
    connection.execute_batch("COMMIT")?;
    repair::keep_roots(&shared.path, connection)?;
    shared.backlog.reload(connection)?;
    shared.damage.refresh(connection);
    shared.check.again();
    shared.repair.done();
    shared.door.mended();
    Ok(())
}

/// Records what was lost with the damaged pages.
pub(in crate::engines::embedded) fn record(connection: &Connection, report: &Report) -> Result<(), Fault> {
    let sentence = report.sentence();
    tracing::error!(target: "hookweir::journal", "{sentence}");
    damage::record(connection, &Damage::new(DamageKind::File, sentence))?;
    for (first, last) in &report.gaps {
        let what = "events with these numbers may be missing; those that had expired leave such a gap too";
        let events = Some((Seq(first.unsigned_abs()), Seq(last.unsigned_abs())));
        damage::record(connection, &Damage { events, ..Damage::new(DamageKind::Event, what) })?;
    }
    Ok(())
}
