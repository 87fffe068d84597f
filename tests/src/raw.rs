//! Requests as bytes, for what no HTTP client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::eventually::DEADLINE;

/// What came back on a connection before it was closed.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub text: String,
    /// Whether the gateway closed the connection.
    pub closed: bool,
}

impl Exchange {
    /// The status of the first answer; 0 where there is none.
    pub fn status(&self) -> u16 {
        let line = self.text.strip_prefix("HTTP/1.1 ").unwrap_or("");
        line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// How many answers came.
    pub fn answers(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }
}

/// Writes `bytes` to a new connection and reads until the gateway closes it.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Exchange {
    read(address, bytes, DEADLINE).await
}

/// Like [`exchange`], but content with what has come after `patience`: for a connection that rightly stays open.
pub async fn read(address: SocketAddr, bytes: &[u8], patience: Duration) -> Exchange {
    try_read(address, bytes, patience).await.expect("a connection to the gateway")
}

/// The same where the gateway may be gone.
pub async fn try_read(address: SocketAddr, bytes: &[u8], patience: Duration) -> std::io::Result<Exchange> {
    let mut stream = TcpStream::connect(address).await?;
    // The gateway may refuse and close before it has read everything: what it answered still counts.
    let _ = stream.write_all(bytes).await;
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    let closed = loop {
        match timeout(patience, stream.read(&mut chunk)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(read)) => seen.extend_from_slice(&chunk[..read]),
        }
    };
    Ok(Exchange { text: String::from_utf8_lossy(&seen).into_owned(), closed })
}

/// A request whose caller does not wait for the answer.
#[derive(Debug)]
pub struct Begun(TcpStream);

impl Begun {
    /// Writes `bytes` to a new connection.
    pub async fn send(address: SocketAddr, bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection to the gateway");
        stream.write_all(bytes).await.expect("the request to be sent");
        Self(stream)
    }

    /// Resets the connection, as a program that is killed in the middle of something may.
    pub fn hang_up(self) {
        self.0.set_zero_linger().expect("a connection that can be reset");
    }
}
