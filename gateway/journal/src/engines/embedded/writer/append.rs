//! Keeping events.

use hookweir_model::{EventId, Status};
use rusqlite::{OptionalExtension as _, Row, Statement};

use super::present::Present;
use super::statements::Statements;
use super::tally::Tally;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::{self, EventRecord};
use crate::{Appended, FURTHER_KEYS};

/// Keeps one event, or says who has its place. `last` is the number given last, and goes up with each event kept.
pub(super) fn append(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    present: &mut Present,
    last: &mut i64,
    record: &EventRecord,
) -> Result<Appended, Fault> {
    let new = &record.new;
    if let Some(key) = &new.idempotency_key {
        let by_key = taken(&mut statements.taken_by_key, record.tenant, key)?;
        if let Some(by_key) = by_key {
            let by_id = taken(&mut statements.taken_by_id, record.tenant, new.event.id.as_str())?;
            return Ok(judge(new.fingerprint.as_bytes(), by_key, by_id));
        }
    }
    let seq = *last + 1;
    let event = &new.event;
    let inserted = statements.insert_event.execute(rusqlite::params![
        seq,
        record.tenant,
        event.id.as_str(),
        event.event_type.as_str(),
        event.source,
        event.subject,
        event.time,
        event.received.as_millis(),
        event.content_type,
        record.attributes,
        event.ordering_key,
        new.idempotency_key,
        new.fingerprint.as_bytes(),
        record.lanes_text,
        record.crc,
        &event.data[..],
        record::place_crc(seq, record.tenant, record.lanes_text.as_deref()),
    ])?;
    if inserted == 0 {
        let by_id = taken(&mut statements.taken_by_id, record.tenant, event.id.as_str())?;
        let by_id = by_id.ok_or_else(|| Fault::damaged("the index of event ids"))?;
        let (is_same, seq) = (by_id.fingerprint == new.fingerprint.as_bytes(), by_id.seq);
        if let (true, Some(key)) = (is_same, &new.idempotency_key) {
            keep_further_key(statements, record.tenant, key, seq)?;
        }
        return Ok(judge(new.fingerprint.as_bytes(), by_id, None));
    }
    if let Some(key) = &new.idempotency_key {
        statements.insert_key.execute((record.tenant, key, seq))?;
    }
    let size = size(event.data.len());
    for lane in &record.lanes {
        statements.insert_fresh.execute((lane, seq, size))?;
        tally.add(*lane, Status::Pending, size);
    }
    present.note(statements, seq, record.tenant, &record.lanes)?;
    tally.received(seq, event.received);
    *last = seq;
    Ok(Appended::Stored { seq: crate::Seq(seq.unsigned_abs()) })
}

/// Keeps the key of an event that was sent again: it answers the first event from then on.
fn keep_further_key(statements: &mut Statements<'_>, tenant: i64, key: &str, seq: i64) -> Result<(), Fault> {
    let kept: u32 = statements.count_further_keys.query_row((seq,), |row| row.get(0))?;
    if kept < FURTHER_KEYS {
        statements.insert_further_key.execute((seq, tenant, key))?;
        statements.insert_key.execute((tenant, key, seq))?;
    }
    Ok(())
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The event that has an id or a key.
struct Taken {
    id: EventId,
    fingerprint: Vec<u8>,
    deliveries: usize,
    seq: i64,
}

fn taken(statement: &mut Statement<'_>, tenant: i64, name: &str) -> Result<Option<Taken>, Fault> {
    let read = |row: &Row<'_>| {
        let id: String = row.get(0)?;
        let lanes: Option<String> = row.get(2)?;
        Ok((id, row.get(1)?, lanes, row.get(3)?))
    };
    let Some((id, fingerprint, lanes, seq)) = statement.query_row((tenant, name), read).optional()? else {
        return Ok(None);
    };
    let id = EventId::new(&id).map_err(|_| Fault::damaged("an event's id"))?;
    Ok(Some(Taken { id, fingerprint, deliveries: record::lanes(lanes.as_deref())?.len(), seq }))
}

/// A place taken by another event is a conflict, even if a second place is taken by the same one.
fn judge(fingerprint: &[u8], first: Taken, second: Option<Taken>) -> Appended {
    let is_other = |taken: &Taken| taken.fingerprint != fingerprint;
    if is_other(&first) {
        return Appended::Conflict { id: first.id };
    }
    match second {
        Some(second) if is_other(&second) => Appended::Conflict { id: second.id },
        _ => Appended::Duplicate { id: first.id, deliveries: first.deliveries },
    }
}
