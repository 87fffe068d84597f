//! Why there is no answer, told from the types of an error and never from its text.
//!
//! The sentences are for the tenant: they name no address and no server of the inside.

use std::error::Error;
use std::io;
use std::time::Duration;

use hookweir_model::{InvalidHeader, Outcome};
use hyper_util::client::legacy;
use rustls::CertificateError;
use thiserror::Error;

use super::connect::TooSlow;
use crate::resolve::ResolveFault;

/// An attempt that ended without an answer.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error("blocked address")]
    Blocked,
    #[error("the request can't be sent: {0}")]
    Header(#[from] InvalidHeader),
    #[error("{0}")]
    Name(ResolveFault),
    #[error("no answer within {}", span(*.0))]
    NoAnswer(Duration),
    #[error("no connection within {}", span(*.0))]
    NoConnection(Duration),
    #[error("connection refused")]
    Refused,
    #[error("the receiver's network can't be reached")]
    Unreachable,
    #[error("TLS: {0}")]
    Tls(&'static str),
    #[error("the connection was closed before an answer")]
    Closed,
    #[error("the answer's head is too large")]
    HeadTooLarge,
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("the request failed")]
    Other,
}

impl Fault {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Blocked => Outcome::Blocked,
            // The shaped request is kept, so that a retry would send the same header.
            Self::Header(_) => Outcome::Rejected,
            _ => Outcome::Retry,
        }
    }

    /// Whether there was a connection, so that the request may have gone over it.
    pub(super) const fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Closed | Self::HeadTooLarge | Self::NotHttp | Self::Other)
    }

    /// Reads the cause of a failed request.
    pub(super) fn of(error: &legacy::Error, connect_timeout: Duration) -> Self {
        if let Some(fault) = find::<ResolveFault>(error) {
            return match fault {
                ResolveFault::Forbidden(_) => Self::Blocked,
                other => Self::Name(*other),
            };
        }
        if let Some(error) = find::<rustls::Error>(error) {
            return Self::Tls(tls(error));
        }
        if find::<TooSlow>(error).is_some() {
            return Self::NoConnection(connect_timeout);
        }
        if let Some(error) = find::<hyper::Error>(error) {
            if error.is_parse_too_large() {
                return Self::HeadTooLarge;
            }
            if error.is_parse() {
                return Self::NotHttp;
            }
        }
        // Cancelled: it was closed before the request was written to it.
        let closed = find::<hyper::Error>(error)
            .is_some_and(|error| error.is_incomplete_message() || error.is_closed() || error.is_canceled());
        match causes(error).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind())) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => Self::Unreachable,
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => Self::Closed,
            _ if closed => Self::Closed,
            _ => Self::Other,
        }
    }
}

pub(crate) fn tls(error: &rustls::Error) -> &'static str {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Bad::Expired | Bad::ExpiredContext { .. } => "certificate expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "certificate not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "certificate is for another name",
            Bad::UnknownIssuer => "certificate of an unknown issuer",
            Bad::Revoked => "certificate revoked",
            _ => "certificate not accepted",
        },
        rustls::Error::PeerIncompatible(_) => "the receiver supports no version or cipher that is safe",
        rustls::Error::AlertReceived(_) => "the receiver broke off the handshake",
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS on this port",
        _ => "handshake failed",
    }
}

pub(crate) fn span(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// The error and all that caused it. An I/O error that wraps another one names that one's source as its own, which
/// would skip the wrapped error.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}
