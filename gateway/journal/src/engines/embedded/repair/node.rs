//! What lies on a page of a b-tree: rows, and the pages under it. Each cell is read by itself, so that a bad one costs
//! its own row.

use rusqlite::types::Value;

use super::pages::{PAGE, Pages, u32_at};

/// Longer values were never written: a bad length must not take the memory.
const LONGEST: u64 = 1 << 30;

/// Whether rows have a number of their own, or lie in an index or a table without such numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Numbered,
    Keyed,
}

/// A row as it is stored; a number of its own stands apart from its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) number: Option<i64>,
    pub(super) columns: Vec<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) rows: Vec<Stored>,
    pub(super) children: Vec<u32>,
    /// Cells that make no sense.
    pub(super) bad_cells: usize,
}

/// Reads a page of a tree of this kind; `None` where it is none.
pub(super) fn read(pages: &Pages, kind: Kind, number: u32, page: &[u8]) -> Option<Node> {
    let start = if number == 1 { 100 } else { 0 };
    let head = page.get(start..)?;
    let (has_rows, has_children) = match (kind, *head.first()?) {
        (Kind::Numbered, 0x0d) | (Kind::Keyed, 0x0a) => (true, false),
        (Kind::Numbered, 0x05) => (false, true),
        (Kind::Keyed, 0x02) => (true, true),
        _ => return None,
    };
    let count = usize::from(u16_at(head, 3)?);
    let places = start + if has_children { 12 } else { 8 };
    if places + 2 * count > PAGE {
        return None;
    }
    let mut node = Node::default();
    for index in 0..count {
        let at = usize::from(u16_at(page, places + 2 * index)?);
        let cell = page.get(at..).filter(|_| at >= places + 2 * count);
        let read = cell.and_then(|cell| read_cell(pages, kind, cell, has_rows, has_children));
        match read {
            Some((row, child)) => {
                node.rows.extend(row);
                node.children.extend(child);
            }
            None => node.bad_cells += 1,
        }
    }
    if has_children {
        node.children.push(u32_at(head, 8)?);
    }
    Some(node)
}

fn read_cell(
    pages: &Pages,
    kind: Kind,
    cell: &[u8],
    has_rows: bool,
    has_children: bool,
) -> Option<(Option<Stored>, Option<u32>)> {
    let child = if has_children { Some(u32_at(cell, 0)?) } else { None };
    if !has_rows {
        return Some((None, child));
    }
    let mut at = if has_children { 4 } else { 0 };
    let size = varint(cell, &mut at)?;
    let number = match kind {
        Kind::Numbered => Some(varint(cell, &mut at)?.cast_signed()),
        Kind::Keyed => None,
    };
    let payload = payload(pages, kind, cell, at, size)?;
    // The child of a cell counts even where its row is lost.
    match columns(&payload) {
        Some(columns) => Some((Some(Stored { number, columns }), child)),
        None if child.is_some() => Some((None, child)),
        None => None,
    }
}

/// The bytes of a row: those in its cell, and those on pages of its own where it is long.
fn payload(pages: &Pages, kind: Kind, cell: &[u8], at: usize, size: u64) -> Option<Vec<u8>> {
    if size > LONGEST {
        return None;
    }
    let size = usize::try_from(size).ok()?;
    let within = match kind {
        Kind::Numbered => PAGE - 35,
        Kind::Keyed => (PAGE - 12) * 64 / 255 - 23,
    };
    if size <= within {
        return cell.get(at..at + size).map(<[u8]>::to_vec);
    }
    let least = (PAGE - 12) * 32 / 255 - 23;
    let fitting = least + (size - least) % (PAGE - 4);
    let local = if fitting <= within { fitting } else { least };
    let mut bytes = cell.get(at..at + local)?.to_vec();
    let mut next = u32_at(cell, at + local)?;
    while bytes.len() < size {
        if next == 0 || next > pages.count() {
            return None;
        }
        let page = pages.read(next)?;
        let rest = (size - bytes.len()).min(PAGE - 4);
        bytes.extend_from_slice(&page[4..4 + rest]);
        next = u32_at(&page, 0)?;
    }
    Some(bytes)
}

/// The columns of a row; `None` where the bytes do not add up.
pub(super) fn columns(payload: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let head = usize::try_from(varint(payload, &mut at)?).ok()?;
    if head > payload.len() {
        return None;
    }
    let (mut columns, mut body) = (Vec::new(), head);
    while at < head {
        let code = varint(payload, &mut at)?;
        let size = usize::try_from(size_of(code)?).ok()?;
        let bytes = payload.get(body..body.checked_add(size)?)?;
        body += size;
        columns.push(value(code, bytes)?);
    }
    (at == head && body == payload.len()).then_some(columns)
}

fn size_of(code: u64) -> Option<u64> {
    match code {
        0 | 8 | 9 => Some(0),
        1..=4 => Some(code),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        code => Some((code - 12) / 2),
    }
}

fn value(code: u64, bytes: &[u8]) -> Option<Value> {
    Some(match code {
        0 => Value::Null,
        1..=6 => {
            let first = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
            Value::Integer(bytes.iter().fold(first, |number: i64, byte| number << 8 | i64::from(*byte)))
        }
        7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        code if code % 2 == 0 => Value::Blob(bytes.to_vec()),
        // Text that is none can't be bound as text. The row's checksum tells that it is not what was written.
        _ => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// Seven bits in each of up to eight bytes, and eight in a ninth.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if index == 8 {
            return Some(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_are_read() {
        for (bytes, wanted) in [
            (&[0x00][..], Some((0, 1))),
            (&[0x7f], Some((127, 1))),
            (&[0x81, 0x00], Some((128, 2))),
            (&[0xff; 9], Some((u64::MAX, 9))),
            (&[0x80], None),
            (&[], None),
        ] {
            let mut at = 0;
            assert_eq!(varint(bytes, &mut at).map(|number| (number, at)), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_row_is_read_only_where_all_of_it_adds_up() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (payload, wanted) in [
            (&[1][..], Some(vec![])),
            (
                &[5, 0, 8, 9, 1, 0xff],
                Some(vec![Value::Null, Value::Integer(0), Value::Integer(1), Value::Integer(-1)]),
            ),
            (&[3, 2, 15, 0x01, 0x00, b'a'], Some(vec![Value::Integer(256), text("a")])),
            (&[2, 14, 7], Some(vec![Value::Blob(vec![7])])),
            (&[2, 13], Some(vec![text("")])),
            (&[2, 14], None),
            (&[2, 1, 1, 1], None),
            (&[2, 10], None),
            (&[9, 1], None),
            (&[], None),
        ] {
            assert_eq!(columns(payload), wanted, "{payload:?}");
        }
    }
}
