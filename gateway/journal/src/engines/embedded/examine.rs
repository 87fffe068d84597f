//! Looks through a whole journal that no gateway is at work on, and changes nothing.

use std::path::Path;

use hookweir_model::EventId;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::fault::Fault;
use super::read::read_now;
use super::writer::{DAMAGED_EVENT, Finding, LOST_DELIVERY};
use super::{Embedded, Shared, open, record, sweep};
use crate::{Damage, DamageKind, Seq};

/// How many faults of the pages are told.
const FAULTS: u32 = 100;

/// What looking through a journal has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// In the order in which it was found: the log, the pages, then what the rows say.
    pub damage: Vec<Damage>,
    /// Events that were looked at.
    pub events: u64,
    /// Records of damage that a gateway has made and nobody has acknowledged.
    pub recorded: u64,
}

pub(super) fn examine(path: &Path) -> Result<Examined, Fault> {
    let mut examined = Examined { damage: Vec::new(), events: 0, recorded: 0 };
    let looked = match open::look(path, "stop it first") {
        Ok(looked) => looked,
        Err(Fault::Corrupt(why) | Fault::Damaged(why)) => {
            examined.damage.push(Damage::new(DamageKind::File, format!("the journal can't be read: {why}")));
            return Ok(examined);
        }
        Err(fault) => return Err(fault),
    };
    let shared = &looked.shared;
    examined.damage.extend(Embedded::check_log(path).map_err(|error| Fault::Other(error.to_string()))?);
    match read_now(shared, pages) {
        Ok(faults) => examined.damage.extend(faults),
        Err(Fault::Corrupt(why)) => examined.damage.push(Damage::new(DamageKind::File, why)),
        Err(fault) => return Err(fault),
    }
    let mut found = Vec::new();
    let swept = sweep::all(shared, &mut |part| found.push(part));
    if let Err(Fault::Corrupt(why)) = &swept {
        examined.damage.push(Damage::new(DamageKind::File, format!("the rows could not all be read: {why}")));
    } else {
        swept?;
    }
    for part in found {
        examined.damage.extend(part.index.map(|what| Damage::new(DamageKind::File, what)));
        for finding in &part.findings {
            let damage = read_now(shared, |connection| told(connection, shared, finding));
            examined.damage.push(damage?);
        }
    }
    let count = |connection: &Connection| {
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok((
            count("SELECT count(*) FROM event NOT INDEXED")?.unsigned_abs(),
            count("SELECT count(*) FROM damage WHERE acknowledged IS NULL")?.unsigned_abs(),
        ))
    };
    // Where even that can't be read, it was told above.
    (examined.events, examined.recorded) = read_now(shared, count).unwrap_or_default();
    Ok(examined)
}

/// What SQLite says of the pages and of the indexes.
fn pages(connection: &Connection) -> Result<Vec<Damage>, Fault> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(lines
        .into_iter()
        .filter(|line| line != "ok")
        .map(|line| Damage::new(DamageKind::File, line))
        .collect())
}

fn told(connection: &Connection, shared: &Shared, finding: &Finding) -> Result<Damage, Fault> {
    let (kind, seq, lane, what) = match finding {
        Finding::Delivery { lane, seq, what } => (DamageKind::Delivery, Some(*seq), Some(*lane), *what),
        Finding::Lost { lane, seq } => (DamageKind::Delivery, Some(*seq), Some(*lane), LOST_DELIVERY),
        Finding::Event { seq } => (DamageKind::Event, Some(*seq), None, DAMAGED_EVENT),
        Finding::Place { seq } => {
            (DamageKind::Event, Some(*seq), None, "the list of the event's endpoints is damaged")
        }
        Finding::Counts { lane, .. } => {
            (DamageKind::Delivery, None, Some(*lane), "the endpoint's counts are not those of its deliveries")
        }
        Finding::Blob { .. } => (DamageKind::Blob, None, None, "an uploaded plugin is damaged"),
    };
    let key = lane.and_then(|lane| shared.names(|names| names.key(lane).cloned()));
    let event = seq.map(|seq| event(connection, seq)).transpose()?.flatten();
    let of_event =
        event.as_ref().and_then(|(tenant, _)| shared.names(|names| names.tenant_name(*tenant).cloned()));
    Ok(Damage {
        events: seq.map(|seq| (Seq(seq.unsigned_abs()), Seq(seq.unsigned_abs()))),
        tenant: key.as_ref().map(|key| key.tenant.clone()).or(of_event),
        endpoint: key.map(|key| key.endpoint),
        event: event.map(|(_, id)| id),
        ..Damage::new(kind, what)
    })
}

/// The tenant and the id of an event, as far as its row tells.
fn event(connection: &Connection, seq: i64) -> Result<Option<(i64, EventId)>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT tenant, id FROM event NOT INDEXED WHERE seq = ?1")?;
    let read = |row: &Row<'_>| {
        let id = record::text(row, 1).and_then(|id| EventId::new(id).ok());
        Ok(row.get(0).ok().zip(Some(id.unwrap_or_else(|| EventId::of_damaged(seq.unsigned_abs())))))
    };
    Ok(statement.query_row((seq,), read).optional()?.flatten())
}
