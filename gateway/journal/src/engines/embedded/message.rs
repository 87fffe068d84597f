//! How what a message says lies in its columns, with the checksum that tells when it no longer does.

use bytes::Bytes;
use hookweir_model::{EventId, EventType, Shaped};
use rusqlite::Row;

use super::record::{optional_text, pairs, pairs_text, text};
use crate::{Content, NewMessage};

/// A message that is ready to be bound.
#[derive(Debug)]
pub(super) struct MessageRecord {
    pub(super) new: NewMessage,
    /// JSON pairs; `None` where there are none.
    pub(super) headers: Option<String>,
    pub(super) crc: u32,
}

impl MessageRecord {
    pub(super) fn new(new: NewMessage) -> Self {
        let Content { id, event_type, source, subject, time, shaped } = &new.content;
        let headers = pairs_text(&shaped.headers);
        let columns = Columns {
            id: id.as_str(),
            event_type: event_type.as_str(),
            source,
            subject: subject.as_deref(),
            time,
            content_type: &shaped.content_type,
            headers: headers.as_deref(),
            body: &shaped.body,
        };
        let crc = columns.crc();
        Self { new, headers, crc }
    }

    /// About how much of the disk it takes, for the bound on what waits.
    pub(super) fn size(&self) -> usize {
        512 + self.new.content.shaped.body.len() + self.headers.as_ref().map_or(0, String::len)
    }
}

/// The columns that [`content`] takes.
macro_rules! content_columns {
    () => {
        "crc, id, type, source, subject, time, content_type, headers, body"
    };
}

pub(super) use content_columns;

struct Columns<'a> {
    id: &'a str,
    event_type: &'a str,
    source: &'a str,
    subject: Option<&'a str>,
    time: &'a str,
    content_type: &'a str,
    headers: Option<&'a str>,
    body: &'a [u8],
}

impl Columns<'_> {
    fn crc(&self) -> u32 {
        let Self { id, event_type, source, subject, time, content_type, headers, body } = self;
        let mut crc = crc32fast::Hasher::new();
        let mut field = |bytes: Option<&[u8]>| {
            // The length keeps "ab" + "c" apart from "a" + "bc", and an absent text from an empty one.
            crc.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            crc.update(bytes.unwrap_or_default());
        };
        for text in [*id, *event_type, *source, *time, *content_type] {
            field(Some(text.as_bytes()));
        }
        field(subject.map(str::as_bytes));
        field(headers.map(str::as_bytes));
        field(Some(*body));
        crc.finalize()
    }
}

/// Reads [`content_columns`]; `None` where they are damaged.
pub(super) fn content(row: &Row<'_>) -> Option<Content> {
    let crc: u32 = row.get(0).ok()?;
    let columns = Columns {
        id: text(row, 1)?,
        event_type: text(row, 2)?,
        source: text(row, 3)?,
        subject: optional_text(row, 4)?,
        time: text(row, 5)?,
        content_type: text(row, 6)?,
        headers: optional_text(row, 7)?,
        body: row.get_ref(8).ok()?.as_blob().ok()?,
    };
    if columns.crc() != crc {
        return None;
    }
    Some(Content {
        id: EventId::new(columns.id).ok()?,
        event_type: EventType::new(columns.event_type).ok()?,
        source: columns.source.to_owned(),
        subject: columns.subject.map(str::to_owned),
        time: columns.time.to_owned(),
        shaped: Shaped {
            content_type: columns.content_type.to_owned(),
            headers: pairs(columns.headers)?,
            body: Bytes::copy_from_slice(columns.body),
        },
    })
}
