//! Puts the rows that can be read into a new file, and makes up there what follows from them.

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::node::{Kind, Stored};
use super::walk::{Roots, Walk};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::{DeliveryNumbers, name_crc};

/// The tables that hold what can't be made up from others, with how their rows are kept. Names come before what refers
/// to them, and deliveries that were tried before those that wait: where both are found, the first is the later one.
const TABLES: [(&str, Kind); 15] = [
    ("meta", Kind::Keyed),
    ("damage", Kind::Numbered),
    ("tenant", Kind::Numbered),
    ("lane", Kind::Numbered),
    ("event", Kind::Numbered),
    ("delivery", Kind::Keyed),
    ("fresh", Kind::Keyed),
    ("attempt", Kind::Keyed),
    ("shaped", Kind::Keyed),
    ("endpoint_state", Kind::Numbered),
    ("blob", Kind::Numbered),
    ("plugin_state", Kind::Keyed),
    ("further_key", Kind::Keyed),
    ("message", Kind::Keyed),
    ("message_content", Kind::Numbered),
];

/// Indexes that hold all that is needed to name a row whose table has lost it: the index, the statement that takes its
/// columns and the row's number, and how many there are.
const NAMES: [(&str, &str, usize); 3] = [
    ("sqlite_autoindex_tenant_1", "INSERT OR IGNORE INTO tenant (name, id) VALUES (?1, ?2)", 2),
    (
        "sqlite_autoindex_lane_1",
        "INSERT OR IGNORE INTO lane (tenant, endpoint, id, shard) VALUES (?1, ?2, ?3, 0)",
        3,
    ),
    (
        "event_id",
        "INSERT OR IGNORE INTO event (id, tenant, seq, type, source, time, received, content_type, fingerprint, crc, data) \
         VALUES (?1, ?2, ?3, '', '', '', strftime('%s') * 1000, '', x'', 0, x'')",
        3,
    ),
];

/// What is made up from the tables above. An event that is known by its deliveries alone gets a row whose checksum does
/// not fit, as any damaged event has.
const MADE_UP: &str = "
DELETE FROM fresh WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.seq = fresh.seq AND d.lane = fresh.lane);
INSERT OR IGNORE INTO event (id, tenant, seq, type, source, time, received, content_type, fingerprint, crc, data)
  SELECT 'damaged~' || seq, tenant, seq, '', '', '', strftime('%s') * 1000, '', x'', 0, x'' FROM (
    SELECT f.seq AS seq, l.tenant AS tenant FROM fresh f JOIN lane l ON l.id = f.lane
    UNION SELECT d.seq, l.tenant FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.status = 0)
  WHERE seq > 0 AND seq NOT IN (SELECT seq FROM event);
UPDATE event SET lanes = (
    SELECT CASE WHEN count(*) > 0 THEN json_group_array(lane) END FROM (
      SELECT f.lane AS lane FROM fresh f JOIN lane l ON l.id = f.lane AND l.tenant = event.tenant WHERE f.seq = event.seq
      UNION SELECT d.lane FROM delivery d JOIN lane l ON l.id = d.lane AND l.tenant = event.tenant
        WHERE d.seq = event.seq))
  WHERE type = '';
DELETE FROM delivery WHERE seq NOT IN (SELECT seq FROM event);
DELETE FROM attempt WHERE seq NOT IN (SELECT seq FROM event);
DELETE FROM shaped WHERE seq NOT IN (SELECT seq FROM event);
INSERT OR IGNORE INTO idempotency SELECT tenant, idempotency_key, seq FROM event WHERE idempotency_key IS NOT NULL;
DELETE FROM further_key WHERE seq NOT IN (SELECT seq FROM event);
INSERT OR IGNORE INTO idempotency SELECT tenant, key, seq FROM further_key;
INSERT INTO present SELECT seq / 256, -tenant, -1 FROM event GROUP BY 1, 2
  UNION SELECT seq / 256, lane, -1 FROM delivery GROUP BY 1, 2
  UNION SELECT seq / 256, lane, -1 FROM fresh GROUP BY 1, 2;
INSERT INTO span SELECT received / 60000, min(seq), max(seq) FROM event GROUP BY 1;
INSERT INTO counts SELECT lane, sum(status = 0), sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4),
    sum(status = 5), sum(status = 6), sum(size * (status = 0))
  FROM (SELECT lane, status, size FROM delivery UNION ALL SELECT lane, 0, size FROM fresh) GROUP BY lane;
INSERT INTO queue SELECT lane, sum(state < 2), sum(state = 2) FROM message GROUP BY lane;
INSERT INTO meta (name, value) VALUES ('seq', (SELECT coalesce(max(seq), 0) FROM event))
  ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);
";

/// What did not come along.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) rows: u64,
    /// Rows that were read and can't be what was written.
    pub(super) refused: u64,
    /// Events of which there is no more than their number or id.
    pub(super) bare_events: u64,
}

/// Fills the tables of a new file. `look` is asked now and then whether to go on.
pub(super) fn copy(
    walk: &mut Walk<'_>,
    roots: &Roots,
    to: &Connection,
    look: &dyn Fn() -> Result<(), Fault>,
) -> Result<Copied, Fault> {
    let mut copied = Copied::default();
    to.execute_batch("BEGIN")?;
    let mut last = Vec::new();
    for is_last in [false, true] {
        for (name, kind) in TABLES {
            let starts =
                if is_last { walk.left_of(name) } else { roots.get(name).copied().into_iter().collect() };
            if starts.is_empty() {
                continue;
            }
            let width: u32 =
                to.query_row("SELECT count(*) FROM pragma_table_info(?1)", (name,), |row| row.get(0))?;
            let width = width as usize;
            let places = vec!["?"; width].join(",");
            let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {name} VALUES ({places})"))?;
            for start in starts {
                walk.tree(name, kind, start, &mut |row| {
                    look()?;
                    match checked(name, row, width) {
                        Some(columns) => put(&mut insert, columns, &mut copied),
                        None => {
                            copied.refused += 1;
                            Ok(())
                        }
                    }
                })?;
            }
        }
        if !is_last {
            last.extend(NAMES);
        }
    }
    let before: i64 = to.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    for (index, sql, width) in last {
        let Some(root) = roots.get(index) else { continue };
        let mut insert = to.prepare(sql)?;
        walk.tree(index, Kind::Keyed, *root, &mut |row| {
            look()?;
            if row.columns.len() == width {
                put(&mut insert, row.columns, &mut Copied::default())
            } else {
                Ok(())
            }
        })?;
    }
    to.execute_batch(MADE_UP)?;
    let after: i64 = to.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    copied.bare_events = (after - before).unsigned_abs();
    to.execute_batch("COMMIT")?;
    Ok(copied)
}

/// A row as the new table takes it; `None` where it can't be what was written. A row of an earlier version has fewer
/// columns.
fn checked(name: &str, row: Stored, width: usize) -> Option<Vec<Value>> {
    let Stored { number, mut columns } = row;
    if columns.len() > width {
        return None;
    }
    columns.resize(width, Value::Null);
    if let (Some(number), Some(first)) = (number, columns.first_mut()) {
        *first = Value::Integer(number);
    }
    match name {
        "tenant" | "lane" => is_name(&columns).then_some(columns),
        "delivery" => DeliveryNumbers::fit_columns(&columns).then_some(columns),
        "fresh" => columns.iter().all(|value| matches!(value, Value::Integer(_))).then_some(columns),
        _ => Some(columns),
    }
}

/// Whether a name has the checksum that its row holds. The last column is the checksum, and the name is the only text.
fn is_name(columns: &[Value]) -> bool {
    let (numbers, name) = match columns {
        [Value::Integer(id), Value::Text(name), _] => (vec![*id], name),
        [Value::Integer(id), Value::Integer(tenant), Value::Text(name), _, _] => (vec![*id, *tenant], name),
        _ => return false,
    };
    match columns.last() {
        Some(Value::Integer(crc)) => *crc == i64::from(name_crc(&numbers, name)),
        Some(Value::Null) => true,
        _ => false,
    }
}

fn put(insert: &mut rusqlite::Statement<'_>, columns: Vec<Value>, copied: &mut Copied) -> Result<(), Fault> {
    match insert.execute(params_from_iter(columns)) {
        Ok(added) => {
            copied.rows += added as u64;
            Ok(())
        }
        // A value of a type that its column never has.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            copied.refused += 1;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
