//! What goes for every request of the admin listener: bounds on its body and on what is held of its answer.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use tower_service::Service as _;

use crate::accept::encoding;
use crate::config::MAX_PLUGIN_SIZE;
use crate::listen::{self, Budgets, Cut, From, Paced, Peer};
use crate::problem::Problem;

/// Handlers have their own bounds on bodies, and tell them. Nothing is read beyond this whatever they do.
const LARGEST: usize = 2 * MAX_PLUGIN_SIZE;

/// Has the router answer. It finds the connection, as an [`Arc`] of [`Peer`], among the request's extensions.
pub(super) async fn bounded(
    mut router: Router,
    budgets: Budgets,
    request: Request<Incoming>,
    from: From,
) -> Response {
    let From { peer, address } = from;
    if let Err(problem) = encoding(request.headers()) {
        return last(problem);
    }
    let cut: Arc<OnceLock<Cut>> = Arc::default();
    let (mut head, body) = request.into_parts();
    let (owner, bodies) = (Arc::clone(&peer), Arc::clone(&budgets.requests));
    let share = move || bodies.share(owner.tenant(), MAX_PLUGIN_SIZE);
    let body = Paced::new(&head.headers, body, LARGEST, share).noting(&cut);
    head.extensions.insert(ConnectInfo(address));
    head.extensions.insert(Arc::clone(&peer));
    // A router is always ready, and answers every request.
    let response = match router.call(Request::from_parts(head, Body::new(body))).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Some(cut) = cut.get() {
        return last((*cut).into());
    }
    held(response, &budgets, &peer).await
}

async fn held(response: Response, budgets: &Budgets, peer: &Peer) -> Response {
    let share = || budgets.answers.share(peer.tenant(), 0);
    listen::count(response, share)
        .await
        .unwrap_or_else(|over| Problem::answers(over).into_response().map(Body::new))
}

/// An answer after which the connection ends, since the rest of the request is not read.
fn last(problem: Problem) -> Response {
    let mut response = problem.into_response().map(Body::new);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
