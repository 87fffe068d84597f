//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a condition may take to come true. Nothing is ever expected to take nearly that long; it only ends a test
/// that would hang.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// How long to let the gateway get on before the condition is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers, and gives back its answer. An error of the probe says what it saw instead; the last
/// one is part of the panic's message.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_by(DEADLINE, what, probe).await
}

/// The same, where it takes long by its nature.
pub async fn eventually_by<T>(
    deadline: Duration,
    what: &str,
    probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    match try_eventually(deadline, probe).await {
        Ok(value) => value,
        Err(seen) => panic!("waited {deadline:?} for {what}; last seen: {seen}"),
    }
}

/// The same, where something is to be done yet once the deadline is over. It asks once at least.
pub async fn try_eventually<T, E>(
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match probe().await {
            Err(_) if start.elapsed() < deadline => sleep(PAUSE).await,
            ended => return ended,
        }
    }
}

/// Awaits `future`, which must end within the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(DEADLINE, what, future).await
}

/// The same for what has thousands of things to do.
pub(crate) async fn within_time<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} for {what}"),
    }
}
