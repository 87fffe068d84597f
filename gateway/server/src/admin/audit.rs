//! A line in the log for every request that would change something: who, what, and how it ended.

use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tracing::info;

use super::Admin;
use super::access::Scope;

/// Lets the request through and writes its line, also where it was refused.
pub(super) async fn audit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = caller(&mut parts, &admin).await;
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status().as_u16();
    info!(target: "hookweir::audit", caller, %method, path, status, "steered");
    response
}

/// By whose leave a request comes, in a word; a token that nobody has is not repeated.
async fn caller(parts: &mut Parts, admin: &Admin) -> String {
    match Scope::from_request_parts(parts, admin).await {
        Ok(Scope::Everything) if parts.headers.contains_key(AUTHORIZATION) => "admin".to_owned(),
        Ok(Scope::Everything) => "local".to_owned(),
        Ok(Scope::Tenant(tenant)) => format!("tenant {tenant}"),
        Err(_) => "nobody".to_owned(),
    }
}
