//! Which headers a tenant or a plugin may add to a request.
//!
//! Everything that HTTP itself or the gateway owns is refused, so that nobody can move a message's end, forge its
//! signature, or name another receiver.

use thiserror::Error;

/// How many headers a request may be given.
pub const MAX_HEADERS: usize = 64;

/// How many bytes the names and values of those headers may have together.
pub const MAX_HEADER_BYTES: usize = 16 << 10;

/// How many bytes a content type may have. A short string of AMQP holds no more.
pub const MAX_CONTENT_TYPE: usize = 255;

/// The names that are refused, in lower case.
const OWNED: [&str; 18] = [
    // RabbitMQ reads where else a message goes from a header of these names.
    "bcc",
    "cc",
    "connection",
    // The body goes out as it was kept: nothing is encoded, so that nobody may say that it is.
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// Beginnings of names that are refused, in lower case. NATS takes what begins with its own name for an order, such as one
/// to remove what a stream holds.
const OWNED_PREFIXES: [&str; 6] = ["hookweir-", "nats-", "proxy-", "webhook-", "x-forwarded-", "x-ice-"];

/// A header can't be added to a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    #[error("{name:?} is not a header name: use letters, digits and !#$%&'*+-.^_`|~")]
    Name { name: String },
    #[error("the value of header {name:?} may only hold visible ASCII, spaces and tabs")]
    Value { name: String },
    #[error("header {name:?} is set by the gateway, by HTTP or by a broker and can't be given")]
    Owned { name: String },
    #[error(
        "header {name:?} can't be given: receivers behind CGI, WSGI or PHP read it as {owned:?}, which is set by the gateway, \
         by HTTP or by a broker"
    )]
    Alike { name: String, owned: String },
    #[error("header {name:?} is given twice")]
    Repeated { name: String },
    #[error("there are {count} headers; at most {MAX_HEADERS} may be given")]
    TooMany { count: usize },
    #[error("the headers have {bytes} bytes; at most {MAX_HEADER_BYTES} may be given")]
    TooLong { bytes: usize },
    #[error("the content type is empty")]
    NoContentType,
    #[error(
        "the content type {content_type:?} may only hold visible ASCII and spaces, and begin and end with no space"
    )]
    ContentType { content_type: String },
    #[error("the content type has {bytes} bytes; at most {MAX_CONTENT_TYPE} may be given")]
    LongContentType { bytes: usize },
}

/// Says whether one header may be added to a request.
pub fn check_header(name: &str, value: &str) -> Result<(), InvalidHeader> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(InvalidHeader::Name { name: shown(name) });
    }
    if !value.bytes().all(is_value_byte) {
        return Err(InvalidHeader::Value { name: shown(name) });
    }
    let folded = folded(name);
    if OWNED.contains(&folded.as_str()) || OWNED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix)) {
        let name = shown(name);
        return Err(if name.eq_ignore_ascii_case(&shown(&folded)) {
            InvalidHeader::Owned { name }
        } else {
            InvalidHeader::Alike { name, owned: shown(&folded) }
        });
    }
    Ok(())
}

/// A name as a receiver may read it: in environments of CGI, and in what follows them, case and the difference between `-`
/// and other signs are lost, so that `Webhook_Id` stands for `webhook-id`.
fn folded(name: &str) -> String {
    let fold = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}

/// Says whether this may be the content type of a request.
pub fn check_content_type(content_type: &str) -> Result<(), InvalidHeader> {
    if content_type.is_empty() {
        return Err(InvalidHeader::NoContentType);
    }
    if content_type.len() > MAX_CONTENT_TYPE {
        return Err(InvalidHeader::LongContentType { bytes: content_type.len() });
    }
    let fits = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if !content_type.bytes().all(fits) || content_type.trim() != content_type {
        return Err(InvalidHeader::ContentType { content_type: shown(content_type) });
    }
    Ok(())
}

/// Says whether all these headers may be added to one request.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), InvalidHeader> {
    if headers.len() > MAX_HEADERS {
        return Err(InvalidHeader::TooMany { count: headers.len() });
    }
    let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return Err(InvalidHeader::TooLong { bytes });
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        check_header(name, value)?;
        if headers.iter().take(index).any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            return Err(InvalidHeader::Repeated { name: shown(name) });
        }
    }
    Ok(())
}

/// A byte of an RFC 9110 token.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A byte that may stand in a value: no CR, LF or NUL, and none of the bytes over 127 that readers decode each in
/// their own way.
const fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' ' || byte == b'\t'
}

/// As much of a text as an error needs to show.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_pass() {
        for (name, value) in [
            ("x-team", "billing"),
            ("Authorization", "Bearer abc"),
            ("X-Trace", "a\tb c"),
            ("a", ""),
            ("!#$%&'*+-.^_`|~", "~!"),
            ("hookweir", "not the prefix"),
            ("forwarded-by", "not the name"),
            ("x_team", "billing"),
            ("webhook", "not the prefix"),
            ("my-webhook-id", "not at the beginning"),
            ("authorization_", "not the gateway's"),
        ] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_must_be_tokens() {
        for name in ["", "a b", "a:b", "a\r\nb", "a\0", "é", "x(y)", "\"q\"", "a/b", " a"] {
            assert!(matches!(check_header(name, "v"), Err(InvalidHeader::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn values_must_be_visible_ascii() {
        for value in ["a\r\nhost: b", "a\n", "a\rb", "a\0b", "\u{7f}", "é", "\u{1b}[31m"] {
            let refused = check_header("x-a", value);
            assert_eq!(refused, Err(InvalidHeader::Value { name: "x-a".to_owned() }), "{value:?}");
        }
    }

    #[test]
    fn owned_names_are_refused_in_any_case() {
        for name in [
            "Host",
            "content-length",
            "Content-Encoding",
            "Content-Type",
            "Transfer-Encoding",
            "CONNECTION",
            "keep-alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Forwarded",
            "Via",
            "User-Agent",
            "traceparent",
            "Proxy-Authorization",
            "X-Forwarded-For",
            "webhook-id",
            "Webhook-Signature",
            "hookweir-attempt",
            "X-ICE-SIGNATURE",
            "Nats-Rollup",
            "CC",
        ] {
            let refused = check_header(name, "v");
            assert_eq!(refused, Err(InvalidHeader::Owned { name: name.to_owned() }), "{name}");
        }
    }

    #[test]
    fn names_that_receivers_read_as_owned_ones_are_refused() {
        for (name, owned) in [
            ("webhook_id", "webhook-id"),
            ("Webhook_Timestamp", "webhook-timestamp"),
            ("WEBHOOK_SIGNATURE", "webhook-signature"),
            ("webhook.id", "webhook-id"),
            ("webhook~id", "webhook-id"),
            ("content_length", "content-length"),
            ("Content_Type", "content-type"),
            ("transfer_encoding", "transfer-encoding"),
            ("x_forwarded_for", "x-forwarded-for"),
            ("x-forwarded_proto", "x-forwarded-proto"),
            ("User_Agent", "user-agent"),
            ("keep_alive", "keep-alive"),
            ("proxy_authorization", "proxy-authorization"),
            ("hookweir_attempt", "hookweir-attempt"),
            ("x_ice_signature", "x-ice-signature"),
            ("nats_rollup", "nats-rollup"),
        ] {
            let refused = InvalidHeader::Alike { name: name.to_owned(), owned: owned.to_owned() };
            assert_eq!(check_header(name, "v"), Err(refused), "{name}");
        }
    }

    #[test]
    fn a_content_type_is_a_short_line_of_visible_ascii() {
        let longest = format!("a/{}", "b".repeat(MAX_CONTENT_TYPE - 2));
        for content_type in ["application/json", "text/plain; charset=utf-8", "x", longest.as_str()] {
            assert_eq!(check_content_type(content_type), Ok(()), "{content_type}");
        }
        for content_type in ["a/b\r\nhost: x", "a/b\n", "a\tb", "é/x", " a/b", "a/b ", " ", "a/\u{7f}"] {
            let refused = InvalidHeader::ContentType { content_type: content_type.to_owned() };
            assert_eq!(check_content_type(content_type), Err(refused));
        }
        assert_eq!(check_content_type(""), Err(InvalidHeader::NoContentType));
        let bytes = MAX_CONTENT_TYPE + 1;
        let long = check_content_type(&(longest + "b"));
        assert_eq!(long, Err(InvalidHeader::LongContentType { bytes }));
    }

    #[test]
    fn lists_are_bounded_and_hold_no_name_twice() {
        let list = |count: usize, value: &str| -> Vec<(String, String)> {
            (0..count).map(|index| (format!("x-{index}"), value.to_owned())).collect()
        };
        assert_eq!(check_headers(&list(MAX_HEADERS, "v")), Ok(()));
        assert_eq!(
            check_headers(&list(MAX_HEADERS + 1, "v")),
            Err(InvalidHeader::TooMany { count: MAX_HEADERS + 1 })
        );
        let full = "v".repeat(MAX_HEADER_BYTES - "x-0".len());
        assert_eq!(check_headers(&list(1, &full)), Ok(()));
        assert_eq!(
            check_headers(&list(1, &(full + "v"))),
            Err(InvalidHeader::TooLong { bytes: MAX_HEADER_BYTES + 1 })
        );
        let twice = [("x-a".to_owned(), "1".to_owned()), ("X-A".to_owned(), "2".to_owned())];
        assert_eq!(check_headers(&twice), Err(InvalidHeader::Repeated { name: "X-A".to_owned() }));
        let second_bad = [("x-a".to_owned(), "1".to_owned()), ("host".to_owned(), "b".to_owned())];
        assert_eq!(check_headers(&second_bad), Err(InvalidHeader::Owned { name: "host".to_owned() }));
    }

    #[test]
    fn errors_show_no_more_than_the_start_of_a_long_name() {
        let error = check_header(&"é".repeat(5_000), "v").unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
