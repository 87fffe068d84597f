//! A receiver: a real HTTP server on loopback that answers by a script and keeps what it was sent.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, interval, sleep};

use crate::eventually::within;
use crate::port::Port;

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers with this status and no body.
    Status(u16),
    /// Answers with this status, these headers and this body.
    Whole(u16, Vec<(&'static str, String)>, Bytes),
    /// Answers with this status and no body, and takes this long for it.
    Slow(Duration, u16),
    /// Never answers, and keeps the connection open.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Answers with this status and a body that never ends, one byte at a time.
    Drip(u16),
    /// Answers with this status once the gate is opened.
    Once(watch::Receiver<bool>, u16),
}

/// What the receiver was sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its head had come in.
    pub at: Instant,
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How many requests had come in and were not answered yet, this one included.
    pub in_flight: usize,
}

impl Request {
    /// A header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("no header {name} in {self:?}"))
    }

    /// The id of the event that it carries.
    pub fn event(&self) -> &str {
        self.header("webhook-id")
    }
}

type Script = Arc<dyn Fn(usize, &Request) -> Reply + Send + Sync>;

pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    /// Whether requests are kept once they were replied to.
    keeps: bool,
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
}

impl Receiver {
    /// A receiver that asks `script` for its reply to the nth request, from 1.
    pub async fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening(
            TcpListener::bind("127.0.0.1:0").await.expect("a port for the receiver"),
            true,
            script,
        )
    }

    /// The same, which keeps no request: for more of them than memory has room for. Its script sees each.
    pub async fn forgetful(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening(
            TcpListener::bind("127.0.0.1:0").await.expect("a port for the receiver"),
            false,
            script,
        )
    }

    /// The same at every address that the machine has and will have, not on loopback alone.
    pub async fn everywhere(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening(TcpListener::bind("0.0.0.0:0").await.expect("a port for the receiver"), true, script)
    }

    /// The same, at a port that refused connections so far.
    pub fn at(port: Port, script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening(port.listen(), true, script)
    }

    fn listening(
        listener: TcpListener,
        keeps: bool,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("the address of the receiver");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            keeps,
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// A receiver that always replies the same.
    pub async fn always(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    /// A receiver that goes through `replies`, one a request, and stays with the last.
    pub async fn sequence(replies: Vec<Reply>) -> Self {
        Self::start(move |nth, _| replies[nth.min(replies.len()) - 1].clone()).await
    }

    /// Follows another script from now on. Answers how many requests were replied to by those before it.
    pub fn follow(&self, script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> usize {
        // Requests are counted and replied to under this lock.
        let _requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
        self.count()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What has come in so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests have come in so far.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// How many connections were opened, also those that sent nothing.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `wanted` requests have come in, and answers all there are.
    pub async fn wait_for(&self, wanted: usize) -> Vec<Request> {
        let mut count = self.shared.count.subscribe();
        within(&format!("{wanted} requests at the receiver"), async {
            // The sender of the watch lives as long as this receiver.
            let _ = count.wait_for(|count| *count >= wanted).await;
        })
        .await;
        self.requests()
    }

    /// Waits until a request carries this event, and answers the first that does.
    pub async fn wait_for_event(&self, event: &str) -> Request {
        let mut count = self.shared.count.subscribe();
        within(&format!("event {event} at the receiver"), async {
            loop {
                count.mark_unchanged();
                let requests = self.requests();
                if let Some(found) = requests.into_iter().find(|request| {
                    request.headers.get("webhook-id").is_some_and(|id| id.as_bytes() == event.as_bytes())
                }) {
                    return found;
                }
                // The sender of the watch lives as long as this receiver.
                let _ = count.changed().await;
            }
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, &shared));
    // A connection that the gateway drops, or that the script closes, is no fault of the receiver.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The script wants the connection closed.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed by the script")
    }
}

impl std::error::Error for Closed {}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    request: hyper::Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (method, headers) = (head.method.to_string(), head.headers);
    // Counted and kept in one step, so that the nth request that is kept is the nth that was counted.
    let (_flight, reply) = {
        let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = Flight::begin(&shared.in_flight);
        let request = Request { at, method, path, headers, body, in_flight: flight.number };
        if shared.keeps {
            requests.push(request.clone());
        }
        let number = *shared.count.borrow() + 1;
        let script = Arc::clone(&shared.script.lock().unwrap_or_else(PoisonError::into_inner));
        let reply = script(number, &request);
        shared.count.send_replace(number);
        (flight, reply)
    };
    match reply {
        Reply::Status(status) => response(status, &[], Full::new(Bytes::new()).boxed()),
        Reply::Whole(status, headers, body) => response(status, &headers, Full::new(body).boxed()),
        Reply::Slow(time, status) => {
            sleep(time).await;
            response(status, &[], Full::new(Bytes::new()).boxed())
        }
        Reply::Hang => std::future::pending().await,
        Reply::Close => Err(Closed.into()),
        Reply::Drip(status) => response(status, &[], Drip(interval(Duration::from_millis(100))).boxed()),
        Reply::Once(mut gate, status) => {
            // A gate whose handle is gone counts as open.
            let _ = gate.wait_for(|open| *open).await;
            response(status, &[], Full::new(Bytes::new()).boxed())
        }
    }
}

/// A request that is not answered yet.
struct Flight<'a> {
    all: &'a AtomicUsize,
    number: usize,
}

impl<'a> Flight<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        Self { all, number: all.fetch_add(1, Ordering::SeqCst) + 1 }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::SeqCst);
    }
}

fn response(
    status: u16,
    headers: &[(&'static str, String)],
    body: Body,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let mut response = Response::builder().status(StatusCode::from_u16(status)?);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    Ok(response.body(body)?)
}

/// A body without end.
#[derive(Debug)]
struct Drip(Interval);

impl hyper::body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.0.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}
