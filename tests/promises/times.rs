//! Times as the API writes them.

use serde_json::Value;

/// Milliseconds since 1970 of an RFC 3339 text.
pub(crate) fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("a time was expected, not {time}"));
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text} is not a time: {error}"));
    time.as_millisecond()
}
