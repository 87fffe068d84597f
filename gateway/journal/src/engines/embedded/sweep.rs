//! Compares what the rows say with each other: an event lists its deliveries, each of these is pending or has ended, and
//! what is pending is found where the lanes look for it.
//!
//! It reads a few rows at a time, each time in a snapshot of its own. What it finds goes to the writer, which looks
//! again before it changes anything.

use std::time::{Duration, Instant};

use hookweir_model::{Digest, Status, TenantId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::Shared;
use super::fault::Fault;
use super::read::read_now;
use super::record::{self, DeliveryNumbers, head_columns, is_in_place, number_columns};
use super::writer::{DAMAGED_EVENT, Finding, Job, Op};

/// Rows that are read in one snapshot.
const PART: u32 = 256;

/// After each part it rests for so many times as long as that took, and for so long at least.
const REST: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(2);

/// What one part has found.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) findings: Vec<Finding>,
    /// An index that says other than its table: only a new file mends that.
    pub(super) index: Option<&'static str>,
    /// Where the next part begins; `None` at the end.
    next: Option<Place>,
}

/// Where the sweep stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Events above this number.
    Events(i64),
    /// Rows of `fresh` above this lane and number.
    Fresh(i64, i64),
    /// Rows of `delivery` above this number and lane.
    Deliveries(i64, i64),
    /// The index of what waits, above this lane, due time and number.
    Pending(i64, i64, i64),
    /// The counts of lanes above this.
    Counts(i64),
    Blobs(i64),
}

/// One round, from the first event on. Ends early where the journal closes.
pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let mut place = Some(Place::Events(0));
    while let Some(at) = place {
        let began = Instant::now();
        let part = read_now(shared, |connection| part(connection, shared, at))?;
        if let Some(index) = part.index {
            shared.wants_rebuilding(index);
        }
        if !part.findings.is_empty() {
            let (job, _) = Job::new(part.findings);
            if shared.inbox.push(Op::Mend(job)).is_err() {
                return Ok(());
            }
        }
        place = part.next;
        if !shared.check.pause((began.elapsed() * REST).max(LEAST_REST)) {
            return Ok(());
        }
    }
    Ok(())
}

/// All that one round finds, without a pause, for a journal that nobody writes to.
pub(super) fn all(shared: &Shared, take: &mut dyn FnMut(Part)) -> Result<(), Fault> {
    let mut place = Some(Place::Events(0));
    while let Some(at) = place {
        let part = read_now(shared, |connection| part(connection, shared, at))?;
        place = part.next;
        take(part);
    }
    Ok(())
}

fn part(connection: &Connection, shared: &Shared, at: Place) -> Result<Part, Fault> {
    match at {
        Place::Events(after) => events(connection, shared, after),
        Place::Fresh(lane, seq) => fresh(connection, shared, lane, seq),
        Place::Deliveries(seq, lane) => deliveries(connection, shared, seq, lane),
        Place::Pending(lane, due, seq) => pending(connection, lane, due, seq),
        Place::Counts(after) => counts(connection, shared, after),
        Place::Blobs(after) => blobs(connection, after),
    }
}

/// An event as the sweep sees it.
struct Event {
    seq: i64,
    tenant: Option<i64>,
    lanes: Option<Vec<i64>>,
    is_whole: bool,
    id: Option<String>,
}

impl Event {
    /// The columns are those of a whole event, then these.
    const MORE: usize = record::AFTER_HEAD + 1;

    fn read(row: &Row<'_>, name: &TenantId) -> Result<Self, Fault> {
        let seq = row.get(Self::MORE)?;
        let tenant: Option<i64> = row.get(Self::MORE + 1).ok();
        let lanes: Option<Option<String>> = row.get(Self::MORE + 2).ok();
        let crc: Option<Option<i32>> = row.get(Self::MORE + 3).ok();
        let in_place = match (tenant, &lanes, crc) {
            (Some(tenant), Some(lanes), Some(crc)) => is_in_place(seq, tenant, lanes.as_deref(), crc),
            _ => false,
        };
        let lanes = lanes.and_then(|lanes| record::lanes(lanes.as_deref()).ok()).filter(|_| in_place);
        let is_whole = record::event(name, row).is_some();
        Ok(Self { seq, tenant, lanes, is_whole, id: record::text(row, 0).map(str::to_owned) })
    }
}

fn events(connection: &Connection, shared: &Shared, after: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", data, seq, tenant, lanes, place FROM event NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT ?2"
    ))?;
    let mut by_id = connection
        .prepare_cached("SELECT seq FROM event INDEXED BY event_id WHERE id = ?1 AND tenant = ?2")?;
    // Whose event it is does not matter for what is asked of it.
    let name = TenantId::new("any").map_err(|error| Fault::Other(error.to_string()))?;
    let mut rows = statement.query((after, PART))?;
    let (mut count, mut last) = (0, after);
    while let Some(row) = rows.next()? {
        let event = Event::read(row, &name)?;
        (count, last) = (count + 1, event.seq);
        let seq = event.seq;
        if !event.is_whole {
            part.findings.push(Finding::Event { seq });
        }
        match &event.lanes {
            None => part.findings.push(Finding::Place { seq }),
            Some(lanes) => {
                for lane in lanes {
                    let known = shared.names(|names| names.tenant_of(*lane));
                    if known.is_some() && known == event.tenant {
                        of_delivery(connection, *lane, seq, &mut part)?;
                    }
                }
            }
        }
        if let (Some(id), Some(tenant), true) = (&event.id, event.tenant, event.is_whole) {
            let found: Option<i64> = by_id.query_row((id, tenant), |row| row.get(0)).optional()?;
            if found != Some(seq) {
                part.index = Some("the index of event ids says other than the table of events");
            }
        }
    }
    part.next = Some(if count < PART { Place::Fresh(i64::MIN, 0) } else { Place::Events(last) });
    Ok(part)
}

/// Looks whether a delivery that its event lists is there.
fn of_delivery(connection: &Connection, lane: i64, seq: i64, part: &mut Part) -> Result<(), Fault> {
    let mut fresh = connection.prepare_cached("SELECT size FROM fresh WHERE lane = ?1 AND seq = ?2")?;
    let waits = fresh.query_row((lane, seq), |row| Ok(row.get::<_, i64>(0).is_ok())).optional()?;
    match waits {
        Some(true) => return Ok(()),
        Some(false) => {
            part.findings.push(Finding::Lost { lane, seq });
            return Ok(());
        }
        None => {}
    }
    let mut tried = connection.prepare_cached(concat!(
        "SELECT ",
        number_columns!(),
        " FROM delivery NOT INDEXED WHERE seq = ?2 AND lane = ?1"
    ))?;
    let tried = tried.query_row((lane, seq), |row| Ok(DeliveryNumbers::read(row))).optional()?;
    match tried {
        Some(Some(numbers)) => in_index(connection, &numbers, part),
        Some(None) | None => {
            part.findings.push(Finding::Lost { lane, seq });
            Ok(())
        }
    }
}

/// Looks whether a delivery is in the index in which it is looked for.
fn in_index(connection: &Connection, numbers: &DeliveryNumbers, part: &mut Part) -> Result<(), Fault> {
    let DeliveryNumbers { seq, lane, status, due, .. } = numbers;
    let (sql, key) = match status {
        0 => (
            "SELECT 1 FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0 AND due = ?3 AND seq = ?2",
            due,
        ),
        1 => return Ok(()),
        _ => (
            "SELECT 1 FROM delivery INDEXED BY delivery_ended WHERE lane = ?1 AND status = ?3 AND status > 1 AND seq = ?2",
            &i64::from(*status),
        ),
    };
    if !connection.prepare_cached(sql)?.exists((lane, seq, key))? {
        part.index = Some("an index of deliveries lacks one that its table has");
    }
    Ok(())
}

/// Whether an event lists a lane; `None` where that can't be told.
fn lists(connection: &Connection, shared: &Shared, lane: i64, seq: i64) -> Result<Option<bool>, Fault> {
    let mut statement = connection.prepare_cached("SELECT tenant, lanes, place FROM event WHERE seq = ?1")?;
    let read = |row: &Row<'_>| {
        let tenant: Option<i64> = row.get(0).ok();
        let lanes: Option<Option<String>> = row.get(1).ok();
        let crc: Option<Option<i32>> = row.get(2).ok();
        Ok(tenant.zip(lanes).zip(crc))
    };
    let Some(found) = statement.query_row((seq,), read).optional()? else { return Ok(Some(false)) };
    let Some(((tenant, lanes), crc)) = found else { return Ok(None) };
    if !is_in_place(seq, tenant, lanes.as_deref(), crc) {
        return Ok(None);
    }
    let is_its = shared.names(|names| names.tenant_of(lane)) == Some(tenant);
    Ok(Some(is_its && record::lanes(lanes.as_deref())?.contains(&lane)))
}

/// Whether a row stands for a delivery of an event, and what to do where it does not.
fn belongs(
    connection: &Connection,
    shared: &Shared,
    lane: i64,
    seq: i64,
    part: &mut Part,
) -> Result<(), Fault> {
    if lists(connection, shared, lane, seq)? == Some(false) {
        // Where the event is gone, this row is all that is left of it, and ends as failed; else it is a stray.
        part.findings.push(Finding::Delivery { lane, seq, what: DAMAGED_EVENT });
    }
    Ok(())
}

fn fresh(connection: &Connection, shared: &Shared, lane: i64, seq: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let mut statement = connection.prepare_cached(
        "SELECT lane, seq FROM fresh WHERE (lane, seq) > (?1, ?2) ORDER BY lane, seq LIMIT ?3",
    )?;
    let rows = statement.query_map((lane, seq, PART), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let mut tried =
        connection.prepare_cached("SELECT 1 FROM delivery NOT INDEXED WHERE seq = ?2 AND lane = ?1")?;
    for (lane, seq) in &rows {
        belongs(connection, shared, *lane, *seq, &mut part)?;
        if tried.exists((lane, seq))? {
            part.index = Some("a delivery waits for its first attempt and was tried");
        }
    }
    part.next = Some(match rows.last() {
        Some((lane, seq)) if rows.len() == PART as usize => Place::Fresh(*lane, *seq),
        _ => Place::Deliveries(i64::MIN, 0),
    });
    Ok(part)
}

fn deliveries(connection: &Connection, shared: &Shared, seq: i64, lane: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let mut statement = connection.prepare_cached(
        "SELECT seq, lane FROM delivery NOT INDEXED WHERE (seq, lane) > (?1, ?2) ORDER BY seq, lane LIMIT ?3",
    )?;
    let rows = statement.query_map((seq, lane, PART), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    for (seq, lane) in &rows {
        belongs(connection, shared, *lane, *seq, &mut part)?;
    }
    part.next = Some(match rows.last() {
        Some((seq, lane)) if rows.len() == PART as usize => Place::Deliveries(*seq, *lane),
        _ => Place::Pending(i64::MIN, 0, 0),
    });
    Ok(part)
}

fn pending(connection: &Connection, lane: i64, due: i64, seq: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let mut statement = connection.prepare_cached(
        "SELECT lane, due, seq FROM delivery INDEXED BY delivery_pending WHERE status = 0 \
         AND (lane, due, seq) > (?1, ?2, ?3) ORDER BY lane, due, seq LIMIT ?4",
    )?;
    let rows =
        statement.query_map((lane, due, seq, PART), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(i64, i64, i64)> = rows.collect::<Result<_, _>>()?;
    let mut row_of = connection
        .prepare_cached("SELECT status, due FROM delivery NOT INDEXED WHERE seq = ?2 AND lane = ?1")?;
    for (lane, due, seq) in &rows {
        let row: Option<(i64, i64)> =
            row_of.query_row((lane, seq), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if row != Some((i64::from(Status::Pending.code()), *due)) {
            part.index = Some("an index of deliveries has one that is not pending in its table");
        }
    }
    part.next = Some(match rows.last() {
        Some((lane, due, seq)) if rows.len() == PART as usize => Place::Pending(*lane, *due, *seq),
        _ => Place::Counts(i64::MIN),
    });
    Ok(part)
}

/// One lane at a time: its rows are counted in one snapshot.
fn counts(connection: &Connection, shared: &Shared, after: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let lane = shared.names(|names| names.all().find(|lane| *lane > after));
    let Some(lane) = lane else {
        part.next = Some(Place::Blobs(0));
        return Ok(part);
    };
    let mut counted =
        connection.prepare_cached("SELECT pending, pending_bytes FROM counts WHERE lane = ?1")?;
    let counted: Option<(i64, i64)> =
        counted.query_row((lane,), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let mut actual = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT size FROM fresh WHERE lane = ?1 UNION ALL \
         SELECT size FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0)",
    )?;
    let actual: (i64, i64) = actual.query_row((lane,), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let counted = counted.unwrap_or_default();
    if counted != actual {
        let (pending, bytes) = (actual.0 - counted.0, actual.1 - counted.1);
        part.findings.push(Finding::Counts { lane, pending, bytes });
    }
    part.next = Some(Place::Counts(lane));
    Ok(part)
}

fn blobs(connection: &Connection, after: i64) -> Result<Part, Fault> {
    let mut part = Part::default();
    let mut statement = connection
        .prepare_cached("SELECT id, digest, bytes FROM blob NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT 1")?;
    let read = |row: &Row<'_>| {
        let whole = match (row.get_ref(1)?.as_blob(), row.get_ref(2)?.as_blob()) {
            (Ok(digest), Ok(bytes)) => Digest::of(bytes).as_bytes() == digest,
            _ => false,
        };
        Ok((row.get::<_, i64>(0)?, whole))
    };
    if let Some((id, is_whole)) = statement.query_row((after,), read).optional()? {
        if !is_whole {
            part.findings.push(Finding::Blob { id });
        }
        part.next = Some(Place::Blobs(id));
    }
    Ok(part)
}
