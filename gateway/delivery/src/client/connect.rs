//! Connections to receivers: hyper's pooled client over its own connectors, with our resolver under them and a limit
//! around them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tower_service::Service;

use super::PoolKey;
use super::dial::{Dialled, Tcp, timed};
use crate::network::Network;
use crate::resolve::Guarded;

/// Many servers close an idle connection after 5 s. Whoever closes first loses no request.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Enough for the busiest endpoint: one that has more requests under way than this would open a connection for each of
/// those beyond it. Bounds what a burst leaves open.
const MAX_IDLE_PER_HOST: usize = 1024;

type Connector = Limited<HttpsConnector<Tcp<HttpConnector<Guarded>>>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Pool = Client<Connector, Full<Bytes>>;

pub(super) fn pool(network: &Network, key: PoolKey) -> Pool {
    let mut tcp = HttpConnector::new_with_resolver(Guarded { network: network.clone(), port: key.port });
    // TLS is the next layer's.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = HttpsConnector::from((Tcp(tcp), Arc::clone(&network.tls)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .build(Limited { inner: tls, limit: key.connect_timeout })
}

/// The connection was not there in time. What that time was, the caller knows.
#[derive(Debug, Error)]
#[error("no connection in time")]
pub(super) struct TooSlow;

/// Bounds all that comes before a request: look-up, TCP and TLS.
#[derive(Debug, Clone)]
pub(super) struct Limited<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Limited<C>
where
    C: Service<Uri, Response: 'static, Error: Into<BoxError> + 'static, Future: Send + 'static>,
{
    type Response = Dialled<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let connecting = tokio::time::timeout(self.limit, timed(is_tls, self.inner.call(uri)));
        Box::pin(async move {
            match connecting.await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(TooSlow.into()),
            }
        })
    }
}
