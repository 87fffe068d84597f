//! Logging in with a browser: the token goes into a cookie that no script reads and no other site's page sends.
//!
//! Nothing is kept on this side: the cookie holds the token itself, so a token that the configuration no longer has ends its
//! sessions too.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use url::Origin;

use crate::admin::Admin;
use crate::admin::access::{Session, known};
use crate::admin::origin;
use crate::live::Live;
use crate::problem::Problem;
use crate::role::Action;

const NAME: &str = "hookweir-session";
/// A session ends with the browser's, and after this many seconds.
const LIFE: u32 = 12 * 60 * 60;
/// The form of the login page, with its token, is no larger.
const MOST: usize = 16 << 10;

/// Who has logged in with the browser that sent this; none where the request has a bearer token of its own.
pub(in crate::admin) fn session(parts: &Parts, live: &Live) -> Result<Session, Problem> {
    if parts.headers.contains_key(AUTHORIZATION) {
        return Ok(Session::None);
    }
    let mut cookies = tokens(&parts.headers).peekable();
    if cookies.peek().is_none() {
        return Ok(Session::None);
    }
    let Some(caller) = cookies.find_map(|token| live.caller(&token).cloned()) else {
        return Ok(Session::Unknown);
    };
    may_use(parts, live.config.admin.origin.as_ref())?;
    Ok(Session::Of(caller))
}

/// Refuses a request that may not use a session. A browser adds the cookie to whatever goes to this machine, from its other
/// ports too: what may change something has to name this listener as its origin, and nothing may name another.
fn may_use(parts: &Parts, configured: Option<&Origin>) -> Result<(), Problem> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if reads { origin::check(parts, configured) } else { origin::check_named(parts, configured) }
}

/// The tokens of a request's cookies. They are in base64, since a token may have signs that a cookie may not.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let token = (name == NAME).then(|| URL_SAFE_NO_PAD.decode(value).ok())??;
        String::from_utf8(token).ok()
    })
}

/// Whether a request has a session's cookie, good or not: then there is something to log out of.
pub(super) fn has_cookie(headers: &HeaderMap) -> bool {
    tokens(headers).next().is_some()
}

/// Takes the form of the login page.
pub(super) async fn login(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    sent_by_own_page(&parts, &admin)?;
    let refused = |_| Problem::Malformed("send the form of the login page".to_owned());
    let body: Bytes = Limited::new(body, MOST).collect().await.map_err(refused)?.to_bytes();
    let token = url::form_urlencoded::parse(&body).find(|(name, _)| name == "token").map(|(_, token)| token);
    let token =
        token.as_deref().map(str::trim).filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    let token = token.filter(|token| !token.is_empty()).ok_or(Problem::Unauthorized)?;
    // It is judged as a bearer token is, by all that goes for those.
    let value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Problem::Unauthorized)?;
    known(&parts, &admin, &value)?.may(Action::Read)?;
    let is_secure = parts.headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
    Ok(home(&cookie(token, LIFE, is_secure)))
}

/// Ends a session by taking the cookie back.
pub(super) async fn logout(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    sent_by_own_page(&parts, &admin)?;
    Ok(home(&cookie("", 0, false)))
}

fn sent_by_own_page(parts: &Parts, admin: &Admin) -> Result<(), Problem> {
    is_of_own_page(parts, admin.live.load().config.admin.origin.as_ref())
}

/// Refuses what no page of this listener sent. A page that tells no referrer sends a form under the origin `null`: there
/// only what the browser itself says of the sender counts.
fn is_of_own_page(parts: &Parts, configured: Option<&Origin>) -> Result<(), Problem> {
    let is = |name: &str, wanted: &str| parts.headers.get(name).is_some_and(|value| value == wanted);
    let by_browser = is("sec-fetch-site", "same-origin") && is("origin", "null");
    if by_browser { Ok(()) } else { origin::check_named(parts, configured) }
}

fn cookie(token: &str, life: u32, is_secure: bool) -> String {
    let value = URL_SAFE_NO_PAD.encode(token);
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{NAME}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
}

/// To the overview, with a cookie.
fn home(cookie: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).header("host", "127.0.0.1:9080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_cookie_carries_any_token_and_reads_back() {
        let token = r#"a;b=c,"d\e/+f"#;
        let set = cookie(token, LIFE, false);
        let text = format!("theme=dark; {}; other=1", set.split(';').next().unwrap());
        assert_eq!(tokens(&parts("GET", &[("cookie", &text)]).headers).collect::<Vec<_>>(), [token]);
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(set.contains(attribute), "{set}");
        }
        assert!(cookie(token, LIFE, true).ends_with("; Secure"));
    }

    #[test]
    fn a_session_changes_something_only_for_a_page_of_this_listener() {
        for (method, origin, may) in [
            ("GET", None, true),
            ("GET", Some("http://127.0.0.1:9080"), true),
            ("GET", Some("http://127.0.0.1:8000"), false),
            ("POST", Some("http://127.0.0.1:9080"), true),
            ("POST", Some("http://127.0.0.1:8000"), false),
            ("POST", Some("null"), false),
            ("POST", None, false),
            ("PUT", None, false),
        ] {
            let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
            assert_eq!(may_use(&parts(method, &headers), None).is_ok(), may, "{method} {origin:?}");
        }
    }

    #[test]
    fn only_own_pages_log_in_and_out() {
        for (headers, own) in [
            (&[("origin", "http://127.0.0.1:9080")][..], true),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://127.0.0.1:8000")], false),
            (&[("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-site")], false),
            (&[], false),
        ] {
            assert_eq!(is_of_own_page(&parts("POST", headers), None).is_ok(), own, "{headers:?}");
        }
    }
}
