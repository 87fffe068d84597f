//! Who may: told by the bearer token, for each request anew.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Path};
use hookweir_model::TenantId;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::Admin;
use crate::accept::bearer;
use crate::live::Caller;
use crate::problem::Problem;
use crate::role::{Action, Role};

impl FromRequestParts<Admin> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        if let Some(Asked(told)) = parts.extensions.get() {
            return told.clone();
        }
        let told = caller(parts, admin);
        parts.extensions.insert(Asked(told.clone()));
        told
    }
}

/// Who is asking, once that was found out: a wrong key is counted once for a request.
#[derive(Debug, Clone)]
struct Asked(Result<Caller, Problem>);

fn caller(parts: &Parts, admin: &Admin) -> Result<Caller, Problem> {
    let live = admin.live.load();
    #[cfg(feature = "dashboard")]
    if let Some(caller) = super::dashboard::session(parts, &live)? {
        return Ok(caller);
    }
    match parts.headers.get(AUTHORIZATION) {
        Some(value) => known(parts, admin, value),
        // Without a token the listener is on a loopback address, which the check of the configuration sees to. A
        // page in the user's browser can reach that too, under a name of its own choice or by its address: such
        // names are refused, and what a page of another origin sends.
        None if !live.needs_token() && host_is_local(parts) && origin_is_own(parts) => {
            Ok(Caller { tenant: None, role: Role::Admin })
        }
        None => Err(Problem::Unauthorized),
    }
}

/// Whose token this is, unless too many unknown ones came from the address before.
pub(super) fn known(parts: &Parts, admin: &Admin, value: &HeaderValue) -> Result<Caller, Problem> {
    let address = parts.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    let now = Instant::now();
    if let Some(address) = address {
        admin.guesses.may_try(address, now).map_err(|left| {
            // At most a minute.
            Problem::Guesses { retry_after: (left.as_secs_f64().ceil() as u32).max(1) }
        })?;
    }
    let live = admin.live.load();
    let caller = value.to_str().ok().and_then(bearer).and_then(|token| live.caller(token).cloned());
    caller.ok_or_else(|| {
        if let Some(address) = address {
            admin.guesses.wrong(address, now);
        }
        Problem::Unauthorized
    })
}

/// A caller that may look at what it sees.
#[derive(Debug)]
pub(super) struct Reader(pub Caller);

impl FromRequestParts<Admin> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, admin).await?;
        caller.may(Action::Read)?;
        Ok(Self(caller))
    }
}

fn host_is_local(parts: &Parts) -> bool {
    let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authority = host.parse::<http::uri::Authority>().ok();
    authority.is_some_and(|authority| {
        let name = authority.host();
        name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
    })
}

/// Whether a request comes from no page at all, or from one of this listener. Browsers name the page's origin with
/// whatever may change something; a page can't leave it out.
pub(super) fn origin_is_own(parts: &Parts) -> bool {
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).unwrap_or_default();
    let same_origin = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    let same_site = |site: &str| matches!(site, "same-origin" | "none");
    text(ORIGIN).is_none_or(same_origin)
        && text(HeaderName::from_static("sec-fetch-site")).is_none_or(same_site)
}

/// The tenant of the path, which the caller sees and which exists. The caller may look at it, or, where the request's
/// method changes something, operate it.
#[derive(Debug)]
pub(super) struct Tenant(pub TenantId);

/// The same of a caller that may administer it.
#[derive(Debug)]
pub(super) struct OwnTenant(pub TenantId);

#[derive(Deserialize)]
struct TenantPath {
    tenant: String,
}

impl FromRequestParts<Admin> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let changes = !matches!(parts.method, Method::GET | Method::HEAD);
        let action = if changes { Action::Operate } else { Action::Read };
        tenant(parts, admin, action).await.map(Self)
    }
}

impl FromRequestParts<Admin> for OwnTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        tenant(parts, admin, Action::Administer).await.map(Self)
    }
}

/// The tenant of the path. What the caller does not see is missing, whatever its role.
async fn tenant(parts: &mut Parts, admin: &Admin, action: Action) -> Result<TenantId, Problem> {
    let caller = Caller::from_request_parts(parts, admin).await?;
    let missing = Problem::NotFound("tenant");
    let Ok(Path(path)) = Path::<TenantPath>::from_request_parts(parts, admin).await else {
        return Err(missing);
    };
    let tenant = TenantId::new(&path.tenant).map_err(|_| missing.clone())?;
    if !caller.sees(&tenant) || admin.live.load().tenant(tenant.as_str()).is_none() {
        return Err(missing);
    }
    caller.may(action)?;
    Ok(tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_hosts_do_without_a_token() {
        for (host, local) in [
            ("127.0.0.1:9080", true),
            ("localhost", true),
            ("localhost:9080", true),
            ("[::1]:9080", true),
            ("rebound.example.com:9080", false),
            ("localhost.example.com", false),
            ("", false),
        ] {
            let (parts, ()) = http::Request::builder().header(HOST, host).body(()).unwrap().into_parts();
            assert_eq!(host_is_local(&parts), local, "{host:?}");
        }
    }

    #[test]
    fn pages_of_other_origins_do_not_do_without_a_token() {
        for (headers, own) in [
            (&[][..], true),
            (&[("origin", "http://127.0.0.1:9080")], true),
            (&[("origin", "http://127.0.0.1:9080"), ("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("origin", "http://127.0.0.1:8000")], false),
            (&[("origin", "http://localhost:9080")], false),
            (&[("origin", "https://evil.example.com")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
        ] {
            let mut request = http::Request::builder().header(HOST, "127.0.0.1:9080");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(origin_is_own(&parts), own, "{headers:?}");
        }
    }
}
