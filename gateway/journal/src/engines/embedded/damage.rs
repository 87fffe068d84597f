//! Records of damage: kept by the writer, summed up in memory for those who ask all the time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hookweir_model::{EndpointId, EventId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Embedded;
use super::fault::Fault;
use super::read::read;
use super::writer::{Op, seq_to_sql};
use crate::{Damage, DamageKind, DamageRecord, DamageSummary, Damages, Error, MAX_DAMAGE_RECORDS, Seq};

/// A change to the records.
#[derive(Debug)]
pub(super) enum Change {
    Record(Vec<Damage>),
    Acknowledge { number: u64, at: Timestamp },
}

/// What nobody has acknowledged, as the last commit left it.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<DamageSummary>);

impl Known {
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        Ok(Self(Mutex::new(summary(connection)?)))
    }

    fn lock(&self) -> MutexGuard<'_, DamageSummary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a commit that changed the records.
    pub(super) fn refresh(&self, connection: &Connection) {
        match summary(connection) {
            Ok(summary) => *self.lock() = summary,
            Err(fault) => tracing::error!(
                target: "hookweir::journal",
                "the records of damage could not be read: {}",
                fault.of_read()
            ),
        }
    }
}

const COLUMNS: &str = "number, kind, first, last, tenant, endpoint, event, what, found, acknowledged";

/// Makes a change within the transaction that is open, and answers how many rows it made or changed.
pub(super) fn change(connection: &Connection, change: &Change) -> Result<u64, Fault> {
    match change {
        Change::Record(found) => {
            let mut new = 0;
            for damage in found {
                new += u64::from(record(connection, damage)?);
            }
            Ok(new)
        }
        Change::Acknowledge { number, at } => {
            let sql = "UPDATE damage SET acknowledged = ?2 WHERE number <= ?1 AND acknowledged IS NULL";
            let number = seq_to_sql(Seq(*number));
            Ok(connection.execute(sql, (number, at.as_millis()))? as u64)
        }
    }
}

/// Says whether it is new.
pub(super) fn record(connection: &Connection, damage: &Damage) -> Result<bool, Fault> {
    let count: i64 = connection.query_row("SELECT count(*) FROM damage", [], |row| row.get(0))?;
    if count.unsigned_abs() >= MAX_DAMAGE_RECORDS {
        let sql = "DELETE FROM damage WHERE number = (SELECT min(number) FROM damage WHERE acknowledged IS NOT NULL)";
        if connection.execute(sql, [])? == 0 {
            return Ok(false);
        }
    }
    let (first, last) = damage.events.unzip();
    let sql = "INSERT INTO damage (kind, first, last, tenant, endpoint, event, what, found) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let added = connection.execute(
        sql,
        params![
            damage.kind.as_str(),
            first.map(seq_to_sql),
            last.map(seq_to_sql),
            damage.tenant.as_ref().map(TenantId::as_str),
            damage.endpoint.as_ref().map(EndpointId::as_str),
            damage.event.as_ref().map(EventId::as_str),
            damage.what,
            damage.found.as_millis(),
        ],
    )?;
    Ok(added > 0)
}

fn summary(connection: &Connection) -> Result<DamageSummary, Fault> {
    let sql = "SELECT count(*), coalesce(sum(last - first + 1), 0), min(first), max(last) \
               FROM damage WHERE acknowledged IS NULL";
    let newest =
        format!("SELECT {COLUMNS} FROM damage WHERE acknowledged IS NULL ORDER BY number DESC LIMIT 1");
    let newest = connection.query_row(&newest, [], |row| Ok(read_record(row))).optional()?;
    let newest = newest.transpose()?.map(|record| record.damage);
    Ok(connection.query_row(sql, [], |row| {
        let seq = |column| {
            let seq: Option<i64> = row.get(column)?;
            Ok::<_, rusqlite::Error>(seq.map(|seq| Seq(seq.unsigned_abs())))
        };
        Ok(DamageSummary {
            records: row.get::<_, i64>(0)?.unsigned_abs(),
            events: row.get::<_, i64>(1)?.unsigned_abs(),
            range: seq(2)?.zip(seq(3)?),
            newest,
        })
    })?)
}

/// Records with lower numbers than `before`, newest first.
pub(super) fn list(
    connection: &Connection,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<DamageRecord>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM damage WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let before = before.map_or(i64::MAX, |before| seq_to_sql(Seq(before)));
    let mut rows = statement.query((before, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read_record(row)?);
    }
    Ok(records)
}

fn read_record(row: &Row<'_>) -> Result<DamageRecord, Fault> {
    let damaged = || Fault::damaged("a record of damage");
    let text = |column| row.get::<_, Option<String>>(column);
    let seq = |column| Ok::<_, Fault>(row.get::<_, Option<i64>>(column)?.map(|seq| Seq(seq.unsigned_abs())));
    let time = |column| Ok::<_, Fault>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis));
    Ok(DamageRecord {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        damage: Damage {
            kind: DamageKind::parse(&row.get::<_, String>(1)?).ok_or_else(damaged)?,
            events: seq(2)?.zip(seq(3)?),
            tenant: text(4)?.map(|name| TenantId::new(&name)).transpose().map_err(|_| damaged())?,
            endpoint: text(5)?.map(|name| EndpointId::new(&name)).transpose().map_err(|_| damaged())?,
            event: text(6)?.map(|id| EventId::new(&id)).transpose().map_err(|_| damaged())?,
            what: row.get(7)?,
            found: time(8)?.ok_or_else(damaged)?,
        },
        acknowledged: time(9)?,
    })
}

#[async_trait]
impl Damages for Embedded {
    async fn record_damage(&self, found: Vec<Damage>) -> Result<u64, Error> {
        self.ask(Change::Record(found), Op::Damage).await
    }

    async fn damage(&self, before: Option<u64>, limit: usize) -> Result<Vec<DamageRecord>, Error> {
        read(&self.shared, move |connection| list(connection, before, limit)).await
    }

    async fn acknowledge_damage(&self, number: u64, at: Timestamp) -> Result<u64, Error> {
        self.ask(Change::Acknowledge { number, at }, Op::Damage).await
    }

    fn damage_summary(&self) -> DamageSummary {
        self.shared.damage.lock().clone()
    }
}
