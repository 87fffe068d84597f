//! Receivers that say what they are told to, byte for byte, and remember what they heard.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hookweir_delivery::{
    Backend as _, EgressPolicy, HttpClient, HttpTarget, InForce, Report, Request, Signing, Trust, guard,
};
use hookweir_model::{EventId, EventType, Shaped, Success, TenantId, Timestamp};
use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Longer than any test takes: a deadline that must not pass.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// A deadline that must pass. Outcome and reason are asserted, not the time.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// What a receiver does with a connection once it has read a request.
#[derive(Clone)]
pub(crate) enum Script {
    /// Writes these bytes and closes.
    Say(Vec<u8>),
    /// Writes these bytes and then holds the connection open.
    Hold(Vec<u8>),
    /// Writes the first bytes, then the second ones for ever.
    Repeat(Vec<u8>, Vec<u8>),
    /// Writes the first bytes, then the second ones one by one, without an end.
    Drip(Vec<u8>, Vec<u8>),
    /// Answers every request of the connection with these bytes.
    Serve(Vec<u8>),
    /// Closes before it has read anything.
    Slam,
}

impl Script {
    /// A whole answer with a length, after which the connection is closed.
    pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Self {
        Self::Say(
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// A receiver on a loopback port of its own.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    connections: usize,
    requests: Vec<Vec<u8>>,
}

impl Receiver {
    pub(crate) async fn start(script: Script) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    pub(crate) async fn at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let remembered = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                remembered.lock().unwrap().connections += 1;
                tokio::spawn(play(stream, script.clone(), Arc::clone(&remembered)));
            }
        });
        Self { address, heard, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.heard.lock().unwrap().connections
    }

    /// The requests as they came over the wire, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.requests.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Errors end the play: the client hangs up on many of these scripts, and that is what is tested.
async fn play(mut stream: TcpStream, script: Script, heard: Arc<Mutex<Heard>>) -> Option<()> {
    if matches!(script, Script::Slam) {
        return None;
    }
    loop {
        let request = read_request(&mut stream).await?;
        heard.lock().unwrap().requests.push(request);
        match &script {
            Script::Say(bytes) => {
                stream.write_all(bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Script::Hold(bytes) => {
                stream.write_all(bytes).await.ok()?;
                // Ends when the client hangs up.
                stream.read_to_end(&mut Vec::new()).await.ok()?;
                return None;
            }
            Script::Repeat(first, again) => {
                stream.write_all(first).await.ok()?;
                loop {
                    stream.write_all(again).await.ok()?;
                }
            }
            Script::Drip(first, bytes) => {
                stream.write_all(first).await.ok()?;
                for byte in bytes.iter().cycle() {
                    stream.write_all(&[*byte]).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Script::Serve(bytes) => stream.write_all(bytes).await.ok()?,
            Script::Slam => return None,
        }
    }
}

/// Reads a head and as much body as its content-length says.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |value| value.trim().parse().unwrap());
            if request.len() >= end + 4 + length {
                return Some(request);
            }
        }
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        request.extend_from_slice(&buffer[..read]);
    }
}

/// The policy of most tests: loopback allowed, any port, and a name server that nobody runs.
pub(crate) fn loopback() -> EgressPolicy {
    EgressPolicy {
        allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
        nameservers: vec!["127.0.0.1:1".parse().unwrap()],
        ..EgressPolicy::default()
    }
}

pub(crate) fn client() -> HttpClient {
    HttpClient::new(loopback()).unwrap()
}

pub(crate) fn target(url: &str, timeout: Duration) -> HttpTarget {
    HttpTarget {
        url: url.parse().unwrap(),
        configured_url: url.to_owned(),
        headers: HeaderMap::new(),
        signing: Signing::None,
        trust: Trust::System,
        timeout,
        connect_timeout: LONG,
        success: Success::Any2xx,
    }
}

/// The first attempt at an event of no matter which type.
pub(crate) fn request<'a>(event: &'a EventId, shaped: &'a Shaped) -> Request<'a> {
    static TYPE: LazyLock<EventType> = LazyLock::new(|| EventType::new("order.created").unwrap());
    static TENANT: LazyLock<TenantId> = LazyLock::new(|| TenantId::new("acme").unwrap());
    static IN_FORCE: LazyLock<InForce> = LazyLock::new(InForce::always);
    Request {
        tenant: &TENANT,
        event,
        event_type: &TYPE,
        subject: None,
        attempt: 1,
        shaped,
        traceparent: None,
        in_full: false,
        in_force: &IN_FORCE,
    }
}

pub(crate) async fn send_to(client: &HttpClient, target: &HttpTarget) -> Report {
    send(client, target, false).await
}

/// One attempt of which all is told.
pub(crate) async fn send_in_full(client: &HttpClient, target: &HttpTarget) -> Report {
    send(client, target, true).await
}

/// One attempt for a tenant, by a configuration that may cease to be in force.
pub(crate) async fn send_for(
    client: &HttpClient,
    target: &HttpTarget,
    tenant: &str,
    in_force: &InForce,
) -> Report {
    let (event, shaped) = sample();
    let tenant = TenantId::new(tenant).unwrap();
    let request = Request { tenant: &tenant, in_force, ..request(&event, &shaped) };
    client.send(target, request, Timestamp::from_millis(1_700_000_000_000)).await
}

async fn send(client: &HttpClient, target: &HttpTarget, in_full: bool) -> Report {
    let (event, shaped) = sample();
    let request = Request { in_full, ..request(&event, &shaped) };
    client.send(target, request, Timestamp::from_millis(1_700_000_000_000)).await
}

fn sample() -> (EventId, Shaped) {
    let event = EventId::new("evt_1").unwrap();
    let shaped = Shaped {
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
        body: Bytes::from_static(b"{\"n\": 1.0}"),
    };
    (event, shaped)
}

/// A port where connections are never answered, as of a machine that is off: a listener whose queue is full. It lasts as
/// long as what is kept here.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _kept: (TcpListener, Vec<TcpStream>),
}

impl BlackHole {
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
            queue.push(stream);
        }
        Self { address, _kept: (listener, queue) }
    }
}

/// One attempt at a receiver with this script.
pub(crate) async fn attempt(script: Script, timeout: Duration) -> Report {
    let receiver = Receiver::start(script).await;
    assert!(guard::check_url(&receiver.url(), &loopback()).is_ok());
    send_to(&client(), &target(&receiver.url(), timeout)).await
}

/// Outcome and reason, which are what most tests are about.
pub(crate) fn ending(report: &Report) -> (hookweir_model::Outcome, Option<&str>) {
    (report.outcome, report.reason.as_deref())
}
