//! What a guest logs in one call.

use crate::bindings::Level;
use crate::text;

/// The lines of one call, up to a limit. What goes over it is dropped: logging never fails a call.
#[derive(Debug)]
pub(crate) struct CallLog {
    lines: String,
    limit: usize,
    full: bool,
    /// The last message at the level `error`, as a reason is kept. It is kept where the lines have no more room, too.
    error: Option<String>,
}

impl CallLog {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { lines: String::new(), limit, full: false, error: None }
    }

    pub(crate) fn push(&mut self, level: Level, message: &str) {
        if level == Level::Error {
            self.error = Some(text::reason(message));
        }
        if self.full {
            return;
        }
        let separator = if self.lines.is_empty() { "" } else { "\n" };
        let whole = self.push_part(separator)
            && self.push_part(word(level))
            && self.push_part(": ")
            && text::push_escaped(&mut self.lines, message, self.limit);
        if !whole {
            self.full = true;
            text::mark_cut(&mut self.lines, self.limit);
        }
    }

    /// What the guest last logged as an error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The lines, one level and message each.
    pub(crate) fn into_lines(self) -> String {
        self.lines
    }

    /// Adds text of the host's own, if all of it has room.
    fn push_part(&mut self, part: &str) -> bool {
        let fits = self.lines.len() + part.len() <= self.limit;
        if fits {
            self.lines.push_str(part);
        }
        fits
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_one_line() {
        let mut log = CallLog::new(1024);
        log.push(Level::Info, "one");
        log.push(Level::Error, "two\nerror: forged\u{1b}[0m");
        assert_eq!(log.into_lines(), "info: one\nerror: two\\nerror: forged\\u{1b}[0m");
    }

    #[test]
    fn a_flood_stops_at_the_limit() {
        let mut log = CallLog::new(32);
        for _ in 0..1_000 {
            log.push(Level::Debug, "flood");
        }
        let lines = log.into_lines();
        assert!(lines.len() <= 32);
        assert_eq!(lines, "debug: flood\ndebug: flood\ndeb…");
        let mut none = CallLog::new(0);
        none.push(Level::Warn, "anything");
        assert_eq!(none.into_lines(), "");
    }

    #[test]
    fn the_last_error_is_kept_beyond_the_limit() {
        let mut log = CallLog::new(16);
        log.push(Level::Error, "first");
        log.push(Level::Info, &"flood".repeat(9));
        assert_eq!(log.error(), Some("first"));
        log.push(Level::Error, &format!("second\u{1b}[31m{}", "x".repeat(5_000)));
        let error = log.error().unwrap();
        assert!(error.starts_with("second\\u{1b}[31mx") && error.ends_with('…'), "{error}");
        assert_eq!(error.len(), 1 << 10);
        assert_eq!(CallLog::new(16).error(), None);
    }
}
