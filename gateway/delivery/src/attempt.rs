//! An attempt: what is handed over, and how it ended.

use std::time::Duration;

use hookweir_model::{Answer, EventId, EventType, Outcome, Shaped};

/// One event to hand over, as a request or as a message.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub event: &'a EventId,
    pub event_type: &'a EventType,
    /// The CloudEvents `subject`.
    pub subject: Option<&'a str>,
    /// From 1.
    pub attempt: u32,
    pub shaped: &'a Shaped,
    /// The W3C trace context to pass on.
    pub traceparent: Option<&'a str>,
}

/// How the attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub outcome: Outcome,
    /// What went wrong, fit for the tenant.
    pub reason: Option<String>,
    pub answer: Option<Answer>,
    pub duration: Duration,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The receiver wants no more events.
    pub gone: bool,
}
