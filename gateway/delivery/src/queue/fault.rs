//! How an attempt at a broker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use hookweir_model::{Answer, Outcome};
use tokio::time::{Instant, timeout};

use crate::Report;
use crate::client::{self, find, span, tls_fault};

/// Text of the broker that is shown to the tenant.
const MOST_SHOWN: usize = 200;

/// Why a broker does not have a message, or may not have it. The reason is fit for the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
}

impl Fault {
    /// The broker does not have it, and another attempt may bring it there.
    pub(crate) fn retry(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Retry, reason: reason.into() }
    }

    /// The broker can never take this message.
    pub(crate) fn rejected(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Rejected, reason: reason.into() }
    }

    /// The message was on its way when the answer was lost.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unknown, reason: reason.into() }
    }

    /// The broker refused it, in words of its own.
    pub(crate) fn refused(code: impl fmt::Display, message: &str) -> Self {
        let end = message.floor_char_boundary(MOST_SHOWN);
        Self::retry(format!("the broker refused it ({code}): {}", message[..end].trim()))
    }

    /// The egress policy forbids the address.
    pub(crate) fn blocked() -> Self {
        Self { outcome: Outcome::Blocked, reason: "blocked address".to_owned() }
    }

    /// The connection broke, or the broker said nothing, after the message was handed over.
    pub(crate) fn lost() -> Self {
        Self::unknown("the connection was lost before the acknowledgement")
    }

    /// A connection that could not be made, as a library tells it.
    pub(crate) fn caused_by(error: &(dyn std::error::Error + 'static)) -> Self {
        if let Some(error) = find::<rustls::Error>(error) {
            return Self::retry(format!("TLS: {}", tls_fault(error)));
        }
        match find::<io::Error>(error) {
            Some(error) => Self::io(error),
            None => Self::retry("the connection was closed before the broker answered"),
        }
    }

    /// A connection that could not be made.
    pub(crate) fn io(error: &io::Error) -> Self {
        Self::retry(match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                "the broker's network can't be reached"
            }
            io::ErrorKind::TimedOut => "the broker can't be reached",
            _ => "the connection was closed before the broker answered",
        })
    }
}

/// A request to a broker that speaks HTTP.
impl From<client::Fault> for Fault {
    fn from(fault: client::Fault) -> Self {
        let text = fault.to_string();
        match fault {
            client::Fault::Blocked => Self::blocked(),
            client::Fault::Header(_) => Self::rejected(text),
            client::Fault::Name(_)
            | client::Fault::NoConnection(_)
            | client::Fault::Refused
            | client::Fault::Unreachable
            | client::Fault::Tls(_) => Self::retry(text),
            // The request may have been read by then.
            client::Fault::NoAnswer(_)
            | client::Fault::Closed
            | client::Fault::HeadTooLarge
            | client::Fault::NotHttp
            | client::Fault::Other => Self::unknown(text),
        }
    }
}

/// Whether a message may have reached the broker: it decides what a timeout means.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicBool);

impl Progress {
    /// Says that from here on bytes of the message may be on their way.
    pub(crate) fn handed_over(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_handed_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes an attempt that ends by a deadline. `send` answers what the broker acknowledged.
pub(crate) async fn attempt(
    limit: Duration,
    send: impl AsyncFnOnce(&Progress) -> Result<String, Fault>,
) -> Report {
    let started = Instant::now();
    let progress = Progress::default();
    let ended = match timeout(limit, send(&progress)).await {
        Ok(ended) => ended,
        Err(_) if progress.is_handed_over() => {
            Err(Fault::unknown(format!("no acknowledgement within {}", span(limit))))
        }
        Err(_) => Err(Fault::retry(format!("no connection within {}", span(limit)))),
    };
    let (outcome, reason, answer) = match ended {
        Ok(body) => (Outcome::Delivered, None, Some(Answer { status: None, body })),
        Err(fault) => (fault.outcome, Some(fault.reason), None),
    };
    Report {
        outcome,
        reason,
        answer,
        duration: started.elapsed(),
        retry_after: None,
        gone: false,
        exchange: None,
    }
}
