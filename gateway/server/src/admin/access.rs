//! Who may: told by the bearer token, for each request anew.

use axum::extract::{FromRequestParts, Path};
use hookweir_model::TenantId;
use http::header::{AUTHORIZATION, HOST};
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
            // page in the user's browser can reach that too, under a name of its own choice: such names are refused.
            None if !live.needs_token() && host_is_local(parts) => Ok(Self::Everything),
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
}
