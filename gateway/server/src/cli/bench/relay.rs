//! The bare relay that the gateway is compared with: reads a request, forwards it over a pooled connection, answers
//! what the receiver answered.
//!
//! It stores nothing, checks nothing, signs nothing and never tries twice: the least that anything between a sender and
//! a receiver costs with the HTTP library that the gateway uses too.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::control;

/// Relay to this address; the answer is the address to send to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct RelayTo(pub(super) SocketAddr);

/// The child's life. It has a thread for each core, as the gateway has.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(control::obey(async |RelayTo(upstream)| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let uri = Uri::try_from(format!("http://{upstream}/"))?;
        // It ends with the process, and the process with its standard input.
        tokio::spawn(accept(listener, uri));
        Ok(address)
    }))
}

type Pool = Client<HttpConnector, Full<Bytes>>;

async fn accept(listener: TcpListener, upstream: Uri) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
    while let Ok((stream, _)) = listener.accept().await {
        let (pool, upstream) = (pool.clone(), upstream.clone());
        tokio::spawn(async move {
            let forward = service_fn(|request| forward(request, &pool, &upstream));
            stream.set_nodelay(true).is_ok()
                && http1::Builder::new().serve_connection(TokioIo::new(stream), forward).await.is_ok()
        });
    }
}

/// An error closes the sender's connection, which ends the run: there is nothing to measure then.
async fn forward(
    request: Request<Incoming>,
    pool: &Pool,
    upstream: &Uri,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.context("the request broke")?.to_bytes();
    let mut forwarded = Request::new(Full::new(body));
    *forwarded.method_mut() = Method::POST;
    *forwarded.uri_mut() = upstream.clone();
    if let Some(content_type) = head.headers.remove(header::CONTENT_TYPE) {
        forwarded.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    let answer = pool.request(forwarded).await.context("the receiver can't be reached")?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("the answer broke")?.to_bytes();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}
