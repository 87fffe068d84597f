//! Requests that other programs on the way may read otherwise than we do are refused, not guessed at. What the HTTP
//! library refuses by itself (two lengths, obsolete folding, control characters, ...) is not repeated here.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Version};

use crate::problem::Problem;

/// The longest path with its query.
const MAX_TARGET: usize = 8 << 10;

pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    let wrong = |detail: &str| Err(Problem::Malformed(detail.to_owned()));
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        return wrong("give the path alone as the request's target; this is not a proxy");
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return wrong("the request's target is longer than 8 KiB");
    }
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return wrong("send exactly one Host header");
    }
    if let Some(detail) = ambiguous_length(headers) {
        return wrong(detail);
    }
    if headers.values().any(|value| value.as_bytes().iter().any(|byte| !byte.is_ascii())) {
        return wrong("header values are ASCII");
    }
    Ok(())
}

/// Why the end of the body can't be told beyond doubt.
fn ambiguous_length(headers: &HeaderMap) -> Option<&'static str> {
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    if codings.len() > 1 || codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Some("the only transfer coding is 'chunked', given once");
    }
    if !codings.is_empty() && headers.contains_key(CONTENT_LENGTH) {
        return Some("send Content-Length or Transfer-Encoding, not both");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> bool {
        check(&build(Request::builder().uri("/v1/x")).body(()).unwrap()).is_ok()
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        assert!(verdict(|r| r.header("host", "a")));
        assert!(verdict(|r| r.header("host", "a").header("transfer-encoding", "Chunked")));
        assert!(verdict(|r| r.version(Version::HTTP_10)));
        assert!(!verdict(|r| r), "no host");
        assert!(!verdict(|r| r.header("host", "a").header("host", "b")));
        assert!(!verdict(|r| r.header("host", "a").header("transfer-encoding", "cow, chunked")));
        assert!(!verdict(|r| r.header("host", "a").header("transfer-encoding", ",chunked")));
        assert!(!verdict(|r| {
            r.header("host", "a")
                .header("transfer-encoding", "chunked")
                .header("transfer-encoding", "chunked")
        }));
        assert!(!verdict(|r| r
            .header("host", "a")
            .header("transfer-encoding", "chunked")
            .header("content-length", "3")));
        assert!(!verdict(|r| r.header("host", "a").uri("http://other/v1/x")));
        assert!(!verdict(|r| r.header("host", "a").uri(format!("/{}", "a".repeat(MAX_TARGET)))));
        assert!(!verdict(|r| r.header("host", "a").header("x", "é")));
    }
}
