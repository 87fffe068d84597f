//! A small HTTP client: keep-alive connections to one address, no redirects, no proxies, no decompression.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::eventually::within;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON; a panic that shows the whole answer where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("an answer with JSON was expected ({error}), got {self}"))
    }

    /// The answer, if it has this status; a panic that shows it where it has another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "another status was expected, got {self}");
        self
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector), address }
    }

    /// Begins to read an answer that has no end.
    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<Stream, String> {
        let answer = self.send(Method::GET, path, headers, Bytes::new()).await?;
        if answer.status() != 200 {
            return Err(format!("the answer is {}", answer.status()));
        }
        Ok(Stream { body: answer.into_body(), read: String::new() })
    }

    /// Makes one request and reads the whole answer. The error is a sentence with its causes.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let answer = self.send(method, path, headers, body).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| chain(&error))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        self.pool.request(request).await.map_err(|error| chain(&error))
    }
}

/// Server-sent events, as they come.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    read: String,
}

impl Stream {
    /// The next event: its name and its data, which is JSON. None at the end of the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let told = field("event: ").map(str::to_owned).zip(field("data: ").map(str::to_owned));
                self.read = rest.to_owned();
                if let Some((name, data)) = told {
                    return Some((name, serde_json::from_str(&data).expect("JSON in an event")));
                }
                // A comment, which keeps the connection alive.
                continue;
            }
            let frame =
                within("a server-sent event", self.body.frame()).await?.expect("a frame of the stream");
            if let Some(bytes) = frame.data_ref() {
                self.read.push_str(std::str::from_utf8(bytes).expect("text in a stream"));
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
