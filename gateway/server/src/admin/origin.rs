//! Which page a browser's request comes from, and whether that is one of this listener.
//!
//! A page can't leave its origin out, nor name another. What the listener is called by those who open it is told by `Host`,
//! which a proxy must pass on, or by the configuration.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use url::{Origin, Url};

use crate::problem::Problem;

/// How much of a header a problem repeats.
const SHOWN: usize = 200;

/// Refuses what a page of another origin sent. `configured` is that of the proxy before this listener.
pub(super) fn check(parts: &Parts, configured: Option<&Origin>) -> Result<(), Problem> {
    let host = text(&parts.headers, HOST).unwrap_or_default();
    if let Some(origin) = text(&parts.headers, ORIGIN)
        && !is_own(origin, host, configured)
    {
        return Err(Problem::Origin(foreign(origin, host)));
    }
    match text(&parts.headers, HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => Ok(()),
        // A page of another site has shown no key.
        Some(_) => Err(Problem::Unauthorized),
    }
}

/// The same for what only a page of this listener may ask for, which has to name itself.
#[cfg_attr(not(feature = "dashboard"), expect(dead_code, reason = "pages alone have sessions"))]
pub(super) fn check_named(parts: &Parts, configured: Option<&Origin>) -> Result<(), Problem> {
    if parts.headers.contains_key(ORIGIN) {
        return check(parts, configured);
    }
    let detail = "the request does not say which page it comes from: with the cookie of a session, what changes \
                  something takes the header Origin; a program sends 'Authorization: Bearer KEY' instead";
    Err(Problem::Origin(detail.to_owned()))
}

/// Refuses a request without a key that was addressed to a name which is not this machine's own: a page may have given it.
pub(super) fn check_local(headers: &HeaderMap) -> Result<(), Problem> {
    let host = text(headers, HOST).unwrap_or_default();
    let authority = host.parse::<http::uri::Authority>().ok();
    let is_local = authority.is_some_and(|authority| {
        let name = authority.host();
        name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
    });
    if is_local {
        return Ok(());
    }
    Err(Problem::Origin(format!(
        "this listener has no token, so that it answers by its address or as localhost alone, and was asked as {}: set \
         admin.token",
        shown(host)
    )))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Whether a page's origin is the listener's: by the name that it was asked by, the port being the scheme's where none is
/// written, or by the one of the configuration.
fn is_own(origin: &str, host: &str, configured: Option<&Origin>) -> bool {
    let Some(page) = parse(origin) else { return false };
    let scheme = origin.split_once(':').map_or("http", |(scheme, _)| scheme);
    configured == Some(&page) || parse(&format!("{scheme}://{host}")).is_some_and(|own| own == page)
}

/// An origin as it is written: scheme, name and port, and nothing else.
pub(crate) fn parse(text: &str) -> Option<Origin> {
    let url = Url::parse(text).ok()?;
    let (_, authority) = text.split_once("://")?;
    let is_bare = !authority.contains(['/', '?', '#', '@', '\\']) && url.host().is_some();
    (matches!(url.scheme(), "http" | "https") && is_bare).then(|| url.origin())
}

fn foreign(origin: &str, host: &str) -> String {
    format!(
        "the page came from {}, and this listener was asked as {}: let the proxy pass Host with its port, or set \
         admin.origin",
        shown(origin),
        shown(host)
    )
}

fn shown(header: &str) -> String {
    match header.char_indices().nth(SHOWN) {
        None if header.is_empty() => "nothing".to_owned(),
        None => header.to_owned(),
        Some((end, _)) => format!("{}...", &header[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn origins_are_compared_as_browsers_do() {
        let configured = parse("https://ops.example.com");
        for (origin, host, own) in [
            ("http://127.0.0.1:9080", "127.0.0.1:9080", true),
            ("http://[::1]:9080", "[::1]:9080", true),
            ("https://hooks.example.com", "hooks.example.com", true),
            ("https://hooks.example.com", "Hooks.Example.com:443", true),
            ("http://hooks.example.com", "hooks.example.com:80", true),
            ("https://hooks.example.com:8443", "hooks.example.com:8443", true),
            ("https://ops.example.com", "10.0.0.5:9080", true),
            ("https://ops.example.com", "", true),
            ("http://ops.example.com", "10.0.0.5:9080", false),
            ("https://ops.example.com:8443", "10.0.0.5:9080", false),
            ("https://hooks.example.com:8443", "hooks.example.com", false),
            ("https://hooks.example.com", "hooks.example.com:80", false),
            ("http://127.0.0.1:8000", "127.0.0.1:9080", false),
            ("http://localhost:9080", "127.0.0.1:9080", false),
            ("https://evil.example.com", "127.0.0.1:9080", false),
            ("https://evil.example.com", "evil.example.com@127.0.0.1:9080", false),
            ("https://evil.example.com", "evil.example.com/", false),
            ("null", "127.0.0.1:9080", false),
            ("", "", false),
            ("file://", "", false),
        ] {
            assert_eq!(is_own(origin, host, configured.as_ref()), own, "{origin:?} at {host:?}");
        }
        assert!(!is_own("https://ops.example.com", "10.0.0.5:9080", None));
    }

    #[test]
    fn a_page_of_another_origin_hears_which_and_another_site_has_no_key() {
        let own = ("host", "127.0.0.1:9080");
        let other = ("origin", "http://127.0.0.1:8000");
        for (headers, status) in [
            (&[own][..], None),
            (&[own, ("origin", "http://127.0.0.1:9080"), ("sec-fetch-site", "same-origin")], None),
            (&[own, ("sec-fetch-site", "none")], None),
            (&[own, other], Some(403)),
            (&[own, other, ("sec-fetch-site", "same-site")], Some(403)),
            (&[own, ("origin", "null")], Some(403)),
            (&[own, ("sec-fetch-site", "cross-site")], Some(401)),
            (&[own, ("sec-fetch-site", "same-site")], Some(401)),
        ] {
            let refused = check(&parts(headers), None).err();
            assert_eq!(refused.map(|problem| problem.status().as_u16()), status, "{headers:?}");
        }
        let detail = check(&parts(&[own, other]), None).unwrap_err().detail();
        assert!(detail.starts_with(
            "the page came from http://127.0.0.1:8000, and this listener was asked as 127.0.0.1:9080: "
        ));
        let long = "x".repeat(1000);
        assert!(foreign(&long, "").len() < 400);
    }

    #[test]
    fn only_local_hosts_do_without_a_token() {
        for (host, local) in [
            ("127.0.0.1:9080", true),
            ("localhost", true),
            ("localhost:9080", true),
            ("[::1]:9080", true),
            ("rebound.example.com:9080", false),
            ("localhost.example.com", false),
            ("", false),
        ] {
            assert_eq!(check_local(&parts(&[("host", host)]).headers).is_ok(), local, "{host:?}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_name_and_a_port() {
        for (text, good) in [
            ("https://ops.example.com", true),
            ("http://10.0.0.5:9080", true),
            ("https://ops.example.com/", false),
            ("https://ops.example.com/hooks", false),
            ("https://user@ops.example.com", false),
            ("ops.example.com", false),
            ("ftp://ops.example.com", false),
            ("null", false),
        ] {
            assert_eq!(parse(text).is_some(), good, "{text}");
        }
    }
}
