//! How an attempt at a broker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use hookweir_model::{Answer, Exchange, Outcome};
use tokio::time::{Instant, timeout_at};

use crate::client::{self, find, span, tls_fault};
use crate::network::NoConnection;
use crate::{InForce, Report};

/// Text of the broker that is shown to the tenant.
const MOST_SHOWN: usize = 200;

/// Why a broker does not have a message, or may not have it. The reason is fit for the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// The addresses that were tried, where none could be reached.
    pub(crate) tried: Vec<String>,
    /// Nothing was sent: what the message was prepared by is no longer in force.
    pub(crate) superseded: bool,
}

impl Fault {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), tried: Vec::new(), superseded: false }
    }

    /// The broker does not have it, and another attempt may bring it there.
    pub(crate) fn retry(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Retry, reason)
    }

    /// The configuration was changed before anything of the message was sent.
    pub(crate) fn superseded() -> Self {
        Self { superseded: true, ..Self::retry("the configuration was changed before the message was sent") }
    }

    /// The broker can never take this message.
    pub(crate) fn rejected(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Rejected, reason)
    }

    /// The message was on its way when the answer was lost.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Unknown, reason)
    }

    /// The broker refused it, in words of its own.
    pub(crate) fn refused(code: impl fmt::Display, message: &str) -> Self {
        let end = message.floor_char_boundary(MOST_SHOWN);
        Self::retry(format!("the broker refused it ({code}): {}", message[..end].trim()))
    }

    /// The egress policy forbids the address.
    pub(crate) fn blocked() -> Self {
        Self::new(Outcome::Blocked, "blocked address")
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
impl From<client::Failed> for Fault {
    fn from(client::Failed { fault, tried }: client::Failed) -> Self {
        let text = fault.to_string();
        let told = match fault {
            client::Fault::Superseded => Self::superseded(),
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
        };
        Self { tried, ..told }
    }
}

/// A connection that could not be made.
impl From<NoConnection> for Fault {
    fn from(error: NoConnection) -> Self {
        let tried = error.tried();
        let told = match &error {
            NoConnection::Forbidden => Self::blocked(),
            NoConnection::Name(fault) => Self::retry(fault.to_string()),
            NoConnection::Tls(error) => Self::retry(format!("TLS: {}", tls_fault(error))),
            NoConnection::Io(error) => Self::io(error),
            NoConnection::Slow => Self::retry("the broker can't be reached"),
            NoConnection::Unreached(unreached) => match unreached.last_error() {
                Some(error) if !unreached.has_silent() => Self::io(error),
                _ => Self::retry("the broker can't be reached"),
            },
        };
        Self { tried, ..told }
    }
}

/// How far an attempt has come: whether the message may have reached the broker decides what a timeout means.
#[derive(Debug)]
pub(crate) struct Progress {
    handed_over: AtomicBool,
    deadline: Instant,
    in_force: InForce,
}

impl Progress {
    /// Says that from here on bytes of the message may be on their way, unless what it was prepared by has ceased to be in
    /// force.
    pub(crate) fn hand_over(&self) -> Result<(), Fault> {
        if !self.in_force.holds() {
            return Err(Fault::superseded());
        }
        self.handed_over();
        Ok(())
    }

    /// The same for what is asked about by whoever hands it over.
    pub(crate) fn handed_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// When the attempt ends.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }
}

/// Makes an attempt that ends by a deadline. `send` answers what the broker acknowledged.
pub(crate) async fn attempt(
    limit: Duration,
    in_force: &InForce,
    send: impl AsyncFnOnce(&Progress) -> Result<String, Fault>,
) -> Report {
    let started = Instant::now();
    let deadline = started + limit;
    let progress = Progress { handed_over: AtomicBool::new(false), deadline, in_force: in_force.clone() };
    let ended = match timeout_at(deadline, send(&progress)).await {
        Ok(ended) => ended,
        Err(_) if progress.is_handed_over() => {
            Err(Fault::unknown(format!("no acknowledgement within {}", span(limit))))
        }
        Err(_) => Err(Fault::retry(format!("no connection within {}", span(limit)))),
    };
    let (result, answer) = match ended {
        Ok(body) => (Fault::new(Outcome::Delivered, ""), Some(Answer { status: None, body })),
        Err(fault) => (fault, None),
    };
    let Fault { outcome, reason, tried, superseded } = result;
    Report {
        outcome,
        reason: answer.is_none().then_some(reason),
        answer,
        duration: started.elapsed(),
        retry_after: None,
        gone: false,
        exchange: (!tried.is_empty()).then(|| Box::new(Exchange { tried, ..Exchange::default() })),
        superseded,
    }
}
