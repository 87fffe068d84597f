//! Names to addresses, for the dialler: looks a name up, has the guard judge the whole answer, and hands on the very
//! addresses that were judged, so that a second look-up can't bring other ones.
//!
//! It asks name servers and nothing else: no hosts file and no search domains, since both would let a name mean
//! something on this machine that it means nowhere else. Refusals are typed, and found again by type.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use hyper_util::client::legacy::connect::dns;
use thiserror::Error;
use tower_service::Service;
use tracing::{debug, warn};

use crate::EgressPolicy;
use crate::client;
use crate::guard::{self, Forbidden};
use crate::network::Network;

/// A look-up is a small part of an attempt; the attempt's own deadline may cut it shorter.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);

/// A lost packet leaves time for one more try.
const TRY_LIMIT: Duration = Duration::from_millis(900);

/// Nobody needs more to be reached. All addresses of an answer are judged, also those that are not used.
const MAX_ADDRESSES: usize = 16;

/// How long an answer may be used again, whatever its time to live says: a receiver that moves is found soon.
const MAX_POSITIVE_TTL: Duration = Duration::from_secs(30);

/// A name that has just been created must be found by the next retry.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(1);

/// Why a name gave no address to dial. The texts are fit for the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ResolveFault {
    #[error("blocked address")]
    Forbidden(Forbidden),
    #[error("the name does not exist")]
    NoName,
    #[error("the name has no address")]
    NoAddress,
    #[error("the name could not be looked up")]
    Failed,
    #[error("no name server answered within {} s", LOOK_UP_LIMIT.as_secs())]
    Silence,
}

/// The name servers, with a cache that all targets share.
pub(crate) struct Names {
    resolver: TokioResolver,
}

impl Names {
    /// Uses the policy's name servers, or those of the system where it names none.
    pub(crate) fn new(policy: &EgressPolicy) -> Result<Self, NetError> {
        let servers = if policy.nameservers.is_empty() {
            system_name_servers()
        } else {
            policy.nameservers.iter().map(|address| name_server(*address)).collect()
        };
        let (config, options) = settings(servers);
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Self { resolver })
    }

    /// A name's addresses, all of which may be dialled on this port.
    pub(crate) async fn judged(
        &self,
        name: &str,
        port: u16,
        policy: &EgressPolicy,
    ) -> Result<Vec<SocketAddr>, ResolveFault> {
        let addresses = self.look_up(name).await?;
        guard::check_answer(&addresses, port, policy).map_err(ResolveFault::Forbidden)?;
        Ok(addresses.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, ResolveFault> {
        let mut name = Name::from_ascii(name).map_err(|_| ResolveFault::NoName)?;
        name.set_fqdn(true);
        let answer = match tokio::time::timeout(LOOK_UP_LIMIT, self.resolver.lookup_ip(name)).await {
            Ok(answer) => answer.map_err(|error| {
                debug!(%error, "look-up failed");
                fault(&error)
            })?,
            Err(_) => return Err(ResolveFault::Silence),
        };
        let addresses: Vec<IpAddr> = answer.iter().collect();
        if addresses.is_empty() { Err(ResolveFault::NoAddress) } else { Ok(addresses) }
    }
}

/// Nothing but the servers comes from the system: no hosts file and no search domain.
fn settings(servers: Vec<NameServerConfig>) -> (ResolverConfig, ResolverOpts) {
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = TRY_LIMIT;
    options.attempts = 1;
    options.positive_max_ttl = Some(MAX_POSITIVE_TTL);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    (ResolverConfig::from_parts(None, Vec::new(), servers), options)
}

/// A machine without a name server can still deliver to literal addresses, so that this is no error.
fn system_name_servers() -> Vec<NameServerConfig> {
    match system_conf::read_system_conf() {
        Ok((config, _)) => config.name_servers().to_vec(),
        Err(error) => {
            warn!(%error, "the system names no name servers: names can't be looked up until `nameservers` in [egress] does");
            Vec::new()
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn fault(error: &NetError) -> ResolveFault {
    match error {
        NetError::Timeout => ResolveFault::Silence,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveFault::NoName,
            ResponseCode::NoError => ResolveFault::NoAddress,
            _ => ResolveFault::Failed,
        },
        _ => ResolveFault::Failed,
    }
}

/// The HTTP client's resolver for one port: the gateway's own listeners can only be told apart by theirs.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) network: Network,
    pub(crate) port: u16,
}

impl Service<dns::Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveFault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveFault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let Self { network, port } = self.clone();
        Box::pin(async move {
            let started = Instant::now();
            let addresses = network.names.judged(name.as_str(), port, &network.policy).await?;
            client::looked_up(started);
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_servers_are_asked() {
        let address: SocketAddr = "192.0.2.1:5353".parse().unwrap();
        let (config, options) = settings(vec![name_server(address)]);
        assert_eq!((config.domain(), config.search()), (None, &[][..]));
        assert_eq!(options.use_hosts_file, ResolveHosts::Never);
        let [server] = config.name_servers() else { panic!("{:?}", config.name_servers()) };
        assert_eq!(server.ip, address.ip());
        assert_eq!(server.connections.iter().map(|way| way.port).collect::<Vec<_>>(), [5353, 5353]);
    }
}
