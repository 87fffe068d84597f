//! The specification of the admin listener, made from the handlers and from what they answer. `docs/openapi.json` is what
//! it came to; a test holds the two together, and writes the file anew with `UPDATE_GOLDEN=1`.

use std::collections::BTreeSet;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::{damage, deliveries, endpoints, events, health, live, plugins};
use crate::api;

/// Every answer that is no success: `application/problem+json`.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it stands for the answers, and is never made")]
pub(super) enum Refusals {
    /// What is wrong with the request, and what to send instead.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(api::Problem),
    /// There is no key, or it is not known.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(api::Problem),
    /// The key's role does not reach so far.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(api::Problem),
    /// It is not there, or it is another tenant's.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(api::Problem),
    /// It took too long to send.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(api::Problem),
    /// The state of things does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(api::Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(api::Problem),
    /// The body has a Content-Encoding.
    #[response(status = 415, content_type = "application/problem+json")]
    Encoding(api::Problem),
    /// A component that can't be taken.
    #[response(status = 422, content_type = "application/problem+json")]
    Unusable(api::Problem),
    /// Too many unknown keys came from there.
    #[response(status = 429, content_type = "application/problem+json")]
    Guesses(api::Problem),
    /// Try again later.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(api::Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(title = "hookweir", description = "The admin listener: what operators and tenants read and steer with."),
    modifiers(&Token),
    security(("token" = [])),
    components(schemas(api::Problem, api::Told, api::Missed, hookweir_model::TypePattern)),
    paths(
        health::process,
        health::ready,
        health::metrics,
        live::of_all,
        damage::list,
        damage::acknowledge,
        live::of_tenant,
        endpoints::tenants,
        events::list,
        events::get,
        events::replay,
        deliveries::list,
        deliveries::get,
        deliveries::retry,
        deliveries::cancel,
        endpoints::list,
        endpoints::get,
        endpoints::enable,
        endpoints::disable,
        endpoints::recover,
        endpoints::test,
        endpoints::rotate_secret,
        plugins::list,
        plugins::get,
        plugins::put,
        plugins::rollback,
        plugins::pause,
        plugins::resume,
        plugins::test,
    )
)]
struct Specification;

/// The bearer token.
struct Token;

impl Modify for Token {
    fn modify(&self, specification: &mut utoipa::openapi::OpenApi) {
        let components = specification.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

#[test]
fn the_specification_says_what_the_code_does() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let made = Specification::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(made == kept, "docs/openapi.json is behind the code: UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn every_route_is_in_the_specification() {
    // The router can't be asked for its routes; its source can.
    let routes: BTreeSet<String> = include_str!("mod.rs")
        .split(".route(")
        .skip(1)
        .filter_map(|text| text.trim_start().strip_prefix('"')?.split('"').next())
        .filter(|route| *route != "/openapi.json")
        .map(|route| {
            let outermost = ["/healthz", "/readyz", "/metrics"].contains(&route) || route.starts_with("/v1/");
            if outermost { route.to_owned() } else { format!("/v1/tenants/{{tenant}}{route}") }
        })
        .collect();
    let specified: BTreeSet<String> = Specification::openapi().paths.paths.into_keys().collect();
    assert_eq!(routes, specified);
    assert!(routes.len() > 20, "{routes:?}");
}
