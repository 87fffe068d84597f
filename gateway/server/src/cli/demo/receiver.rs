//! The demo's receiver: verifies every request, and fails the first try of one delivery so that a retry can be seen.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hookweir_delivery::sign::{VerifyingKey, verify_standard};
use hookweir_model::Timestamp;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Events whose id ends so are refused on their first try.
pub(super) const FLAKY: &str = "-flaky";

#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    seen: Arc<Seen>,
}

#[derive(Debug)]
struct Seen {
    key: VerifyingKey,
    requests: Mutex<Vec<Received>>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub path: String,
    pub event: String,
    pub attempt: String,
    pub verified: bool,
    pub answered: StatusCode,
    pub body: String,
}

impl Receiver {
    pub(super) async fn start(secret: &str) -> Result<Self> {
        let key = VerifyingKey::parse(secret).context("failed to read the demo's secret")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen on loopback")?;
        let url =
            format!("http://{}", listener.local_addr().context("failed to read the receiver's address")?);
        let seen = Arc::new(Seen { key, requests: Mutex::default() });
        tokio::spawn(serve(listener, Arc::clone(&seen)));
        Ok(Self { url, seen })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The requests for one event, in the order they came.
    pub(super) fn requests(&self, event: &str) -> Vec<Received> {
        let requests = self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.event == event).cloned().collect()
    }
}

/// Ends with the process.
async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&seen), request));
            // A sender that goes away is no concern of the demo.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let verdict = verify_standard(
        std::slice::from_ref(&seen.key),
        &head.headers,
        &body,
        Timestamp::now(),
        Duration::from_secs(300),
    );
    let event = text(&head.headers, "webhook-id");
    let attempt = text(&head.headers, "hookweir-attempt");
    let refuse = event.ends_with(FLAKY) && attempt == "1";
    let status = if refuse { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let received = Received {
        path: head.uri.path().to_owned(),
        event,
        attempt,
        verified: verdict.is_ok(),
        answered: status,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
