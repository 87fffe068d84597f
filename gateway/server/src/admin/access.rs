//! Who may: told by the bearer token, for each request anew.

use axum::extract::{FromRequestParts, Path};
use hookweir_model::TenantId;
use http::HeaderName;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use serde::Deserialize;

use super::Admin;
use crate::accept::bearer;
use crate::live::Caller;
use crate::problem::Problem;

/// What a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    Tenant(TenantId),
}

impl FromRequestParts<Admin> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let live = admin.live.load();
        match parts.headers.get(AUTHORIZATION) {
            Some(value) => {
                let token = value.to_str().ok().and_then(bearer).ok_or(Problem::Unauthorized)?;
                match live.caller(token).ok_or(Problem::Unauthorized)? {
                    Caller::Admin => Ok(Self::Everything),
                    Caller::Tenant(tenant) => Ok(Self::Tenant(tenant)),
                }
            }
            // Without a token the listener is on a loopback address, which the check of the configuration sees to. A
            // page in the user's browser can reach that too, under a name of its own choice or by its address: such
            // names are refused, and what a page of another origin sends.
            None if !live.needs_token() && host_is_local(parts) && origin_is_own(parts) => {
                Ok(Self::Everything)
            }
            None => Err(Problem::Unauthorized),
        }
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
fn origin_is_own(parts: &Parts) -> bool {
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

/// The tenant of the path, which the caller may see and which exists.
#[derive(Debug)]
pub(super) struct Tenant(pub TenantId);

#[derive(Deserialize)]
struct TenantPath {
    tenant: String,
}

impl FromRequestParts<Admin> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let scope = Scope::from_request_parts(parts, admin).await?;
        let missing = Problem::NotFound("tenant");
        let Ok(Path(path)) = Path::<TenantPath>::from_request_parts(parts, admin).await else {
            return Err(missing);
        };
        let tenant = TenantId::new(&path.tenant).map_err(|_| missing.clone())?;
        let visible = match &scope {
            Scope::Everything => true,
            Scope::Tenant(own) => *own == tenant,
        };
        if visible && admin.live.load().tenant(tenant.as_str()).is_some() {
            Ok(Self(tenant))
        } else {
            Err(missing)
        }
    }
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
