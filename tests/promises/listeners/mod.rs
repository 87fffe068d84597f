//! Who does not read, or does not send to the end, costs no more than a stated bound, and nobody else waits for it.

mod admin;
mod answers;
mod bodies;
mod connections;

use std::net::SocketAddr;
use std::time::Duration;

use hookweir_tests::{DEADLINE, Gateway, eventually_by, tenant};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";
const MIB: u64 = 1 << 20;
/// What the gateway may hold for either kind of bytes, as the documentation says.
const BUDGET: u64 = 64 * MIB;
/// What it may take beside: its connections, what is being made and read, and what the allocator keeps for it.
const BESIDE: u64 = 96 * MIB;

/// Two tenants; the first has a queue.
fn tenants() -> String {
    let queue = "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\nmax_wait = \"50s\"\n";
    let other = "[tenants.globex.endpoints.inbox]\nkind = \"pull\"\nmax_wait = \"50s\"\n";
    tenant("acme", hookweir_tests::KEY) + queue + &tenant("globex", OTHER_KEY) + other
}

/// A test has more connections than processes usually may.
pub(crate) fn many_connections() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("as many descriptors as may be");
}

/// A connection whose kernel takes little of what is not read.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a small buffer");
    socket.connect(address).await.expect("a connection to the gateway")
}

/// The head of a POST to `path` with the first tenant's key.
fn head(path: &str, more: &str) -> String {
    format!(
        "POST /v1/tenants/acme/{path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\n{more}\r\n",
        hookweir_tests::KEY
    )
}

pub(crate) fn post(path: &str, body: &str) -> String {
    head(path, &format!("Content-Length: {}\r\n", body.len())) + body
}

/// All that comes until the gateway ends the connection, within a generous time.
async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    // A reset ends it too: what came before counts.
    let _ =
        timeout(DEADLINE, stream.read_to_end(&mut seen)).await.expect("the gateway to end the connection");
    String::from_utf8_lossy(&seen).into_owned()
}

/// The status of the first answer; 0 where there is none.
fn status(text: &str) -> u16 {
    let line = text.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The other tenant's events and queue go on, and so does the admin listener.
async fn neighbours_are_served(gateway: &Gateway) {
    let sender = gateway.sender_of("globex", OTHER_KEY);
    let large = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(500_000));
    sender.post(&[], large).await.expect(202);
    let consumer = hookweir_tests::Consumer::new(gateway.accept_address(), "globex", OTHER_KEY, "inbox");
    let messages = consumer.receive(serde_json::json!({ "wait": "40s" })).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(consumer.answer("ack", &[&messages[0]["receipt"]], serde_json::json!({})).await, ["done"]);
    gateway.admin().get("/readyz").await.expect(200);
}

/// One value of `/metrics`.
async fn metric(gateway: &Gateway, line: &str) -> u64 {
    let text = gateway.admin().get("/metrics").await.expect(200).text();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse::<f64>().ok());
    value.unwrap_or_else(|| panic!("no {line} in\n{text}")) as u64
}

/// Waits until a value of `/metrics` is as wanted.
async fn measured(gateway: &Gateway, line: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    eventually_by(2 * DEADLINE, line, async || {
        let value = metric(gateway, line).await;
        if wanted(value) { Ok(value) } else { Err(value.to_string()) }
    })
    .await
}

/// Writes as long as the gateway takes it; answers how many bytes it took before it took none for a while.
pub(crate) async fn write_until_full(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    let mut written = 0;
    while written < most {
        match timeout(Duration::from_secs(2), stream.write(bytes)).await {
            Ok(Ok(count)) => written += count,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    written
}
