//! How an event and a shaped request lie in their columns, and the checksums that tell when they no longer do.
//!
//! Encoding happens on the caller's task, so that the writer only binds values. The head of an event (all but its
//! data) has a checksum of its own: lists that show no data need not read it to know that the head is whole.

use std::fmt::Write as _;

use bytes::Bytes;
use hookweir_model::{Event, EventId, EventType, Shaped, TenantId, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::fault::Fault;
use crate::NewEvent;

/// An event that is ready to be bound.
#[derive(Debug)]
pub(super) struct EventRecord {
    pub(super) tenant: i64,
    pub(super) new: NewEvent,
    /// JSON pairs; `None` where there are none.
    pub(super) attributes: Option<String>,
    pub(super) lanes: Vec<i64>,
    /// `lanes` as they are kept.
    pub(super) lanes_text: Option<String>,
    pub(super) crc: i64,
}

impl EventRecord {
    pub(super) fn new(tenant: i64, lanes: Vec<i64>, new: NewEvent) -> Self {
        let event = &new.event;
        let attributes = pairs_text(&event.attributes);
        let head = Head {
            id: event.id.as_str(),
            event_type: event.event_type.as_str(),
            source: &event.source,
            subject: event.subject.as_deref(),
            time: &event.time,
            received: event.received.as_millis(),
            content_type: &event.content_type,
            attributes: attributes.as_deref(),
            ordering_key: event.ordering_key.as_deref(),
            idempotency_key: new.idempotency_key.as_deref(),
            fingerprint: new.fingerprint.as_bytes(),
        };
        let crc = join(head.crc(), crc32fast::hash(&event.data));
        let lanes_text = lanes_text(&lanes);
        Self { tenant, attributes, lanes, lanes_text, crc, new }
    }

    /// About how much of the disk it takes, for the bound on what waits.
    pub(super) fn size(&self) -> usize {
        512 + self.new.event.data.len() + self.attributes.as_ref().map_or(0, String::len)
    }
}

/// The columns of [`Head`] in the order that [`Head::read`] takes them.
macro_rules! head_columns {
    () => {
        "id, type, source, subject, time, received, content_type, attributes, ordering_key, idempotency_key, \
         fingerprint, crc"
    };
}

/// The columns that [`shaped`] takes.
macro_rules! shaped_columns {
    () => {
        "content_type, headers, crc, body"
    };
}

pub(super) use {head_columns, shaped_columns};

/// Where the columns after [`head_columns`] start.
pub(super) const AFTER_HEAD: usize = 12;

/// All of an event but its data, as it lies in the row.
struct Head<'a> {
    id: &'a str,
    event_type: &'a str,
    source: &'a str,
    subject: Option<&'a str>,
    time: &'a str,
    received: i64,
    content_type: &'a str,
    attributes: Option<&'a str>,
    ordering_key: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    fingerprint: &'a [u8],
}

impl<'a> Head<'a> {
    fn crc(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        let mut field = |bytes: Option<&[u8]>| {
            // The length keeps "ab" + "c" apart from "a" + "bc", and an absent text from an empty one.
            crc.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            crc.update(bytes.unwrap_or_default());
        };
        for text in [self.id, self.event_type, self.source, self.time, self.content_type] {
            field(Some(text.as_bytes()));
        }
        for text in [self.subject, self.attributes, self.ordering_key, self.idempotency_key] {
            field(text.map(str::as_bytes));
        }
        field(Some(&self.received.to_le_bytes()));
        field(Some(self.fingerprint));
        crc.finalize()
    }

    /// Reads the head and the two checksums kept with it; `None` where a column has not even the right type.
    fn read(row: &'a Row<'_>) -> Option<(Self, Crcs)> {
        let head = Head {
            id: text(row, 0)?,
            event_type: text(row, 1)?,
            source: text(row, 2)?,
            subject: optional_text(row, 3)?,
            time: text(row, 4)?,
            received: row.get(5).ok()?,
            content_type: text(row, 6)?,
            attributes: optional_text(row, 7)?,
            ordering_key: optional_text(row, 8)?,
            idempotency_key: optional_text(row, 9)?,
            fingerprint: row.get_ref(10).ok()?.as_blob().ok()?,
        };
        Some((head, Crcs::split(row.get(11).ok()?)))
    }
}

struct Crcs {
    head: u32,
    data: u32,
}

impl Crcs {
    fn split(both: i64) -> Self {
        let [a, b, c, d, e, f, g, h] = both.to_be_bytes();
        Self { head: u32::from_be_bytes([a, b, c, d]), data: u32::from_be_bytes([e, f, g, h]) }
    }
}

fn join(head: u32, data: u32) -> i64 {
    let [a, b, c, d] = head.to_be_bytes();
    let [e, f, g, h] = data.to_be_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a str> {
    row.get_ref(column).ok()?.as_str().ok()
}

/// The outer `None` says that the column holds no text at all.
pub(super) fn optional_text<'a>(row: &'a Row<'_>, column: usize) -> Option<Option<&'a str>> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(None),
        value => value.as_str().ok().map(Some),
    }
}

/// What a list of deliveries shows of an event.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub(super) id: EventId,
    pub(super) event_type: EventType,
    pub(super) received: Timestamp,
}

/// Reads [`head_columns`]; `None` where they are damaged.
pub(super) fn summary(row: &Row<'_>) -> Option<Summary> {
    let (head, crcs) = Head::read(row)?;
    if head.crc() != crcs.head {
        return None;
    }
    Some(Summary {
        id: EventId::new(head.id).ok()?,
        event_type: EventType::new(head.event_type).ok()?,
        received: Timestamp::from_millis(head.received),
    })
}

/// Reads [`head_columns`] and `data`; `None` where they are damaged.
pub(super) fn event(tenant: &TenantId, row: &Row<'_>) -> Option<Event> {
    let (head, crcs) = Head::read(row)?;
    let data = row.get_ref(AFTER_HEAD).ok()?.as_blob().ok()?;
    if head.crc() != crcs.head || crc32fast::hash(data) != crcs.data {
        return None;
    }
    Some(Event {
        tenant: tenant.clone(),
        id: EventId::new(head.id).ok()?,
        event_type: EventType::new(head.event_type).ok()?,
        source: head.source.to_owned(),
        subject: head.subject.map(str::to_owned),
        time: head.time.to_owned(),
        received: Timestamp::from_millis(head.received),
        content_type: head.content_type.to_owned(),
        attributes: pairs(head.attributes)?,
        ordering_key: head.ordering_key.map(str::to_owned),
        data: Bytes::copy_from_slice(data),
    })
}

pub(super) fn pairs_text(pairs: &[(String, String)]) -> Option<String> {
    // Text pairs always have a JSON form; the error that can't be is not worth a panic.
    if pairs.is_empty() { None } else { serde_json::to_string(pairs).ok() }
}

pub(super) fn pairs(text: Option<&str>) -> Option<Vec<(String, String)>> {
    text.map_or(Some(Vec::new()), |text| serde_json::from_str(text).ok())
}

/// `[3,17]`, which SQLite's `json_each` reads too.
pub(super) fn lanes_text(lanes: &[i64]) -> Option<String> {
    let (first, rest) = lanes.split_first()?;
    let mut text = String::with_capacity(2 + lanes.len() * 4);
    let written =
        write!(text, "[{first}").and_then(|()| rest.iter().try_for_each(|lane| write!(text, ",{lane}")));
    text.push(']');
    written.ok().map(|()| text)
}

pub(super) fn lanes(text: Option<&str>) -> Result<Vec<i64>, Fault> {
    let read = text.map_or(Some(Vec::new()), |text| serde_json::from_str(text).ok());
    read.ok_or_else(|| Fault::damaged("the list of an event's lanes"))
}

/// A shaped request that is ready to be bound.
#[derive(Debug)]
pub(super) struct ShapedRecord {
    pub(super) shaped: Shaped,
    pub(super) headers: Option<String>,
    pub(super) crc: u32,
}

impl ShapedRecord {
    pub(super) fn new(shaped: Shaped) -> Self {
        let headers = pairs_text(&shaped.headers);
        let crc = shaped_crc(&shaped.content_type, headers.as_deref(), &shaped.body);
        Self { shaped, headers, crc }
    }
}

/// Reads [`shaped_columns`]; `None` where they are damaged.
pub(super) fn shaped(row: &Row<'_>) -> Option<Shaped> {
    let content_type = text(row, 0)?;
    let headers = optional_text(row, 1)?;
    let crc: u32 = row.get(2).ok()?;
    let body = row.get_ref(3).ok()?.as_blob().ok()?;
    if shaped_crc(content_type, headers, body) != crc {
        return None;
    }
    Some(Shaped {
        content_type: content_type.to_owned(),
        headers: pairs(headers)?,
        body: Bytes::copy_from_slice(body),
    })
}

fn shaped_crc(content_type: &str, headers: Option<&str>, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [content_type.as_bytes(), headers.unwrap_or_default().as_bytes(), body] {
        crc.update(&(part.len() as u64).to_le_bytes());
        crc.update(part);
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_checksums_share_a_column() {
        for (head, data) in [(0, 0), (1, u32::MAX), (u32::MAX, 1), (0x8000_0000, 0x7fff_ffff)] {
            let crcs = Crcs::split(join(head, data));
            assert_eq!((crcs.head, crcs.data), (head, data));
        }
    }

    #[test]
    fn lanes_and_back() {
        for (list, text) in [(vec![], None), (vec![7], Some("[7]")), (vec![3, 17, 2], Some("[3,17,2]"))] {
            assert_eq!(lanes_text(&list).as_deref(), text);
            assert_eq!(lanes(text), Ok(list));
        }
        assert!(lanes(Some("[1,")).is_err());
    }

    #[test]
    fn a_moved_border_between_fields_is_another_checksum() {
        let head = |id, event_type, subject| Head {
            id,
            event_type,
            source: "s",
            subject,
            time: "t",
            received: 1,
            content_type: "c",
            attributes: None,
            ordering_key: None,
            idempotency_key: None,
            fingerprint: &[0; 32],
        };
        assert_ne!(head("ab", "c", None).crc(), head("a", "bc", None).crc());
        assert_ne!(head("ab", "c", None).crc(), head("ab", "c", Some("")).crc());
    }
}
