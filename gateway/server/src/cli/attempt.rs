//! What is told of an attempt, wherever one is shown.

use std::fmt::Write as _;

use super::show;
use crate::api::AttemptView;

/// What the plugins and the receiver had to say, indented.
pub(super) fn details(attempt: &AttemptView) -> String {
    let mut text = String::new();
    if let Some(reason) = &attempt.reason {
        let _ = writeln!(text, "    {}", show::escaped(reason));
    }
    for call in &attempt.plugins {
        let _ = writeln!(
            text,
            "    {} {} ({}) took {} us",
            call.role.as_str(),
            call.plugin,
            call.digest.short(),
            call.micros
        );
        text.push_str(&show::block(&call.log, "      | "));
    }
    if let Some(answer) = &attempt.answer {
        // The reason of a failure tells the status already.
        if attempt.reason.is_none() || !answer.body.is_empty() {
            let _ = match answer.status {
                Some(status) => writeln!(text, "    answer {status}"),
                None => writeln!(text, "    acknowledged"),
            };
        }
        if !answer.body.is_empty() {
            text.push_str(&show::data(answer.body.as_bytes(), "      | "));
        }
    }
    text
}
