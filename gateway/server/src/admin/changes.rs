//! What changes something goes on to its end, also where its caller hangs up: a handler that is dropped after it has written
//! to the journal would leave undone what follows from that, as telling the lanes that deliveries are due.
//!
//! Each such request is handled in a task of its own. Their number is bounded: where so many are under way, more wait, as
//! long as their callers do. The gateway's end waits for them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{Admin, looking};
use crate::live::Caller;
use crate::problem::Problem;

/// Changes at a time. A large recovery takes seconds, all others are soon done.
const AT_ONCE: usize = 32;
/// The largest body of a request that takes one of these places.
const BODY: usize = 2 << 20;

/// The changes under way.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Changes {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tasks: TaskTracker::new() }
    }
}

impl Changes {
    /// Completes when nothing is under way any more.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Has a request with a small body handled to its end. The body is read first: until it is whole nothing has begun.
pub(super) async fn to_the_end(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if Caller::from_request_parts(&mut parts, &admin).await.is_err() {
        // It is refused without its body, and takes no place.
        return next.run(Request::from_parts(parts, body)).await;
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response().map(Body::new),
    };
    let Ok(place) = Arc::clone(&admin.changes.places).acquire_owned().await else {
        return Problem::Internal.into_response().map(Body::new);
    };
    let change = next.run(Request::from_parts(parts, Body::from(body)));
    let handled = admin.changes.tasks.spawn(async move {
        let response = change.await;
        drop(place);
        response
    });
    looking::joined(handled.await)
}

/// Has an upload handled to its end. Its body is large and is read by the handler, which bounds their number
/// ([`Uploads`](super::Uploads)); it breaks off where the caller hangs up before it is whole.
pub(super) async fn upload(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    looking::joined(admin.changes.tasks.spawn(next.run(request)).await)
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::TooLarge(BODY)),
        // Where it came too slowly, that is what is answered ([`bounds`](super::bounds)).
        Err(_) => Err(Problem::Malformed("the request's body broke off".to_owned())),
    }
}
