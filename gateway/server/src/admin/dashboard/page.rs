//! Pages: templates that escape whatever is put into them, what stands on every page, and the headers that keep a page from
//! loading or running anything that is not from here.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};
use hookweir_model::TenantId;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use tracing::error;

use super::{session, text};
use crate::admin::Admin;
use crate::admin::access::{Reader, Session};
use crate::api;
use crate::live::Caller;
use crate::problem::Problem;
use crate::role::Role;

/// A page loads nothing from elsewhere, runs no script and no style that stands in it, and is in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../dashboard/templates/", $name)))),+]
    };
}

const TEMPLATES: [(&str, &str); 18] = templates![
    "layout.html",
    "parts.html",
    "figures.html",
    "pages.html",
    "overview.html",
    "tenant.html",
    "events.html",
    "event.html",
    "deliveries.html",
    "delivery.html",
    "endpoint.html",
    "plugin.html",
    "try.html",
    "login.html",
    "elsewhere.html",
    "problem.html",
    "rows.html",
    "trouble.html",
];

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(environment);

fn environment() -> Environment<'static> {
    let mut pages = Environment::new();
    // Names that end in .html are escaped, which is the library's default. What a template misnames is an error.
    pages.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    pages.set_trim_blocks(true);
    pages.set_lstrip_blocks(true);
    pages.add_filter("segment", |value: String| text::segment(&value));
    pages.add_filter("bytes", text::bytes);
    pages.add_filter("number", text::number);
    pages.add_filter("pretty", |value: String| text::pretty(&value));
    pages.add_filter("micros", text::micros);
    pages.add_filter("millis", text::millis);
    pages.add_filter("moment", |value: String| text::moment(&value));
    for (name, source) in TEMPLATES {
        if let Err(error) = pages.add_template(name, source) {
            error!(target: "hookweir::admin", name, %error, "a page can't be used");
        }
    }
    pages
}

/// What every page shows around its own content.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Frame {
    /// The tenant whose page it is.
    pub tenant: Option<TenantId>,
    /// Which entry of the navigation it belongs to.
    pub place: &'static str,
    /// Whether the viewer sees all tenants.
    pub all: bool,
    /// Whether there is a session to end.
    pub session: bool,
    /// What the viewer's role has no leave for: `reads` nothing but reading, `operates` not what plugins are; empty for all.
    pub role: &'static str,
    pub version: &'static str,
}

/// Who looks at a page.
#[derive(Debug)]
pub(super) struct Viewer {
    pub caller: Caller,
    session: bool,
}

impl FromRequestParts<Admin> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let session = matches!(session::session(parts, &admin.live.load())?, Session::Of(_));
        let Reader(caller) = Reader::from_request_parts(parts, admin).await?;
        Ok(Self { caller, session })
    }
}

impl Viewer {
    pub(super) fn frame(&self, tenant: Option<&TenantId>, place: &'static str) -> Frame {
        Frame {
            tenant: tenant.cloned(),
            place,
            all: self.caller.tenant.is_none(),
            session: self.session,
            role: match self.caller.role {
                Role::Send | Role::Read => "reads",
                Role::Operate => "operates",
                Role::Admin => "",
            },
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A page by its template's name.
pub(super) fn page(name: &str, content: impl Serialize) -> Result<Response, Problem> {
    let made = PAGES.get_template(name).and_then(|template| template.render(content));
    match made {
        Ok(html) => Ok(Html(html).into_response()),
        Err(error) => {
            error!(target: "hookweir::admin", name, %error, "a page could not be made");
            Err(Problem::Internal)
        }
    }
}

/// Sees to it that what a browser asked for is answered as a page, problems too, under the headers of all pages.
pub(super) async fn dress(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let from_elsewhere = from_elsewhere(request.headers());
    let has_cookie = session::has_cookie(request.headers());
    let mut response = next.run(request).await;
    if is_read && response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
    {
        response = problem(&admin, response, from_elsewhere, has_cookie).await;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), same_origin.clone());
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), same_origin);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a browser says that a page of another site, or of another port of this machine, asked for it.
fn from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// Whether an answer says that there is no known key.
const fn asks_for_a_key(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}

async fn problem(admin: &Admin, response: Response, from_elsewhere: bool, has_cookie: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let told = body.collect().await.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    let Some::<api::Problem>(told) = told else { return Problem::Internal.into_response().map(Body::new) };
    let frame = Frame {
        tenant: None,
        place: "",
        all: !asks_for_a_key(parts.status),
        session: has_cookie,
        role: "",
        version: env!("CARGO_PKG_VERSION"),
    };
    let name = match parts.status {
        // A browser that comes from another site's page has not shown its cookie: it may have one.
        StatusCode::UNAUTHORIZED if from_elsewhere => "elsewhere.html",
        // Whoever has the right token is let in, whatever was guessed from there before.
        status if asks_for_a_key(status) && admin.live.load().needs_token() => "login.html",
        _ => "problem.html",
    };
    match page(name, context! { frame, problem => told }) {
        Ok(page) => {
            let (head, body) = page.into_parts();
            parts.headers = head.headers;
            parts.headers.remove(WWW_AUTHENTICATE);
            Response::from_parts(parts, body)
        }
        Err(problem) => problem.into_response().map(Body::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_read() {
        for (name, source) in TEMPLATES {
            let mut pages = Environment::new();
            assert!(pages.add_template(name, source).is_ok(), "{name}");
            assert!(environment().get_template(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let problem = api::Problem {
            kind: "<i>".to_owned(),
            title: "<b>".to_owned(),
            status: 400,
            detail: "\"><script>alert(1)</script>".to_owned(),
        };
        let frame = Frame { tenant: None, place: "", all: true, session: false, role: "", version: "0" };
        let html = PAGES.get_template("problem.html").unwrap().render(context! { frame, problem }).unwrap();
        assert!(html.contains("&lt;b&gt;") && !html.contains("<script>alert"), "{html}");
    }
}
