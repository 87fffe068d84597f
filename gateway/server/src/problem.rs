//! Errors as senders and tenants see them: `application/problem+json` of RFC 9457.
//!
//! Two audiences, two texts: what stands here goes outside and holds no address of the inside and no secret; the cause
//! chain goes to the log where the problem is made.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::api;
use crate::listen::{Cut, Over};
use crate::pull::Refused;

/// Seconds after which an event that had no room may be sent again.
const RETRY_WITHOUT_ROOM: u32 = 10;

/// Everything that a request can be refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// 400: what is wrong with it and what to send instead.
    Malformed(String),
    /// 401: there is no key, or it is not known.
    Unauthorized,
    /// 403: the key's role does not reach so far; which would.
    Forbidden(String),
    /// 403: a page of another origin asked, as far as the gateway can tell; which, and what to do.
    Origin(String),
    /// 404: it is not there, or it is another tenant's: the two can't be told apart from outside.
    NotFound(&'static str),
    /// 404 of one who may know what is there, with what to do.
    Missing(String),
    /// 405, with the methods that are allowed; `None`: the router names them.
    Method(Option<&'static str>),
    /// 408: the body came too slowly.
    TooSlow,
    /// 409: the id or key is taken by another event, or the state of things does not allow it.
    Conflict(String),
    /// 413, with the limit in bytes.
    TooLarge(usize),
    /// 415: what can be sent instead.
    MediaType(&'static str),
    /// 415: the body is compressed, or encoded otherwise.
    Encoding,
    /// 422: a component that can't be taken, and why.
    Unusable(String),
    /// 429: which quota of the tenant is used up, and the seconds after which to try again.
    Quota { detail: String, retry_after: u32 },
    /// 429 or 503: too many bytes of bodies are under way.
    Bodies(Over),
    /// 429: too many unknown keys came from there; the seconds after which to try again.
    Guesses { retry_after: u32 },
    /// 503: what is full, with figures.
    Full(String),
    /// 503, with the seconds after which to try again.
    Unavailable { detail: &'static str, retry_after: u32 },
    /// 500: a fault of the gateway; the log has the cause.
    Internal,
}

impl Problem {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Unusable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType(_) | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Quota { .. } | Self::Guesses { .. } | Self::Bodies(Over::Tenant) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Full(_) | Self::Unavailable { .. } | Self::Bodies(Over::All) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable name, used as the problem's type and as a metric's label.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Origin(_) => "origin",
            Self::NotFound(_) | Self::Missing(_) => "not-found",
            Self::Unusable(_) => "unusable-component",
            Self::Method(_) => "method-not-allowed",
            Self::TooSlow => "too-slow",
            Self::Conflict(_) => "conflict",
            Self::TooLarge(_) => "too-large",
            Self::MediaType(_) => "unsupported-media-type",
            Self::Encoding => "unsupported-encoding",
            Self::Quota { .. } | Self::Bodies(Over::Tenant) => "quota",
            Self::Guesses { .. } => "guesses",
            Self::Full(_) | Self::Unavailable { .. } | Self::Bodies(Over::All) => "unavailable",
            Self::Internal => "internal",
        }
    }

    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Malformed(detail)
            | Self::Conflict(detail)
            | Self::Forbidden(detail)
            | Self::Origin(detail)
            | Self::Missing(detail)
            | Self::Unusable(detail)
            | Self::Quota { detail, .. } => detail.clone(),
            Self::Full(why) => format!("the gateway has no room for events: {why}; try again later"),
            Self::Unauthorized => {
                "send 'Authorization: Bearer KEY' with a key that the gateway knows".to_owned()
            }
            Self::NotFound(what) => format!("there is no such {what}"),
            Self::Method(Some(allowed)) => format!("this resource takes {allowed}"),
            Self::Method(None) => "this resource takes other methods: see the header Allow".to_owned(),
            Self::TooSlow => "the request's body came too slowly: no byte for 30 s, less than 1 KiB a second on the \
                              whole, or not whole after 15 minutes"
                .to_owned(),
            Self::TooLarge(limit) => format!("the body is larger than the limit of {limit} bytes"),
            Self::MediaType(detail) | Self::Unavailable { detail, .. } => (*detail).to_owned(),
            Self::Bodies(Over::Tenant) => {
                "bodies of this tenant that are not whole yet take as much memory as they may: send fewer at a time, \
                 or faster"
                    .to_owned()
            }
            Self::Bodies(Over::All) => {
                "bodies that are not whole yet take as much memory as they may; try again".to_owned()
            }
            Self::Encoding => {
                "the body has a Content-Encoding, and is kept and signed as it comes: send it without compression"
                    .to_owned()
            }
            Self::Guesses { .. } => {
                "too many unknown keys came from this address; wait, and send one that the gateway knows"
                    .to_owned()
            }
            Self::Internal => "the gateway failed to handle the request; its log has the cause".to_owned(),
        }
    }

    /// Why an answer can't be held until its caller reads it.
    pub(crate) fn answers(over: Over) -> Self {
        match over {
            Over::Tenant => Self::Quota {
                detail: "answers to this tenant that were not read to their end yet take as much memory as they may: \
                         read them, or ask for less at a time"
                    .to_owned(),
                retry_after: 1,
            },
            Over::All => Self::Unavailable {
                detail: "answers that were not read to their end yet take as much memory as they may; try again",
                retry_after: 1,
            },
        }
    }

    /// Whether part of the request may be unread: then what follows on its connection can't be trusted.
    pub(crate) const fn leaves_body(&self) -> bool {
        matches!(
            self,
            Self::TooLarge(_) | Self::TooSlow | Self::Malformed(_) | Self::Encoding | Self::Bodies(_)
        )
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let body = api::Problem {
            kind: format!("urn:hookweir:problem:{}", self.name()),
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
        };
        let mut response = json(status, &body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Full(_) => {
                headers.insert(RETRY_AFTER, RETRY_WITHOUT_ROOM.into());
            }
            Self::Unavailable { retry_after, .. }
            | Self::Quota { retry_after, .. }
            | Self::Guesses { retry_after } => {
                headers.insert(RETRY_AFTER, retry_after.into());
            }
            Self::Bodies(_) => {
                headers.insert(RETRY_AFTER, 1_u32.into());
            }
            Self::Method(Some(allowed)) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Encoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<Cut> for Problem {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::TooLarge(limit) => Self::TooLarge(limit),
            Cut::TooSlow => Self::TooSlow,
            Cut::Broken => {
                Self::Malformed("the request's body broke off or is not framed as HTTP asks".to_owned())
            }
            Cut::Over(over) => Self::Bodies(over),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Journal(error) => error.into(),
            Refused::NoRoom(over) => Self::answers(over),
        }
    }
}

impl From<hookweir_journal::Error> for Problem {
    fn from(error: hookweir_journal::Error) -> Self {
        use hookweir_journal::Error;
        match error {
            Error::Full(why) => Self::Full(why),
            Error::Busy => Self::Unavailable { detail: "the gateway is busy; try again", retry_after: 1 },
            Error::NotFound(what) => Self::NotFound(what),
            Error::Unknown(cause) => {
                tracing::error!(
                    target: "hookweir::journal",
                    cause,
                    "the journal can't say whether a write is on disk"
                );
                Self::Unavailable {
                    detail: "the event may or may not have been kept; send it again",
                    retry_after: 5,
                }
            }
            Error::Corrupt(cause) => {
                tracing::error!(target: "hookweir::journal", cause, "the journal is damaged");
                Self::Unavailable {
                    detail: "what was asked for lies in a damaged part of the journal, which is being mended; try again",
                    retry_after: 5,
                }
            }
            Error::Failed(cause) => {
                tracing::error!(target: "hookweir::journal", cause, "the journal failed");
                Self::Internal
            }
        }
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    // Our own types hold no map with other keys than text and no type that fails to serialize.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_carry_their_headers() {
        let busy = Problem::Unavailable { detail: "busy", retry_after: 7 }.into_response();
        assert_eq!(busy.status(), 503);
        assert_eq!(busy.headers()["retry-after"], "7");
        assert_eq!(busy.headers()["content-type"], "application/problem+json");
        let full = Problem::Full("`journal.max_size` is 1".to_owned());
        assert!(full.detail().contains("`journal.max_size` is 1"), "{}", full.detail());
        assert_eq!(full.into_response().headers()["retry-after"], "10");
        assert_eq!(Problem::Unauthorized.into_response().headers()["www-authenticate"], "Bearer");
        assert_eq!(Problem::Method(Some("POST")).into_response().headers()["allow"], "POST");
    }
}
