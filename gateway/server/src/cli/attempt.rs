//! What is told of an attempt, wherever one is shown.

use std::fmt::Write as _;

use hookweir_model::{Exchange, PluginCall, Timings};

use super::show;
use crate::api::AttemptView;

/// What the plugins and the receiver had to say, indented.
pub(super) fn details(attempt: &AttemptView) -> String {
    let mut text = String::new();
    if let Some(reason) = &attempt.reason {
        let _ = writeln!(text, "    {}", show::escaped(reason));
    }
    text.push_str(&calls(&attempt.plugins));
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
    if let Some(exchange) = &attempt.exchange {
        exchanged(&mut text, exchange);
    }
    text
}

/// The calls of plugins, with what they logged.
pub(super) fn calls(calls: &[PluginCall]) -> String {
    let mut text = String::new();
    for call in calls {
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
    text
}

/// What went over the wire: how long its parts took, and the headers of both sides.
fn exchanged(text: &mut String, exchange: &Exchange) {
    let Timings { lookup_us, connect_us, tls_us, first_byte_us } = exchange.timings;
    let parts =
        [("look-up", lookup_us), ("connect", connect_us), ("TLS", tls_us), ("first byte", first_byte_us)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(name, took)| Some(format!("{name} {}.{:01} ms", took? / 1000, took? % 1000 / 100)))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "    {}", parts.join(", "));
    }
    for address in &exchange.tried {
        let _ = writeln!(text, "    tried {}", show::escaped(address));
    }
    for (mark, headers) in [('>', &exchange.request_headers), ('<', &exchange.answer_headers)] {
        for (name, value) in headers {
            let _ = writeln!(text, "      {mark} {}: {}", show::escaped(name), show::escaped(value));
        }
    }
}
