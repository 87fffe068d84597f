//! Events, one and in lists, and blobs.

use bytes::Bytes;
use hookweir_model::{Digest, Event, EventId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::blocks::{Blocks, Next};
use super::patience::Patience;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::of_tenant;
use crate::engines::embedded::record::{self, Summary, head_columns};
use crate::engines::embedded::writer::minute;
use crate::{Cursor, EventFilter, Page, Seq, StoredEvent};

/// A page of events ends early when their data takes this much.
const PAGE_BYTES: usize = 8 << 20;

/// Events to list, in numbers.
#[derive(Debug)]
pub(in crate::engines::embedded) struct EventQuery {
    pub(in crate::engines::embedded) tenant: i64,
    pub(in crate::engines::embedded) filter: EventFilter,
    pub(in crate::engines::embedded) below: Option<i64>,
    pub(in crate::engines::embedded) limit: usize,
}

/// An event by its id; damage is an error.
pub(in crate::engines::embedded) fn by_id(
    connection: &Connection,
    tenant: i64,
    name: &TenantId,
    id: &EventId,
) -> Result<Option<Event>, Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", data FROM event WHERE tenant = ?1 AND id = ?2"
    ))?;
    let read = |row: &Row<'_>| Ok(record::event(name, row));
    match statement.query_row((tenant, id.as_str()), read).optional()? {
        None => Ok(None),
        Some(Some(event)) => Ok(Some(event)),
        Some(None) => Err(Fault::damaged(format!("event {id} of tenant {name}"))),
    }
}

/// An event by its id, damaged or not.
pub(in crate::engines::embedded) fn stored(
    connection: &Connection,
    tenant: i64,
    name: &TenantId,
    id: &EventId,
) -> Result<Option<StoredEvent>, Fault> {
    match seq_of(connection, tenant, id)? {
        Some(seq) => by_seq(connection, name, seq),
        None => Ok(None),
    }
}

/// The number of an event. One without a readable id is called by its number.
pub(super) fn seq_of(connection: &Connection, tenant: i64, id: &EventId) -> Result<Option<i64>, Fault> {
    let mut by_id = connection.prepare_cached("SELECT seq FROM event WHERE tenant = ?1 AND id = ?2")?;
    let seq: Option<i64> = by_id.query_row((tenant, id.as_str()), |row| row.get(0)).optional()?;
    let Some(number) = id.number_of_damaged().filter(|_| seq.is_none()) else { return Ok(seq) };
    let mut by_number = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        " FROM event WHERE seq = ?2 AND tenant = ?1"
    ))?;
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    let found = by_number
        .query_row((tenant, number), |row| Ok(record::summary_at_least(number, row).id == *id))
        .optional()?;
    Ok(found.and_then(|is_it| is_it.then_some(number)))
}

/// An event by its number, damaged or not.
fn by_seq(connection: &Connection, name: &TenantId, seq: i64) -> Result<Option<StoredEvent>, Fault> {
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", head_columns!(), ", data FROM event WHERE seq = ?1"))?;
    Ok(statement.query_row((seq,), |row| Ok(record::stored(name, seq, row))).optional()?)
}

pub(in crate::engines::embedded) fn list(
    connection: &Connection,
    query: &EventQuery,
) -> Result<Page<StoredEvent>, Fault> {
    let (from, to) = bounds(connection, query.filter.since, query.filter.until, query.below)?;
    // The data is read of those alone that are wanted: it may take many times what the rest does.
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", seq FROM event WHERE seq BETWEEN ?2 AND ?3 AND tenant = ?1 ORDER BY seq DESC"
    ))?;
    let mut page = Page { items: Vec::new(), next: None };
    let (mut patience, mut bytes, mut last) = (Patience::new(), 0, None);
    let mut blocks = Blocks::new(connection, of_tenant(query.tenant), from, to)?;
    loop {
        let (low, high) = match blocks.next(&mut patience)? {
            Next::At(low, high) => (low, high),
            Next::Below(seq) => {
                page.next = Some(below(seq));
                return Ok(page);
            }
            Next::End => return Ok(page),
        };
        let mut rows = statement.query((query.tenant, low, high))?;
        while let Some(row) = rows.next()? {
            if page.items.len() == query.limit
                || bytes >= PAGE_BYTES
                || (last.is_some() && patience.is_over())
            {
                page.next = last.map(below);
                return Ok(page);
            }
            let seq: i64 = row.get(record::AFTER_HEAD)?;
            last = Some(seq);
            let Summary { id, event_type, received } = record::summary_at_least(seq, row);
            if !query.filter.wants(&id, &event_type, received) {
                patience.looked_in_vain();
                continue;
            }
            if let Some(stored) = by_seq(connection, &query.filter.tenant, seq)? {
                bytes += stored.event.data.len();
                page.items.push(stored);
            }
        }
    }
}

/// Goes on with what lies below this number.
pub(super) fn below(seq: i64) -> Cursor {
    Cursor { seq: Seq(seq.unsigned_abs()), endpoint: None }
}

/// The first and last number that can hold an event of these times. Events outside the times may lie between them,
/// where the clock was set back.
pub(super) fn bounds(
    connection: &Connection,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    below: Option<i64>,
) -> Result<(i64, i64), Fault> {
    let mut from = 1;
    let mut to = below.unwrap_or(i64::MAX).saturating_sub(1);
    if let Some(since) = since {
        let mut first = connection.prepare_cached("SELECT min(first) FROM span WHERE minute >= ?1")?;
        let first: Option<i64> = first.query_row((minute(since),), |row| row.get(0))?;
        from = first.unwrap_or(i64::MAX);
    }
    if let Some(until) = until {
        let mut last = connection.prepare_cached("SELECT max(last) FROM span WHERE minute <= ?1")?;
        let last: Option<i64> = last.query_row((minute(until),), |row| row.get(0))?;
        to = to.min(last.unwrap_or(0));
    }
    Ok((from, to))
}

pub(in crate::engines::embedded) fn blob(
    connection: &Connection,
    digest: Digest,
) -> Result<Option<Bytes>, Fault> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM blob WHERE digest = ?1")?;
    let bytes: Option<Vec<u8>> = statement.query_row((digest.as_bytes(),), |row| row.get(0)).optional()?;
    match bytes {
        Some(bytes) if Digest::of(&bytes) != digest => Err(Fault::damaged(format!("blob {digest}"))),
        bytes => Ok(bytes.map(Bytes::from)),
    }
}
