//! The dashboard: pages for people, on the admin listener.
//!
//! Pages show what the JSON interface answers, read by the same functions under the same rules of who may see what; what
//! changes something is asked of the JSON interface by the page's script. Everything that is shown is hostile text: the
//! templates escape it, and scripts put it into text nodes alone.

mod assets;
mod deliveries;
mod endpoints;
mod events;
mod filter;
mod overview;
mod page;
mod plugins;
mod preview;
mod session;
mod spread;
mod text;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use super::Admin;

pub(super) use self::session::session;

pub(super) fn routes(admin: &Admin) -> Router<Admin> {
    let lists = Router::new()
        .route("/t/{tenant}/events", get(events::list))
        .route("/t/{tenant}/deliveries", get(deliveries::list))
        .layer(from_fn(filter::tidy));
    Router::new()
        .route("/", get(overview::all))
        .route("/t/{tenant}", get(overview::tenant))
        .route("/t/{tenant}/events/{event}", get(events::get))
        .route("/t/{tenant}/deliveries/{event}/{endpoint}", get(deliveries::get))
        .route("/t/{tenant}/endpoints/{endpoint}", get(endpoints::get))
        .route("/t/{tenant}/plugins/{plugin}", get(plugins::get))
        .route("/t/{tenant}/try", get(preview::get).post(preview::post))
        .route("/login", post(session::login))
        .route("/logout", post(session::logout))
        .route("/assets/{name}", get(assets::get))
        .merge(lists)
        .layer(from_fn_with_state(admin.clone(), page::dress))
}
