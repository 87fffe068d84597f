//! Connections: a permit before each, bounds on head and time, and an orderly end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Accept;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 10_000;
/// A head must be whole by then, and a connection may be idle that long.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// Bytes of a head, all headers together.
const HEAD_SIZE: usize = 64 << 10;
/// Connections that have not ended this long after the stop are cut.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop`, then finishes the requests that are under way.
pub(crate) async fn serve(listener: TcpListener, accept: Arc<Accept>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_headers(100).max_buf_size(HEAD_SIZE);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: other connections must end first.
                    warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "failed to set TCP_NODELAY");
        }
        let accept = Arc::clone(&accept);
        let service = service_fn(move |request| {
            let accept = Arc::clone(&accept);
            async move { Ok::<_, Infallible>(accept.handle(request).await) }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%peer, %error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!("senders' connections were cut");
    }
}
