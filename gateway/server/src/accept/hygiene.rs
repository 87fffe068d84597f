//! Requests that other programs on the way may read otherwise than we do are refused, not guessed at. What the HTTP
//! library refuses by itself (two lengths, obsolete folding, control characters, ...) is not repeated here.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Uri, Version};

use crate::problem::Problem;

/// The longest path with its query.
const MAX_TARGET: usize = 8 << 10;

pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    let wrong = |detail: &str| Err(Problem::Malformed(detail.to_owned()));
    if !is_for_this_listener(request.uri(), headers) {
        return wrong(
            "the request's target names another host than the Host header; this is not a proxy: give the path alone",
        );
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

/// Whether a target is a path, or a URL as proxies are sent it, whose host is that of the Host header.
fn is_for_this_listener(target: &Uri, headers: &HeaderMap) -> bool {
    let Some(authority) = target.authority() else { return true };
    let is_http = target.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    let host = headers.get(HOST).map(http::HeaderValue::as_bytes);
    is_http && host.is_none_or(|host| host.eq_ignore_ascii_case(authority.as_str().as_bytes()))
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
        assert!(!verdict(|r| r.header("host", "a").uri("http://a:81/v1/x")));
        assert!(!verdict(|r| r.header("host", "a").uri("http://user@a/v1/x")));
        assert!(!verdict(|r| r.header("host", "a").uri("ftp://a/v1/x")));
        assert!(!verdict(|r| r.header("host", "a:80").uri("a:80")), "the form that asks for a tunnel");
        assert!(verdict(|r| r.header("host", "A:81").uri("http://a:81/v1/x")));
        assert!(verdict(|r| r.header("host", "a").uri("https://a/v1/x")));
        assert!(verdict(|r| r.version(Version::HTTP_10).uri("http://a/v1/x")));
        assert!(!verdict(|r| r.header("host", "a").uri(format!("/{}", "a".repeat(MAX_TARGET)))));
        assert!(!verdict(|r| r.header("host", "a").header("x", "é")));
    }
}
