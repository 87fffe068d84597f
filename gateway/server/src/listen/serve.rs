//! Serving: a place for each connection, bounds on head and time, and an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connections::{Connections, Peer, Place};
use super::failures::{Failures, Tell};
use super::stream::Watched;
use super::{HEAD_TIME, LEAVE};
use crate::background;

/// Bytes of a head, all headers together.
const HEAD_SIZE: usize = 64 << 10;
/// Connections that have not ended this long after the listener was closed are cut.
const DRAIN: Duration = Duration::from_secs(5);
/// Bytes that the kernel keeps of what is written: few, so that an answer that is not read is seen soon, and one that is
/// read slowly is seen to move.
const SEND_BUFFER: u32 = 64 << 10;
/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// Listens on an address. Its connections inherit what is set here.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct From {
    pub peer: Arc<Peer>,
    pub address: SocketAddr,
}

/// Serves until `stop` and for [`LEAVE`] after it, then finishes the requests that are under way.
pub(crate) async fn serve<S, F, B>(
    name: &'static str,
    listener: TcpListener,
    connections: Arc<Connections>,
    answer: S,
    stop: CancellationToken,
) where
    S: Fn(Request<Incoming>, From) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_headers(100).max_buf_size(HEAD_SIZE);
    let left = async {
        stop.cancelled().await;
        tokio::time::sleep(LEAVE).await;
    };
    let accept = || accept(name, &listener, &connections, &answer, &http, &graceful);
    tokio::select! {
        () = background::keep_on(name, &stop, accept) => {}
        () = left => {}
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(target: "hookweir::listener", listener = name, "connections were cut");
    }
}

/// Accepts connections, each of them served in a task of its own.
async fn accept<S, F, B>(
    name: &'static str,
    listener: &TcpListener,
    connections: &Arc<Connections>,
    answer: &S,
    http: &http1::Builder,
    graceful: &GracefulShutdown,
) where
    S: Fn(Request<Incoming>, From) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut failures = Failures::default();
    loop {
        let Some((place, stream, address)) = next(name, listener, connections, &mut failures).await else {
            continue;
        };
        let from = From { peer: Arc::clone(&place.peer), address };
        let answer = answer.clone();
        let service = service_fn(move |request| handled(answer.clone(), request, from.clone()));
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(&place.peer)));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    debug!(target: "hookweir::listener", peer = %address, %error, "connection ended");
                },
                () = place.peer.evicted() => debug!(
                    target: "hookweir::listener",
                    peer = %address,
                    "connection gave way to another"
                ),
            }
            drop(place);
        });
    }
}

/// The next connection, with its place.
async fn next(
    name: &'static str,
    listener: &TcpListener,
    connections: &Arc<Connections>,
    failures: &mut Failures,
) -> Option<(Place, tokio::net::TcpStream, SocketAddr)> {
    let tell = |tell, error: Option<&io::Error>| match (tell, error) {
        (Tell::First, Some(error)) => {
            warn!(
                target: "hookweir::listener",
                listener = name,
                %error,
                "failed to accept a connection; more of these are counted"
            );
        }
        (Tell::More(count), _) => warn!(
            target: "hookweir::listener",
            listener = name,
            count,
            "failed to accept connections"
        ),
        _ => {}
    };
    match listener.accept().await {
        Ok((stream, address)) => {
            tell(failures.succeeded(Instant::now()), None);
            if let Err(error) = stream.set_nodelay(true) {
                debug!(target: "hookweir::listener", peer = %address, %error, "failed to set TCP_NODELAY");
            }
            Some((connections.admit().await, stream, address))
        }
        Err(error) => {
            let (told, pause) = failures.failed(Instant::now());
            tell(told, Some(&error));
            // Out of descriptors, mostly: connections that only wait give theirs back.
            connections.evict();
            tokio::time::sleep(pause).await;
            None
        }
    }
}

/// Answers a request, and keeps the connection's state.
async fn handled<S, F, B>(
    answer: S,
    request: Request<Incoming>,
    from: From,
) -> Result<Response<B>, Infallible>
where
    S: Fn(Request<Incoming>, From) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
{
    let peer = Arc::clone(&from.peer);
    peer.begins();
    let expects = request.headers().contains_key(EXPECT);
    let mut response = answer(request, from).await;
    // A body that was asked for and is refused is not read: the connection ends, and its caller is told.
    if expects && !response.status().is_success() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if response.body().size_hint().exact().is_some() {
        peer.answers();
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// What panics when it is cloned for the first time, as it is for each connection.
    struct PanicsOnce(Arc<AtomicBool>);

    impl Clone for PanicsOnce {
        fn clone(&self) -> Self {
            assert!(self.0.swap(true, Relaxed), "while a connection is accepted");
            Self(Arc::clone(&self.0))
        }
    }

    async fn asked(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_panic_while_a_connection_is_accepted_does_not_end_the_listener() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, panicked) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let panics = PanicsOnce(Arc::clone(&panicked));
        let answer = move |_: Request<Incoming>, _: From| {
            let _held = &panics;
            async { Response::new(Full::new(Bytes::from_static(b"here"))) }
        };
        let serving =
            tokio::spawn(serve("test", listener, Connections::new(8, 1 << 20), answer, stop.clone()));
        assert_eq!(asked(address).await.unwrap_or_default(), "", "its connection is lost");
        assert!(panicked.load(Relaxed));
        assert!(asked(address).await.unwrap().ends_with("here"), "the next one is served");
        stop.cancel();
        serving.await.unwrap();
    }
}
