//! How an event and a shaped request lie in their columns, and the checksums that tell when they no longer do.
//!
//! Encoding happens on the caller's task, so that the writer only binds values. The head of an event (all but its
//! data) has a checksum of its own: lists that show no data need not read it to know that the head is whole.

use std::fmt::Write as _;

use bytes::Bytes;
use hookweir_model::{Event, EventId, EventType, Shaped, Status, TenantId, Timestamp};
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use super::fault::Fault;
use crate::{NewEvent, StoredEvent};

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

const CRC: usize = AFTER_HEAD - 1;

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

/// What can be read of an event in these columns, damaged or not; `seq` is its number.
pub(super) fn stored(tenant: &TenantId, seq: i64, row: &Row<'_>) -> StoredEvent {
    if let Some(event) = event(tenant, row) {
        return event.into();
    }
    let Summary { id, event_type, received } = summary_at_least(seq, row);
    let text = |column| text(row, column).unwrap_or_default().to_owned();
    let data = row.get_ref(AFTER_HEAD).ok().and_then(|data| data.as_blob().ok()).unwrap_or_default();
    let is_head = summary(row).is_some();
    // Bytes that are not the sender's are shown to nobody.
    let crcs = row.get(CRC).map(Crcs::split).ok();
    let is_data = crcs.is_some_and(|crcs| crcs.data == crc32fast::hash(data));
    let event = Event {
        tenant: tenant.clone(),
        id,
        event_type,
        source: text(2),
        subject: optional_text(row, 3).flatten().map(str::to_owned),
        time: text(4),
        received,
        content_type: text(6),
        attributes: if is_head {
            pairs(optional_text(row, 7).flatten()).unwrap_or_default()
        } else {
            Vec::new()
        },
        ordering_key: optional_text(row, 8).flatten().map(str::to_owned),
        data: if is_data { Bytes::copy_from_slice(data) } else { Bytes::new() },
    };
    let damage = match (is_head, is_data) {
        (true, _) => "the event's data is damaged: it can't be sent, and is not shown",
        (false, true) => "the event's attributes are damaged: it can't be sent; its data is whole",
        (false, false) => "the event is damaged: it can't be sent, and its data is not shown",
    };
    StoredEvent { event, damage: Some(damage) }
}

/// What can be read of a summary, damaged or not.
pub(super) fn summary_at_least(seq: i64, row: &Row<'_>) -> Summary {
    if let Some(summary) = summary(row) {
        return summary;
    }
    let id = text(row, 0).and_then(|id| EventId::new(id).ok());
    let event_type = text(row, 1).and_then(|name| EventType::new(name).ok());
    Summary {
        id: id.unwrap_or_else(|| EventId::of_damaged(seq.unsigned_abs())),
        event_type: event_type.unwrap_or_else(EventType::of_damaged),
        received: Timestamp::from_millis(row.get(5).unwrap_or_default()),
    }
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

/// The checksum of where an event belongs: its number, its tenant and its lanes as they are kept. A replay changes the
/// list, and with it this.
pub(super) fn place_crc(seq: i64, tenant: i64, lanes: Option<&str>) -> i32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seq.to_le_bytes());
    crc.update(&tenant.to_le_bytes());
    crc.update(lanes.unwrap_or_default().as_bytes());
    crc.finalize().cast_signed()
}

/// Whether an event belongs where its row says. Rows of earlier versions have no such checksum.
pub(super) fn is_in_place(seq: i64, tenant: i64, lanes: Option<&str>, crc: Option<i32>) -> bool {
    crc.is_none_or(|crc| crc == place_crc(seq, tenant, lanes))
}

/// The checksum of a tenant's or endpoint's name with the numbers that stand for it.
pub(super) fn name_crc(numbers: &[i64], name: &str) -> i32 {
    let mut crc = crc32fast::Hasher::new();
    numbers.iter().for_each(|number| crc.update(&number.to_le_bytes()));
    crc.update(name.as_bytes());
    crc.finalize().cast_signed()
}

/// What decides about a delivery, and its checksum. The text of its attempt is outside: it decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeliveryNumbers {
    pub(super) seq: i64,
    pub(super) lane: i64,
    pub(super) size: i64,
    pub(super) status: u8,
    pub(super) due: i64,
    pub(super) attempts: u32,
    pub(super) base: u32,
}

/// The columns that [`DeliveryNumbers::read`] takes.
macro_rules! number_columns {
    () => {
        "seq, lane, size, status, due, attempts, base, crc"
    };
}

pub(super) use number_columns;

impl DeliveryNumbers {
    pub(super) fn crc(&self) -> i32 {
        let Self { seq, lane, size, status, due, attempts, base } = self;
        let mut bytes = [0; 41];
        let numbers = [seq.to_le_bytes(), lane.to_le_bytes(), size.to_le_bytes(), due.to_le_bytes()];
        bytes[..32].copy_from_slice(numbers.as_flattened());
        bytes[32..36].copy_from_slice(&attempts.to_le_bytes());
        bytes[36..40].copy_from_slice(&base.to_le_bytes());
        bytes[40] = *status;
        crc32fast::hash(&bytes).cast_signed()
    }

    /// Reads [`number_columns`]; `None` where they are not what was written. Rows of earlier versions have no checksum.
    pub(super) fn read(row: &Row<'_>) -> Option<Self> {
        let numbers = Self {
            seq: row.get(0).ok()?,
            lane: row.get(1).ok()?,
            size: row.get(2).ok()?,
            status: row.get(3).ok()?,
            due: row.get(4).ok()?,
            attempts: row.get(5).ok()?,
            base: row.get(6).ok()?,
        };
        let crc: Option<i32> = row.get(7).ok()?;
        numbers.fits(crc).then_some(numbers)
    }

    fn fits(&self, crc: Option<i32>) -> bool {
        Status::from_code(self.status).is_some() && crc.is_none_or(|crc| crc == self.crc())
    }

    /// Whether all the columns of a row, in the order of the table, are what was written.
    pub(super) fn fit_columns(columns: &[Value]) -> bool {
        let integer = |index: usize| match columns.get(index) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let crc = match columns.get(CRC_COLUMN) {
            None | Some(Value::Null) => Some(None),
            Some(Value::Integer(crc)) => i32::try_from(*crc).ok().map(Some),
            Some(_) => None,
        };
        let numbers = || {
            Some(Self {
                seq: integer(0)?,
                lane: integer(1)?,
                size: integer(2)?,
                status: u8::try_from(integer(3)?).ok()?,
                due: integer(4)?,
                attempts: u32::try_from(integer(5)?).ok()?,
                base: u32::try_from(integer(6)?).ok()?,
            })
        };
        numbers().zip(crc).is_some_and(|(numbers, crc)| numbers.fits(crc))
    }
}

/// Where a row of `delivery` has its checksum.
const CRC_COLUMN: usize = 14;

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
    fn a_change_to_any_number_of_a_delivery_is_another_checksum() {
        let whole = DeliveryNumbers { seq: 1, lane: 2, size: 3, status: 0, due: 5, attempts: 6, base: 0 };
        let others = [
            DeliveryNumbers { seq: 2, ..whole },
            DeliveryNumbers { lane: 3, ..whole },
            DeliveryNumbers { size: 1, ..whole },
            DeliveryNumbers { status: 1, ..whole },
            DeliveryNumbers { due: 0, ..whole },
            DeliveryNumbers { attempts: 7, ..whole },
            DeliveryNumbers { base: 1, ..whole },
            DeliveryNumbers { seq: 2, lane: 1, ..whole },
        ];
        assert!(whole.fits(Some(whole.crc())) && whole.fits(None));
        for other in others {
            assert!(!other.fits(Some(whole.crc())), "{other:?}");
        }
        assert!(!DeliveryNumbers { status: 9, ..whole }.fits(None), "there is no such status");
    }

    #[test]
    fn an_event_is_in_its_place_with_its_tenant_and_lanes() {
        let crc = Some(place_crc(1, 2, Some("[3,4]")));
        for (seq, tenant, lanes, wanted) in [
            (1, 2, Some("[3,4]"), true),
            (2, 2, Some("[3,4]"), false),
            (1, 1, Some("[3,4]"), false),
            (1, 2, Some("[3,5]"), false),
            (1, 2, None, false),
        ] {
            assert_eq!(is_in_place(seq, tenant, lanes, crc), wanted, "{seq} {tenant} {lanes:?}");
        }
        assert!(is_in_place(1, 2, None, None), "an earlier version wrote none");
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
