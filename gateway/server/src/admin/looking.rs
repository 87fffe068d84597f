//! Who looks takes little from who sends: pages, lists and details are made on a thread of low priority, with a runtime of its
//! own, and so is what they ask of the journal. A large page takes milliseconds to be made, and where it had a core of the event path's
//! runtime, events would wait for so long.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::problem::Problem;

/// By how much it gives way: where both want a core, a thread with a nice value of 15 gets a thirtieth of what one at 0 gets.
const NICE: i32 = 15;

/// Answers that are made at once: each may hold a page of what the journal has.
const AT_ONCE: usize = 4;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// The runtime of those who look. It ends when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Looking {
    runtime: Handle,
    turns: Arc<Semaphore>,
    _end: Arc<DropGuard>,
}

impl Looking {
    pub(super) fn start() -> io::Result<Self> {
        let end = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_all().on_thread_start(give_way).build()?;
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let started =
            Self { runtime: runtime.handle().clone(), turns, _end: Arc::new(end.clone().drop_guard()) };
        thread::Builder::new().name("admin-reads".to_owned()).spawn(move || {
            give_way();
            runtime.block_on(end.cancelled());
            // A read of the journal that still runs has nobody who waits for it.
            runtime.shutdown_background();
        })?;
        Ok(started)
    }
}

/// Lowers the priority of this thread alone.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        debug!(target: "hookweir::admin", %error, "pages are made at the priority of all else");
    }
}

/// Has what only looks answered there. Whoever hangs up ends it.
pub(super) async fn apart(State(looking): State<Looking>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let turn = tokio::time::timeout(TURN, looking.turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        const BUSY: Problem =
            Problem::Unavailable { detail: "others are being answered; try again", retry_after: 2 };
        return IntoResponse::into_response(BUSY);
    };
    joined(AbortOnDropHandle::new(looking.runtime.spawn(next.run(request))).await)
}

/// The answer of a handler that ran in a task of its own. Its panic goes on here, where it ends the connection.
pub(super) fn joined(ended: Result<Response, JoinError>) -> Response {
    match ended {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => IntoResponse::into_response(Problem::Internal),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_gives_way_with_all_of_its_threads() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let looking = Looking::start().unwrap();
        assert_eq!(looking.runtime.spawn(async move { priority() }).await.unwrap(), NICE);
        assert_eq!(looking.runtime.spawn_blocking(priority).await.unwrap(), NICE);
        assert_ne!(priority(), NICE, "no other thread of the process");
    }
}
