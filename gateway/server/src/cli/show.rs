//! What the commands print: tables, JSON, and text that came from outside.
//!
//! Everything that a sender, a receiver or a plugin has written passes through [`escaped`], [`block`] or
//! [`json_line`], so that none of them can steer the terminal of whoever looks at it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::watch::Shown;
use crate::pretty;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

/// Writes text to standard output in one piece. Unlike `print!` it survives a reader that has gone away.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Characters that act on a terminal, or that make text read other than it is.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text for one line: control characters and the like are spelt out.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Text of several lines, each escaped and set in by `indent`.
pub(crate) fn block(text: &str, indent: &str) -> String {
    text.lines().fold(String::new(), |mut block, line| {
        let _ = writeln!(block, "{indent}{}", escaped(line));
        block
    })
}

/// JSON text as a line of output, otherwise as it is. In JSON an unsafe character can only stand inside a string or
/// be space between values: there it becomes an escape sequence, here it goes.
pub(crate) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.trim().chars() {
        match c {
            '\n' | '\r' | '\t' => {}
            c if is_unsafe(c) => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// JSON text with line breaks and indentation, or `None` where it isn't JSON or nests so deep that it would be mostly
/// blanks.
pub(crate) fn indented(json: &str) -> Option<String> {
    pretty::json(json).filter(|pretty| pretty.depth <= pretty::DEEPEST).map(|pretty| pretty.text)
}

/// The longest data that is shown whole.
const WHOLE: usize = 4096;
/// How much is shown of longer data.
const START: usize = 1024;

/// Data for a person: JSON is set out over lines, long data is cut, bytes that are no text are only counted.
pub(crate) fn data(bytes: &[u8], indent: &str) -> String {
    let size = bytes.len();
    if size == 0 {
        return format!("{indent}(empty)\n");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("{indent}({size} bytes that are no text)\n");
    };
    if size <= WHOLE {
        return block(&indented(text).map_or(Cow::Borrowed(text), Cow::Owned), indent);
    }
    let start = block(&text[..text.floor_char_boundary(START)], indent);
    format!("{start}{indent}... ({size} bytes in all)\n")
}

/// The start of a text, cut at `most` characters, on one line.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", escaped(&text[..end])),
        None => escaped(text).into_owned(),
    }
}

/// For whom a table is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A person at a terminal of so many columns.
    Terminal(u16),
    /// A pipe or file: a line a row, columns two blanks apart.
    Plain,
}

impl Look {
    pub(crate) fn of_stdout() -> Self {
        // The width is known where standard output is a terminal, and nowhere else.
        Table::new().width().map_or(Self::Plain, Self::Terminal)
    }
}

/// The narrowest last column that reads well when its text is wrapped.
const NARROWEST: u16 = 20;

/// A list with a header. Names, ids and times are made to be copied, so only the last column is ever wrapped.
#[derive(Debug)]
pub(crate) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; its cells are escaped here.
    pub(crate) fn push<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(|cell| escaped(cell).into_owned()).to_vec());
    }

    pub(crate) fn render(&self, look: Look) -> String {
        match look {
            Look::Terminal(width) => self.ruled(width).unwrap_or_else(|| self.plain()),
            Look::Plain => self.plain(),
        }
    }

    fn plain(&self) -> String {
        let mut table = Table::new();
        table.set_header(&self.header).add_rows(&self.rows);
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        lines(&table)
    }

    /// A table with lines that fits the width, without the columns that say nothing; `None` where it is too wide.
    fn ruled(&self, width: u16) -> Option<String> {
        let told: Vec<usize> = (0..self.header.len())
            .filter(|column| self.rows.iter().any(|row| !row[*column].is_empty()))
            .collect();
        let mut table = Table::new();
        table.set_header(told.iter().map(|column| self.header[*column]));
        table.add_rows(self.rows.iter().map(|row| told.iter().map(|column| &row[*column])));
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        let mut widths = table.column_max_content_widths();
        let last = widths.pop()?;
        // A column is as wide as its content, a blank on either side, and a blank between two of them.
        let fixed = widths.iter().fold(2, |sum: u16, width| sum.saturating_add(*width).saturating_add(3));
        if fixed.saturating_add(last.min(NARROWEST)) > width {
            return None;
        }
        for column in table.column_iter_mut().take(widths.len()) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        Some(lines(&table))
    }
}

fn lines(table: &Table) -> String {
    table.lines().fold(String::new(), |mut text, line| {
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

/// A page of a list, with what is to be said about it.
pub(crate) fn page(rows: &Rows, next: Option<&str>, things: &str) -> Shown {
    Shown { text: rows.render(Look::of_stdout()), advice: advice(rows.rows.is_empty(), next, things) }
}

fn advice(is_empty: bool, next: Option<&str>, things: &str) -> Option<String> {
    match next {
        Some(next) => Some(format!("there are more {things}: add --cursor {}", escaped(next))),
        None if is_empty => Some(format!("no {things} match")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn text_from_outside_can_not_steer_a_terminal() {
        for (text, wanted) in [
            ("plain é 漢", "plain é 漢"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{7f}", "\\u{7f}"),
            ("abc\u{202e}def", "abc\\u{202e}def"),
            ("\u{feff}x\u{200b}", "\\u{feff}x\\u{200b}"),
        ] {
            assert_eq!(escaped(text), wanted);
        }
        assert_eq!(block("a\r\nb\u{1b}c", "  "), "  a\n  b\\u{1b}c\n");
    }

    #[test]
    fn json_stays_json_on_one_line() {
        let json = "{\n\t\"a\": \"x\u{9b}y\u{202e}\u{7f}\",\r\n \"n\": 1.0e400 }\n";
        let line = json_line(json);
        assert_eq!(line, "{\"a\": \"x\\u009by\\u202e\\u007f\", \"n\": 1.0e400 }\n");
        assert!(serde_json::from_str::<&RawValue>(&line).is_ok());
    }

    #[test]
    fn json_is_set_out_without_a_change() {
        let json = r#"{"b":1.50,"b":[ ],"a":{"q\"{,:":[true,"\\"]},"e":{}}"#;
        let wanted = "{\n  \"b\": 1.50,\n  \"b\": [],\n  \"a\": {\n    \"q\\\"{,:\": [\n      true,\n      \"\\\\\"\n    ]\n  },\n  \"e\": {}\n}";
        assert_eq!(indented(json).as_deref(), Some(wanted));
        assert_eq!(indented("{\"a\":\n\n\t1}").as_deref(), Some("{\n  \"a\": 1\n}"));
        assert_eq!(indented("12"), Some("12".to_owned()));
        for not_json in ["", "{", "hello", "{} {}", &format!("{}{}", "[".repeat(40), "]".repeat(40))] {
            assert_eq!(indented(not_json), None, "{not_json}");
        }
    }

    #[test]
    fn data_is_shown_by_its_kind_and_length() {
        assert_eq!(data(b"", "  "), "  (empty)\n");
        assert_eq!(data(b"\xff\xfe", "  "), "  (2 bytes that are no text)\n");
        assert_eq!(data(b"hello\nyou", "  "), "  hello\n  you\n");
        assert_eq!(data(b"[1]", ""), "[\n  1\n]\n");
        let long = data("é".repeat(4000).as_bytes(), "");
        assert!(long.ends_with("\n... (8000 bytes in all)\n"), "{long}");
        assert_eq!(long.matches('é').count(), 512);
    }

    #[test]
    fn excerpts_count_characters() {
        assert_eq!(excerpt("éàü", 3), "éàü");
        assert_eq!(excerpt("éàü\n", 3), "éàü...");
        assert_eq!(excerpt("a\nb", 3), "a\\nb");
    }

    #[test]
    fn a_plain_table_is_a_line_a_row() {
        let mut rows = Rows::new(&["ID", "TYPE", "REASON"]);
        rows.push(["evt_1", "order.created", ""]);
        rows.push(["evt_22", "a", "two\nlines"]);
        assert_eq!(
            rows.render(Look::Plain),
            "ID      TYPE           REASON\nevt_1   order.created\nevt_22  a              two\\nlines\n"
        );
    }

    #[test]
    fn a_table_wraps_its_last_column_alone_and_leaves_out_empty_ones() {
        let mut rows = Rows::new(&["EVENT", "DUE", "RECEIVED", "REASON"]);
        rows.push(["evt_01a20ffdf96b75a69c0afa025fc5eaa0", "", "2026-01-31T12:00:00.000Z", ""]);
        rows.push([
            "evt_2",
            "",
            "2026-01-31T12:00:00.000Z",
            "the plugin keep-above ran into its limit of 16 MiB",
        ]);
        let wide = rows.render(Look::Terminal(90));
        assert!(wide.lines().all(|line| line.chars().count() <= 90), "{wide}");
        for whole in ["evt_01a20ffdf96b75a69c0afa025fc5eaa0", "2026-01-31T12:00:00.000Z", "16 MiB"] {
            assert!(wide.contains(whole), "{wide}");
        }
        assert!(!wide.contains("DUE") && !wide.contains("limit of 16 MiB"), "{wide}");
        assert_eq!(rows.render(Look::Terminal(80)), rows.render(Look::Plain), "too narrow for lines");
    }

    #[test]
    fn a_list_without_rows_is_its_header_in_a_pipe() {
        let rows = Rows::new(&["EVENT", "TYPE"]);
        assert_eq!(rows.render(Look::Plain), "EVENT  TYPE\n");
        assert_eq!(rows.render(Look::Terminal(80)), rows.render(Look::Plain));
    }

    #[test]
    fn a_page_says_how_to_read_on() {
        assert_eq!(advice(true, None, "events").as_deref(), Some("no events match"));
        assert_eq!(advice(false, None, "events"), None);
        let more = advice(false, Some("c1"), "events");
        assert_eq!(more.as_deref(), Some("there are more events: add --cursor c1"));
    }
}
