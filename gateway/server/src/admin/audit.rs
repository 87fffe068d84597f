//! A line in the log for every request that would change something: who, what, and how it ended.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use tracing::info;

use super::Admin;
use crate::accept::bearer;
use crate::live::{Caller, Live};

/// Lets the request through and writes its line, also where it was refused.
pub(super) async fn audit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let caller = caller(&admin.live.load(), request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    info!(target: "hookweir::audit", caller, %method, path, status, "steered");
    response
}

/// By whose token a request comes, in a word; a token that nobody has is not repeated.
fn caller(live: &Live, headers: &HeaderMap) -> String {
    match headers.get(AUTHORIZATION).map(|value| value.to_str().ok().and_then(bearer)) {
        None if live.needs_token() => "nobody".to_owned(),
        None => "local".to_owned(),
        Some(token) => match token.and_then(|token| live.caller(token)) {
            Some(Caller::Admin) => "admin".to_owned(),
            Some(Caller::Tenant(tenant)) => format!("tenant {tenant}"),
            None => "nobody".to_owned(),
        },
    }
}
