//! Logs: for people on a terminal, JSON lines for programs. They go to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging at the level in `HOOKWEIR_LOG`, else at `default`, in the words of `tracing`'s filters.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_env("HOOKWEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
