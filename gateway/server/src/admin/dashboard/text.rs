//! Numbers, sizes and data as people read them.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::pretty;

/// What stands in a path as it is; an event's id may have any sign but a dot.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.');

/// Data of which more is not shown on a page.
const MOST_SHOWN: usize = 64 << 10;

/// One segment of a path, or a value in a query.
pub(super) fn segment(value: &str) -> String {
    utf8_percent_encode(value, SEGMENT).to_string()
}

/// `1234567` as `1 234 567`, with narrow spaces that do not break.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn bytes(value: u64) -> String {
    let mut size = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// A span of microseconds, in the unit that suits it.
pub(super) fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} µs"),
        1_000..1_000_000 => format!("{} ms", trim(value, 1_000)),
        1_000_000..120_000_000 => format!("{} s", trim(value, 1_000_000)),
        _ => format!("{} min", trim(value, 60_000_000)),
    }
}

/// A span of whole milliseconds.
pub(super) fn millis(value: u64) -> String {
    if value == 0 { "under 1 ms".to_owned() } else { micros(value.saturating_mul(1_000)) }
}

/// A quotient with one decimal where it is below ten and not whole.
fn trim(value: u64, unit: u64) -> String {
    let tenths = value * 10 / unit;
    if tenths >= 100 || tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// RFC 3339 text as `2026-01-31 12:00:00 UTC`; other text as it is.
pub(super) fn moment(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(day), Some("T"), Some(time)) if text.ends_with('Z') => format!("{day} {time} UTC"),
        _ => text.to_owned(),
    }
}

/// The start of a text, and whether something was cut.
pub(super) fn start(text: &str) -> (&str, bool) {
    let end = text.floor_char_boundary(MOST_SHOWN);
    (&text[..end], end < text.len())
}

/// JSON with a line for each member and item; other text as it is. What is nested deep is not set further in: the page would
/// have no room for it, and a hostile text no end.
pub(super) fn pretty(text: &str) -> String {
    pretty::json(text).map_or_else(|| text.to_owned(), |pretty| pretty.text)
}

/// What data is shown as: its text, spread out where it is JSON, cut where it is long.
#[derive(Debug, serde::Serialize)]
pub(super) struct Shown {
    pub text: String,
    /// Whether it is base64 of what is no text.
    pub binary: bool,
    pub cut: bool,
}

pub(super) fn shown(data: &[u8]) -> Shown {
    let (text, base64) = crate::api::text_or_base64(data);
    let binary = base64.is_some();
    let text: Cow<'_, str> = match (text, base64) {
        (Some(text), _) if text.len() <= MOST_SHOWN => pretty(&text).into(),
        (text, base64) => text.or(base64).unwrap_or_default().into(),
    };
    let (text, cut) = start(&text);
    Shown { text: text.to_owned(), binary, cut }
}

/// A line of a comparison: in both texts (` `), in the first alone (`-`) or in the second alone (`+`).
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Change {
    pub sign: &'static str,
    pub line: String,
}

/// A comparison that takes longer shows as if less of the texts were alike.
const COMPARED_FOR: Duration = Duration::from_millis(20);

/// How two texts differ; nothing where they do not.
pub(super) fn changes(before: &str, after: &str) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let mut options = similar::TextDiff::configure();
    let diff = options.timeout(COMPARED_FOR).diff_lines(before, after);
    let line = |change: similar::Change<&str>| {
        let sign = match change.tag() {
            similar::ChangeTag::Equal => " ",
            similar::ChangeTag::Delete => "-",
            similar::ChangeTag::Insert => "+",
        };
        Change { sign, line: change.value().trim_end_matches('\n').to_owned() }
    };
    diff.iter_all_changes().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_spread_out_and_nothing_else_changes() {
        let text = r#" {"b":1.50,"a":[ ],"c":[1e400,{"d":"x,\"}{:"}],"e":{}} "#;
        let wanted = "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"c\": [\n    1e400,\n    {\n      \"d\": \"x,\\\"}{:\"\n    }\n  ],\n  \"e\": {}\n}";
        assert_eq!(pretty(text), wanted);
        for same in ["", "no json", "{\"a\":", "12", "\"é\"", "null", "[1"] {
            assert_eq!(pretty(same), same);
        }
    }

    #[test]
    fn deep_nesting_costs_no_more_than_its_size() {
        let text = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(pretty(&text).len() < 100 * 2 * 66);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(999), "999");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        for (value, text) in [
            (25, "25 µs"),
            (1_500, "1.5 ms"),
            (2_000, "2 ms"),
            (15_000_000, "15 s"),
            (150_000_000, "2.5 min"),
        ] {
            assert_eq!(micros(value), text);
        }
        assert_eq!((millis(0), millis(2)), ("under 1 ms".to_owned(), "2 ms".to_owned()));
        assert_eq!(moment("2026-01-31T12:00:00.123Z"), "2026-01-31 12:00:00 UTC");
        assert_eq!(moment("<b>"), "<b>");
    }

    #[test]
    fn changes_are_told_by_line() {
        let signs = |before, after| {
            let shown = |change: Change| format!("{}{}", change.sign, change.line);
            changes(before, after).into_iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(signs("a\nb", "a\nb"), [""; 0]);
        assert_eq!(signs("a\nb\nc", "a\nB\nc"), [" a", "-b", "+B", " c"]);
        assert_eq!(signs("", "a\n"), ["+a"]);
    }

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("a/b?c#d%<é"), "a%2Fb%3Fc%23d%25%3C%C3%A9");
    }
}
