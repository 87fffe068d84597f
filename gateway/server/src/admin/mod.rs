//! The admin listener: what operators and tenants read and steer with.
//!
//! It takes no events and is on nobody's hot path. Whoever has the admin token sees all; a tenant's key sees its own
//! tenant, and anything else looks as if it were not there.

mod access;
mod audit;
mod bounds;
mod changes;
mod damage;
#[cfg(feature = "dashboard")]
mod dashboard;
mod deliveries;
mod endpoints;
mod events;
mod guesses;
mod health;
mod live;
mod looking;
pub(crate) mod offline;
#[cfg(test)]
mod openapi;
pub(crate) mod origin;
mod plugins;
mod query;
mod streams;
mod upload;

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hookweir_host::Host;
use hookweir_journal::Journal;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dispatch::Dispatcher;
use crate::feed::Feed;
use crate::listen::{self, Listening};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::plugins::Plugins;
use crate::problem::{Problem, json};
use crate::pull::Queues;

/// Connections at a time, where there are descriptors enough.
pub(crate) const CONNECTIONS: usize = 2048;

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub live: Arc<ArcSwap<Live>>,
    pub journal: Arc<dyn Journal>,
    pub dispatcher: Dispatcher,
    pub plugins: Arc<Plugins>,
    pub host: Arc<Host>,
    pub queues: Arc<Queues>,
    pub uploads: Arc<Uploads>,
    pub metrics: Arc<Metrics>,
    pub feed: Arc<Feed>,
    pub clock: Arc<Clock>,
    pub guesses: Arc<Guesses>,
    pub changes: Changes,
    pub listening: Listening,
    pub numbers: Arc<Numbers>,
    pub streams: Arc<Streams>,
    /// Cancelled when the gateway stops: answers that have no end of their own end then.
    pub stop: CancellationToken,
}

use self::looking::Looking;
use self::streams::Streams;

pub(crate) use self::changes::Changes;
pub(crate) use self::guesses::Guesses;
pub(crate) use self::upload::Uploads;

/// What changes something: all of it goes on to its end, whether or not its caller waits.
fn changing(admin: &Admin) -> Router<Admin> {
    let uploads = Router::new()
        .route("/v1/tenants/{tenant}/plugins/{plugin}", put(plugins::put))
        .layer(from_fn_with_state(admin.clone(), audit::audit))
        .layer(from_fn_with_state(admin.clone(), changes::upload));
    let of_tenant = Router::new()
        .route("/events/{event}/replay", post(events::replay))
        .route("/events/{event}/deliveries/{endpoint}/retry", post(deliveries::retry))
        .route("/events/{event}/deliveries/{endpoint}/cancel", post(deliveries::cancel))
        .route("/endpoints/{endpoint}/enable", post(endpoints::enable))
        .route("/endpoints/{endpoint}/disable", post(endpoints::disable))
        .route("/endpoints/{endpoint}/recover", post(endpoints::recover))
        .route("/endpoints/{endpoint}/rotate-secret", post(endpoints::rotate_secret))
        .route("/plugins/{plugin}/rollback", post(plugins::rollback))
        .route("/plugins/{plugin}/pause", post(plugins::pause))
        .route("/plugins/{plugin}/resume", post(plugins::resume));
    Router::new()
        .route("/v1/damage/acknowledge", post(damage::acknowledge))
        .nest("/v1/tenants/{tenant}", of_tenant)
        .layer(from_fn_with_state(admin.clone(), audit::audit))
        .layer(from_fn_with_state(admin.clone(), changes::to_the_end))
        .merge(uploads)
}

/// What only looks, or tries something that a caller who hangs up has no more use for.
fn looking() -> Router<Admin> {
    Router::new()
        .route("/events", get(events::list))
        .route("/events/{event}", get(events::get))
        .route("/events/{event}/deliveries/{endpoint}", get(deliveries::get))
        .route("/deliveries", get(deliveries::list))
        .route("/live", get(live::of_tenant))
        .route("/endpoints", get(endpoints::list))
        .route("/endpoints/{endpoint}", get(endpoints::get))
        .route("/endpoints/{endpoint}/test", post(endpoints::test))
        .route("/plugins", get(plugins::list))
        .route("/plugins/{plugin}", get(plugins::get))
        .route("/plugins/{plugin}/test", post(plugins::test))
}

fn router(admin: Admin, looking: Looking) -> Router {
    let router = Router::new();
    #[cfg(feature = "dashboard")]
    let router = router.merge(dashboard::routes(&admin));
    #[cfg(feature = "manual")]
    let router = router.route("/openapi.json", get(health::specification));
    router
        .route("/v1/live", get(live::of_all))
        .route("/v1/damage", get(damage::list))
        .route("/v1/tenants", get(endpoints::tenants))
        .nest("/v1/tenants/{tenant}", self::looking())
        .layer(from_fn_with_state(admin.clone(), audit::audit))
        .layer(from_fn_with_state(looking, looking::apart))
        .merge(changing(&admin))
        // Who asks these must have an answer above all when the machine has no time left.
        .route("/healthz", get(health::process))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(|| async { Problem::NotFound("resource") })
        .method_not_allowed_fallback(|| async { Problem::Method(None) })
        .with_state(admin)
}

/// Serves until `stop` and a moment longer, then finishes the requests that are under way.
pub(crate) fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send> {
    let (budgets, connections) = (admin.listening.budgets.clone(), Arc::clone(&admin.listening.admin));
    let router = router(admin, Looking::start()?);
    let answer = move |request, from| bounds::bounded(router.clone(), budgets.clone(), request, from);
    Ok(listen::serve("admin", listener, connections, answer, stop))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::new)
    }
}

/// A 200 with JSON.
fn ok(body: &impl serde::Serialize) -> Response {
    json(http::StatusCode::OK, body).map(Body::new)
}
