//! Work that goes on for as long as the gateway does. A task that ends by a panic ends in silence: what it did, such as
//! removing old events or accepting connections, would never be done again, and nobody would be told. So it is told, and
//! the work begins again.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// How long what panicked waits before it begins again, so that one that always does costs little.
pub(crate) const AFTER_A_PANIC: Duration = Duration::from_secs(1);

/// Runs `work` until it ends by itself; after a panic it begins again, unless the gateway stops meanwhile.
pub(crate) async fn keep_on<F>(name: &'static str, stop: &CancellationToken, mut work: impl FnMut() -> F)
where
    F: Future<Output = ()>,
{
    // In the same task as the call that makes the future, so that a panic of either is caught.
    while let Err(panic) = AssertUnwindSafe(async { work().await }).catch_unwind().await {
        error!(
            target: "hookweir::process",
            task = name,
            reason = text(panic.as_ref()),
            "a task of the background panicked; it begins again"
        );
        tokio::select! {
            () = tokio::time::sleep(AFTER_A_PANIC) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The same in a task of its own.
pub(crate) fn spawn<F>(
    name: &'static str,
    stop: &CancellationToken,
    work: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tokio::spawn(async move { keep_on(name, &stop, work).await })
}

/// What a panic said.
pub(crate) fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("no reason is known")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn what_panics_begins_again_and_ends_where_it_ends_by_itself() {
        let stop = CancellationToken::new();
        let begun = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&begun);
        let task = spawn("test", &stop, move || {
            let begun = counted.fetch_add(1, Relaxed) + 1;
            assert!(begun != 1, "before there is anything to wait for");
            async move {
                tokio::task::yield_now().await;
                assert!(begun != 2, "after a wait");
            }
        });
        task.await.unwrap();
        assert_eq!(begun.load(Relaxed), 3);
    }

    #[tokio::test]
    async fn what_panics_while_the_gateway_stops_does_not_begin_again() {
        let stop = CancellationToken::new();
        let begun = Arc::new(AtomicU32::new(0));
        let (counted, stopping) = (Arc::clone(&begun), stop.clone());
        let task = spawn("test", &stop, move || {
            counted.fetch_add(1, Relaxed);
            stopping.cancel();
            async { panic!("at the end") }
        });
        task.await.unwrap();
        assert_eq!(begun.load(Relaxed), 1);
    }
}
