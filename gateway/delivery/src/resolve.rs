//! Names to addresses, for the dialler: looks a name up, has the guard judge the whole answer, and hands on the very
//! addresses that were judged, so that a second look-up can't bring other ones.
//!
//! A name is looked for in the hosts file, then at name servers: a name's form says nothing of its address, and the guard
//! judges whatever comes. Names without a dot and search domains mean something here that they mean nowhere else, so that
//! name servers are asked for them only where the policy says so. Both files follow the machine: they are read again when
//! they were changed. Refusals are typed, and found again by type.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use thiserror::Error;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::EgressPolicy;
use crate::guard::{self, Forbidden};
use crate::hosts::{self, Hosts, Version};

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

/// How often the machine's files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Why a name gave no address to dial. The texts are fit for the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ResolveFault {
    #[error("blocked address")]
    Forbidden(Forbidden),
    #[error("the name does not exist")]
    NoName,
    #[error("the name has no address")]
    NoAddress,
    #[error(
        "the name has no dot, and the gateway's hosts file does not have it: write the full name, or set `local_names = true` in [egress]"
    )]
    LocalName,
    #[error("the name could not be looked up")]
    Failed,
    #[error(
        "the gateway knows no name server: /etc/resolv.conf names none, and neither does `nameservers` in [egress]"
    )]
    NoServer,
    #[error("no name server answered within {seconds} s, {asked}", seconds = LOOK_UP_LIMIT.as_secs())]
    Silence { asked: Asked },
}

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    System,
    Configured,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "of those in /etc/resolv.conf (`nameservers` in [egress] names others)",
            Self::Configured => "of those that `nameservers` in [egress] names",
        })
    }
}

/// Where the machine says what it knows of names.
#[derive(Debug, Clone)]
struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }
}

/// The names of the machine and of its name servers, with a cache that all targets share.
pub(crate) struct Names {
    files: Files,
    /// In place of those of the machine; empty: none.
    servers: Vec<SocketAddr>,
    local_names: bool,
    known: Mutex<Known>,
}

/// What was learnt from the machine's files, and when.
struct Known {
    /// `None`: they are looked at before the next look-up.
    looked: Option<Instant>,
    resolv_conf: Option<Version>,
    hosts_version: Option<Version>,
    hosts: Arc<Hosts>,
    system: System,
    resolver: Arc<TokioResolver>,
}

/// What `resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct System {
    servers: Vec<IpAddr>,
    search: Vec<Name>,
    /// A name with fewer dots is looked for in the search domains first.
    ndots: usize,
}

impl Names {
    pub(crate) fn new(policy: &EgressPolicy) -> Result<Self, NetError> {
        Self::with_files(policy, Files::default())
    }

    fn with_files(policy: &EgressPolicy, files: Files) -> Result<Self, NetError> {
        let (servers, local_names) = (policy.nameservers.clone(), policy.local_names);
        let system = System::parse(&hosts::read(&files.resolv_conf));
        if system.servers.is_empty() && servers.is_empty() {
            // A machine without one can still deliver to addresses and to names of its hosts file.
            warn!(
                target: "hookweir::dns",
                "the machine names no name server: names can't be looked up until it does, or `nameservers` in [egress]"
            );
        }
        let known = Known {
            looked: Some(Instant::now()),
            resolv_conf: Version::of(&files.resolv_conf),
            hosts_version: Version::of(&files.hosts),
            hosts: Arc::new(Hosts::parse(&hosts::read(&files.hosts))),
            resolver: Arc::new(resolver(&servers, local_names, &system)?),
            system,
        };
        Ok(Self { files, servers, local_names, known: Mutex::new(known) })
    }

    /// Has the machine's files looked at before the next look-up.
    pub(crate) fn look_again(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).looked = None;
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
        let (resolver, hosts, has_servers) = self.current();
        let addresses = hosts.addresses(name);
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        let is_local = !name.trim_end_matches('.').contains('.');
        if is_local && !self.local_names {
            return Err(ResolveFault::LocalName);
        }
        if !has_servers {
            return Err(ResolveFault::NoServer);
        }
        let asked = if self.servers.is_empty() { Asked::System } else { Asked::Configured };
        let mut question = Name::from_ascii(name).map_err(|_| ResolveFault::NoName)?;
        if !self.local_names {
            question.set_fqdn(true);
        }
        let answer = match tokio::time::timeout(LOOK_UP_LIMIT, resolver.lookup_ip(question)).await {
            Ok(answer) => answer.map_err(|error| {
                debug!(target: "hookweir::dns", %error, "look-up failed");
                fault(&error, asked)
            })?,
            Err(_) => return Err(ResolveFault::Silence { asked }),
        };
        let addresses: Vec<IpAddr> = answer.iter().collect();
        if addresses.is_empty() { Err(ResolveFault::NoAddress) } else { Ok(addresses) }
    }

    /// What is known of names now, and whether there is a name server. Reads files that were changed: they are small, and
    /// on the machine itself.
    fn current(&self) -> (Arc<TokioResolver>, Arc<Hosts>, bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN) {
            known.looked = Some(Instant::now());
            self.refresh(&mut known);
        }
        let has_servers = !self.servers.is_empty() || !known.system.servers.is_empty();
        (Arc::clone(&known.resolver), Arc::clone(&known.hosts), has_servers)
    }

    fn refresh(&self, known: &mut Known) {
        let version = Version::of(&self.files.hosts);
        if version != known.hosts_version {
            known.hosts_version = version;
            known.hosts = Arc::new(Hosts::parse(&hosts::read(&self.files.hosts)));
        }
        let version = Version::of(&self.files.resolv_conf);
        if version == known.resolv_conf {
            return;
        }
        known.resolv_conf = version;
        let system = System::parse(&hosts::read(&self.files.resolv_conf));
        if system == known.system {
            return;
        }
        match resolver(&self.servers, self.local_names, &system) {
            Ok(resolver) => {
                if self.servers.is_empty() {
                    let servers: Vec<String> = system.servers.iter().map(IpAddr::to_string).collect();
                    info!(
                        target: "hookweir::dns",
                        servers = servers.join(" "),
                        "the machine's name servers have changed"
                    );
                }
                known.resolver = Arc::new(resolver);
                known.system = system;
            }
            Err(error) => warn!(
                target: "hookweir::dns",
                %error,
                "the machine's name servers have changed, and can't be used"
            ),
        }
    }
}

impl System {
    fn parse(text: &[u8]) -> Self {
        // A file without a name server is an error to the library.
        let Ok((config, options)) = system_conf::parse_resolv_conf(text) else { return Self::default() };
        let servers = config.name_servers().iter().map(|server| server.ip).collect();
        let mut search = config.search().to_vec();
        if let Some(domain) = config.domain()
            && search.is_empty()
        {
            search.push(domain.clone());
        }
        Self { servers, search, ndots: options.ndots }
    }
}

/// Asks these servers, or those of the machine where there are none.
fn resolver(servers: &[SocketAddr], local_names: bool, system: &System) -> Result<TokioResolver, NetError> {
    let (config, options) = settings(servers, local_names, system);
    Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

fn settings(servers: &[SocketAddr], local_names: bool, system: &System) -> (ResolverConfig, ResolverOpts) {
    let servers: Vec<NameServerConfig> = if servers.is_empty() {
        system.servers.iter().map(|ip| name_server(SocketAddr::new(*ip, 53))).collect()
    } else {
        servers.iter().map(|address| name_server(*address)).collect()
    };
    let mut options = ResolverOpts::default();
    // Read by us, so that a change of it is seen.
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = TRY_LIMIT;
    options.attempts = 1;
    options.positive_max_ttl = Some(MAX_POSITIVE_TTL);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    let mut search = Vec::new();
    if local_names {
        options.ndots = system.ndots;
        search.clone_from(&system.search);
    }
    (ResolverConfig::from_parts(None, search, servers), options)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn fault(error: &NetError, asked: Asked) -> ResolveFault {
    match error {
        NetError::Timeout => ResolveFault::Silence { asked },
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveFault::NoName,
            ResponseCode::NoError => ResolveFault::NoAddress,
            _ => ResolveFault::Failed,
        },
        _ => ResolveFault::Failed,
    }
}

#[cfg(test)]
mod tests;
