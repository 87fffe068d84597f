//! Dialling a server under the egress policy: names, addresses and trust. Every connection of this crate is made here, or
//! by a library that is given an address that was judged here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hookweir_model::Timings;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use crate::EgressPolicy;
use crate::client::{Error, find};
use crate::dial::{self, Unreached};
use crate::guard;
use crate::resolve::{Names, ResolveFault};
use crate::server::{Server, Trust};
use crate::stream::Stream;
use crate::tls;

/// How many ways to trust are kept ready. They come from the configuration, so that there are few; a reload may bring
/// others.
const MOST_CONFIGS: usize = 64;

/// What all ways out share.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) policy: Arc<EgressPolicy>,
    pub(crate) names: Arc<Names>,
    /// Those of the machine.
    system: Arc<RootCertStore>,
    /// How TLS is spoken with those that name authorities of their own, and with all others.
    configs: Arc<Mutex<HashMap<Trust, Arc<ClientConfig>>>>,
    default: Arc<ClientConfig>,
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    /// How long it took, part by part.
    pub(crate) timings: Timings,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The egress policy forbids it.
    Forbidden,
    Name(ResolveFault),
    Unreached(Unreached),
    /// The time was over before or after the addresses were dialled.
    Slow,
    Tls(rustls::Error),
    Io(io::Error),
}

impl NoConnection {
    fn of_handshake(error: io::Error) -> Self {
        match find::<rustls::Error>(&error) {
            Some(error) => Self::Tls(error.clone()),
            None => Self::Io(error),
        }
    }

    /// The addresses that were dialled, for operators alone.
    pub(crate) fn tried(&self) -> Vec<String> {
        match self {
            Self::Unreached(unreached) => unreached.tried(),
            _ => Vec::new(),
        }
    }
}

impl Network {
    pub(crate) fn new(policy: EgressPolicy, system: RootCertStore) -> Result<Self, Error> {
        let names = Names::new(&policy).map_err(Error::of("the resolver"))?;
        let roots =
            tls::roots_of(policy.ca.as_ref(), &system).map_err(Error::of("the authorities of [egress]"))?;
        let default = tls::trusting(Arc::new(roots), None).map_err(Error::of("TLS"))?;
        Ok(Self {
            policy: Arc::new(policy),
            names: Arc::new(names),
            system: Arc::new(system),
            configs: Arc::default(),
            default: Arc::new(default),
        })
    }

    /// The addresses of a server, all of which may be dialled.
    pub(crate) async fn addresses(&self, server: &Server) -> Result<Vec<SocketAddr>, NoConnection> {
        let port = server.port;
        guard::check_host(&server.host, port, &self.policy).map_err(|_| NoConnection::Forbidden)?;
        let literal = |ip: IpAddr| vec![SocketAddr::new(ip, port)];
        match &server.host {
            Host::Ipv4(ip) => Ok(literal((*ip).into())),
            Host::Ipv6(ip) => Ok(literal((*ip).into())),
            Host::Domain(name) => {
                self.names.judged(name, port, &self.policy).await.map_err(|fault| match fault {
                    ResolveFault::Forbidden(_) => NoConnection::Forbidden,
                    other => NoConnection::Name(other),
                })
            }
        }
    }

    /// Dials a server, and speaks TLS with it where it is configured so. All of it is done by the deadline.
    pub(crate) async fn connect(
        &self,
        server: &Server,
        deadline: Instant,
    ) -> Result<Connected, NoConnection> {
        let started = Instant::now();
        let addresses = timeout_at(deadline, self.addresses(server)).await;
        let addresses = addresses.map_err(|_| NoConnection::Slow)??;
        let looked_up = Instant::now();
        let stream = dial::dial(&addresses, deadline).await.map_err(NoConnection::Unreached)?;
        let peer = stream.peer_addr().map_err(NoConnection::Io)?;
        // The addresses were judged; this holds whatever the layers between make of them.
        guard::check_ip(peer.ip(), peer.port(), &self.policy).map_err(|_| NoConnection::Forbidden)?;
        let dialled = Instant::now();
        let mut timings = Timings {
            lookup_us: matches!(server.host, Host::Domain(_)).then(|| micros(looked_up - started)),
            connect_us: Some(micros(dialled - looked_up)),
            ..Timings::default()
        };
        let Some(config) = self.client_config(server)? else {
            return Ok(Connected { stream: Stream::Plain(stream), peer, timings });
        };
        let handshake = TlsConnector::from(config).connect(server_name(&server.host)?, stream);
        let stream = timeout_at(deadline, handshake).await.map_err(|_| NoConnection::Slow)?;
        let stream = Stream::Tls(Box::new(stream.map_err(NoConnection::of_handshake)?));
        timings.tls_us = Some(micros(dialled.elapsed()));
        Ok(Connected { stream, peer, timings })
    }

    /// How TLS is spoken with a server; `None` where it is not.
    pub(crate) fn client_config(&self, server: &Server) -> Result<Option<Arc<ClientConfig>>, NoConnection> {
        let Some(trust) = &server.tls else { return Ok(None) };
        let Trust::Authority(authorities) = trust else { return Ok(Some(Arc::clone(&self.default))) };
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(trust) {
            return Ok(Some(Arc::clone(config)));
        }
        let roots = tls::roots_of(Some(authorities), &self.system).map_err(unusable)?;
        let config = Arc::new(tls::trusting(Arc::new(roots), None).map_err(NoConnection::Tls)?);
        if configs.len() >= MOST_CONFIGS {
            configs.clear();
        }
        configs.insert(trust.clone(), Arc::clone(&config));
        Ok(Some(config))
    }

    /// The same for a library that dials an address by itself and would look for that in the certificate.
    pub(crate) fn client_config_for_name(
        &self,
        server: &Server,
    ) -> Result<Option<ClientConfig>, NoConnection> {
        let authorities = match &server.tls {
            None => return Ok(None),
            Some(Trust::System) => self.policy.ca.as_ref(),
            Some(Trust::Authority(authorities)) => Some(authorities),
        };
        let roots = tls::roots_of(authorities, &self.system).map_err(unusable)?;
        let name = server_name(&server.host)?;
        tls::trusting(Arc::new(roots), Some(name)).map(Some).map_err(NoConnection::Tls)
    }
}

/// Authorities that were read when the configuration was, and can't be read now.
fn unusable(fault: tls::InvalidAuthority) -> NoConnection {
    NoConnection::Tls(rustls::Error::General(fault.to_string()))
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The name that a server's certificate must be for.
fn server_name(host: &Host<String>) -> Result<ServerName<'static>, NoConnection> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| NoConnection::Tls(rustls::Error::General("no name for a certificate".to_owned()))),
        Host::Ipv4(ip) => Ok(ServerName::IpAddress(IpAddr::from(*ip).into())),
        Host::Ipv6(ip) => Ok(ServerName::IpAddress(IpAddr::from(*ip).into())),
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
