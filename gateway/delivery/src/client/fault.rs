//! Why there is no answer, told from the types of an error and never from its text.
//!
//! The sentences are for the tenant: they name no address and no server of the inside.

use std::error::Error;
use std::io;
use std::time::Duration;

use hookweir_model::{InvalidHeader, Outcome};
use rustls::{CertificateError, OtherError};
use thiserror::Error;

use crate::network::NoConnection;
use crate::resolve::ResolveFault;
use crate::tls::Distrust;

/// An attempt that ended without an answer.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// Nothing was sent: what the request was made by is no longer in force.
    #[error("the configuration was changed before the request was sent")]
    Superseded,
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

    /// Reads why there is no connection within the time that it may take.
    pub(crate) fn of_connection(error: &NoConnection, limit: Duration) -> Self {
        match error {
            NoConnection::Forbidden => Self::Blocked,
            NoConnection::Name(fault) => Self::Name(*fault),
            NoConnection::Slow => Self::NoConnection(limit),
            NoConnection::Tls(error) => Self::Tls(tls(error)),
            NoConnection::Io(error) => Self::of_io(error),
            NoConnection::Unreached(unreached) => match unreached.last_error() {
                Some(error) if !unreached.has_silent() => Self::of_io(error),
                _ => Self::NoConnection(limit),
            },
        }
    }

    /// Reads the cause of a request that failed on a connection.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::HeadTooLarge;
        }
        if error.is_parse() {
            return Self::NotHttp;
        }
        // Cancelled: it was closed before the request was written to it.
        let closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        match find::<io::Error>(error) {
            Some(error) => Self::of_io(error),
            None if closed => Self::Closed,
            None => Self::Other,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Closed,
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
            Bad::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                "certificate names no host (it has no subjectAltName)"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "certificate is for another name",
            Bad::UnknownIssuer => {
                "certificate of an unknown issuer; does the receiver send its intermediate certificates?"
            }
            Bad::Revoked => "certificate revoked",
            Bad::Other(OtherError(error)) => match error.downcast_ref::<Distrust>() {
                Some(Distrust::NoAuthority) => {
                    "this gateway trusts no certificate authority: install ca-certificates on its machine, or set `ca`"
                }
                Some(Distrust::SelfSigned) => {
                    "certificate is self-signed: trust it by `ca`, or have an authority sign one"
                }
                Some(Distrust::Authority) => {
                    "certificate is an authority's own (CA:TRUE): a server needs one that the authority has signed for it"
                }
                None => "certificate not accepted",
            },
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
