//! Times as a person gives them: `2026-01-31T12:00:00Z`, or how long ago, as `2h`.

use hookweir_model::Timestamp;

/// A moment on the command line. "Ago" counts from when the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When(Timestamp);

impl When {
    /// Reads an argument at the system's time.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, Timestamp::now())
    }

    fn parse_at(text: &str, now: Timestamp) -> Result<Self, String> {
        if let Some(time) = Timestamp::parse(text) {
            return Ok(Self(time));
        }
        match humantime::parse_duration(text) {
            Ok(ago) => Ok(Self(now.before(ago))),
            Err(_) => Err("give a time as 2026-01-31T12:00:00Z, or how long ago as 30m, 2h or 7d".to_owned()),
        }
    }

    pub(crate) fn rfc3339(self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        for (text, wanted) in [
            ("2026-01-30T00:00:00Z", Some("2026-01-30T00:00:00.000Z")),
            ("2026-01-30T02:00:00+02:00", Some("2026-01-30T00:00:00.000Z")),
            ("2h", Some("2026-01-31T10:00:00.000Z")),
            ("1d 30m", Some("2026-01-30T11:30:00.000Z")),
            ("yesterday", None),
            ("2", None),
            ("", None),
        ] {
            let when = When::parse_at(text, now).ok().map(When::rfc3339);
            assert_eq!(when.as_deref(), wanted, "{text}");
        }
    }
}
