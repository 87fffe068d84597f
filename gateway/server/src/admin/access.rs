//! Who may: told by the bearer token, for each request anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Path};
use hookweir_model::TenantId;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method};
use serde::Deserialize;

use super::{Admin, origin};
use crate::accept::bearer;
use crate::listen::Peer;
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
        if let (Ok(caller), Some(peer)) = (&told, parts.extensions.get::<Arc<Peer>>()) {
            peer.known(caller.tenant.as_ref());
        }
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
    let session = super::dashboard::session(parts, &live)?;
    #[cfg(not(feature = "dashboard"))]
    let session = Session::None;
    match (session, parts.headers.get(AUTHORIZATION)) {
        (Session::Of(caller), _) => Ok(caller),
        (_, Some(value)) => known(parts, admin, value),
        // Without a token the listener is on a loopback address, which the check of the configuration sees to. A
        // page in the user's browser can reach that too, under a name of its own choice or by its address: such
        // names are refused, and what a page of another origin sends.
        _ if !live.needs_token() => {
            origin::check_local(&parts.headers)?;
            origin::check(parts, live.config.admin.origin.as_ref())?;
            Ok(Caller { tenant: None, role: Role::Admin })
        }
        (Session::Unknown, None) => Err(guessed(parts, admin)),
        (Session::None, None) => Err(Problem::Unauthorized),
    }
}

/// What the cookies of a request say of who sent it.
#[derive(Debug)]
#[cfg_attr(not(feature = "dashboard"), expect(dead_code, reason = "pages alone have sessions"))]
pub(super) enum Session {
    None,
    /// There is one whose token nobody has.
    Unknown,
    Of(Caller),
}

/// Whose token this is. A right one is let in whatever came from its address before.
pub(super) fn known(parts: &Parts, admin: &Admin, value: &HeaderValue) -> Result<Caller, Problem> {
    let live = admin.live.load();
    let caller = value.to_str().ok().and_then(bearer).and_then(|token| live.caller(token).cloned());
    caller.ok_or_else(|| guessed(parts, admin))
}

/// Counts an unknown token; too many of them from an address are told so.
fn guessed(parts: &Parts, admin: &Admin) -> Problem {
    let address = parts.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    let Some(address) = address else { return Problem::Unauthorized };
    match admin.guesses.wrong(address, Instant::now()) {
        Ok(()) => Problem::Unauthorized,
        // At most a minute.
        Err(left) => Problem::Guesses { retry_after: (left.as_secs_f64().ceil() as u32).max(1) },
    }
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
