//! An attempt: what is handed over, and how it ended.

use std::time::Duration;

use hookweir_model::{Answer, EventId, EventType, Exchange, Outcome, Shaped, TenantId};

use crate::InForce;

/// One event to hand over, as a request or as a message.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whose event it is: connections are not shared between tenants.
    pub tenant: &'a TenantId,
    pub event: &'a EventId,
    pub event_type: &'a EventType,
    /// The CloudEvents `subject`.
    pub subject: Option<&'a str>,
    /// From 1.
    pub attempt: u32,
    pub shaped: &'a Shaped,
    /// The W3C trace context to pass on.
    pub traceparent: Option<&'a str>,
    /// Whether the report tells of the exchange although it delivered.
    pub in_full: bool,
    /// Asked after every wait, before bytes of the message are handed over.
    pub in_force: &'a InForce,
}

impl Request<'_> {
    /// The headers of a message, for brokers that have such: content type, what the event was shaped with, then what the
    /// gateway says of it.
    pub(crate) fn message_headers(&self) -> impl Iterator<Item = (&str, String)> {
        let shaped = &self.shaped.headers;
        [("content-type", self.shaped.content_type.clone())]
            .into_iter()
            .chain(shaped.iter().map(|(name, value)| (name.as_str(), value.clone())))
            .chain([
                ("webhook-id", self.event.to_string()),
                ("hookweir-type", self.event_type.to_string()),
                ("hookweir-attempt", self.attempt.to_string()),
            ])
            .chain(self.traceparent.map(|parent| ("traceparent", parent.to_owned())))
    }
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
    /// What went over the wire, over HTTP: where it did not deliver, and where the request asks for it. Of a connection that
    /// could not be made, the addresses that were tried.
    pub exchange: Option<Box<Exchange>>,
    /// Nothing was sent, since the configuration by which the attempt was prepared is no longer in force. All else here says
    /// nothing then.
    pub superseded: bool,
}
