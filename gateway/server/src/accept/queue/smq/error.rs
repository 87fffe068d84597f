//! What a request in SMQ's protocol is refused for, under the codes that its SDKs know.

use http::StatusCode;

use crate::listen::Over;
use crate::problem::Problem;
use crate::pull::Refused;

/// A refusal: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// Whether the request's body may be unread.
    pub leaves_body: bool,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), leaves_body: false }
    }

    /// The same, of a request whose body was not read to its end.
    pub(super) fn before_the_body(self) -> Self {
        Self { leaves_body: true, ..self }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    pub(super) fn malformed_xml(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedXML", message)
    }

    /// SMQ's documents spell it so.
    pub(super) fn digest() -> Self {
        let message = "Content-MD5 is not the digest of the body that came";
        Self::new(StatusCode::BAD_REQUEST, "InvalidDegist", message)
    }

    pub(super) fn url() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestURL", "there is no such operation on queues")
    }

    pub(super) fn query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidQueryString", message)
    }

    pub(super) fn no_authorization() -> Self {
        let message = "send 'Authorization: MNS AccessKeyId:Signature'";
        Self::new(StatusCode::BAD_REQUEST, "MissingAuthorizationHeader", message)
    }

    pub(super) fn bad_authorization() -> Self {
        let message = "the Authorization header is not of the form 'MNS AccessKeyId:Signature'";
        Self::new(StatusCode::BAD_REQUEST, "InvalidAuthorizationHeader", message)
    }

    pub(super) fn no_date() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MissingDateHeader", "send a Date or x-mns-date header")
    }

    pub(super) fn bad_date() -> Self {
        let message = "the date is not of the form 'Thu, 31 Jul 2025 12:00:00 GMT'";
        Self::new(StatusCode::BAD_REQUEST, "InvalidDateHeader", message)
    }

    pub(super) fn expired() -> Self {
        let message = "the date is more than 15 minutes away from the gateway's clock";
        Self::new(StatusCode::REQUEST_TIMEOUT, "TimeExpired", message)
    }

    pub(super) fn unknown_id() -> Self {
        Self::new(StatusCode::FORBIDDEN, "InvalidAccessKeyId", "the gateway knows no such access key")
    }

    pub(super) fn signature() -> Self {
        let message = "the signature is not the one that the gateway computes with the access key's secret";
        Self::new(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub(super) fn no_queue() -> Self {
        Self::new(StatusCode::NOT_FOUND, "QueueNotExist", "there is no such queue for this access key")
    }

    pub(super) fn no_message() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MessageNotExist", "there is no such message")
    }

    pub(super) fn receipt(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ReceiptHandleError", message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request is larger than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "InvalidArgument", message).before_the_body()
    }

    pub(super) fn too_slow() -> Self {
        let message = "the request's body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "InvalidArgument", message).before_the_body()
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::internal(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn no_room(over: Over) -> Self {
        Self::busy(Problem::answers(over).detail())
    }

    fn internal(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "InternalServerError", message)
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Journal(error) => error.into(),
            Refused::NoRoom(over) => Self::no_room(over),
        }
    }
}

impl From<hookweir_journal::Error> for Fault {
    fn from(error: hookweir_journal::Error) -> Self {
        use hookweir_journal::Error;
        let busy = |message: &str| Self::internal(StatusCode::SERVICE_UNAVAILABLE, message);
        match error {
            Error::Full(why) => busy(&format!("the gateway has no room: {why}; try again later")),
            Error::Busy => busy("the gateway is busy; try again"),
            Error::NotFound(_) => Self::no_message(),
            Error::Unknown(cause) => {
                tracing::error!(
                    target: "hookweir::journal",
                    cause,
                    "the journal can't say whether a write is on disk"
                );
                busy("the gateway can't say whether this was done; try again")
            }
            Error::Corrupt(cause) | Error::Failed(cause) => {
                tracing::error!(target: "hookweir::journal", cause, "the journal failed");
                Self::internal(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed to handle the request")
            }
        }
    }
}
