//! A line in the log for every request that would change something: who, what, and how it ended.

use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::request::Parts;
use tracing::info;

use super::Admin;
use crate::live::Caller;

/// Lets the request through and writes its line, also where it was refused.
pub(super) async fn audit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let (caller, role) = caller(&mut parts, &admin).await;
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let mut line = Line { caller, role, method, path, status: None };
    let response = next.run(Request::from_parts(parts, body)).await;
    line.status = Some(response.status().as_u16());
    response
}

/// Is written when it is dropped: also where the caller has hung up before there was an answer.
struct Line {
    caller: String,
    role: Option<&'static str>,
    method: Method,
    path: String,
    status: Option<u16>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { caller, role, method, path, status } = self;
        info!(target: "hookweir::audit", caller, role, %method, path, status, "steered");
    }
}

/// By whose leave a request comes, in a word, and the key's role; a token that nobody has is not repeated.
async fn caller(parts: &mut Parts, admin: &Admin) -> (String, Option<&'static str>) {
    let needs_token = admin.live.load().needs_token();
    match Caller::from_request_parts(parts, admin).await {
        Ok(Caller { tenant: Some(tenant), role }) => (format!("tenant {tenant}"), Some(role.as_str())),
        Ok(Caller { tenant: None, role }) if needs_token => ("operator".to_owned(), Some(role.as_str())),
        Ok(_) => ("local".to_owned(), None),
        Err(_) => ("nobody".to_owned(), None),
    }
}
