//! Dialling a server under the egress policy: names, addresses and trust. Every connection of this crate that the HTTP
//! client does not make is made here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::EgressPolicy;
use crate::client::Error;
use crate::guard;
use crate::queue::Fault;
use crate::resolve::{Names, ResolveFault};
use crate::server::{Server, Trust};
use crate::tls;

/// What all ways out share.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) policy: Arc<EgressPolicy>,
    pub(crate) names: Arc<Names>,
    /// Those who vouch for servers that name no authority of their own.
    roots: Arc<RootCertStore>,
    /// The same, ready for use.
    pub(crate) tls: Arc<ClientConfig>,
}

impl Network {
    pub(crate) fn new(policy: EgressPolicy, roots: RootCertStore) -> Result<Self, Error> {
        let names = Names::new(&policy).map_err(Error::of("the resolver"))?;
        let roots = Arc::new(roots);
        let tls = tls::trusting(Arc::clone(&roots)).map_err(Error::of("TLS"))?;
        Ok(Self { policy: Arc::new(policy), names: Arc::new(names), roots, tls: Arc::new(tls) })
    }

    /// The addresses of a server, all of which may be dialled.
    pub(crate) async fn addresses(&self, server: &Server) -> Result<Vec<SocketAddr>, Fault> {
        let port = server.port;
        guard::check_host(&server.host, port, &self.policy).map_err(|_| Fault::blocked())?;
        let literal = |ip: IpAddr| vec![SocketAddr::new(ip, port)];
        match &server.host {
            Host::Ipv4(ip) => Ok(literal((*ip).into())),
            Host::Ipv6(ip) => Ok(literal((*ip).into())),
            Host::Domain(name) => {
                self.names.judged(name, port, &self.policy).await.map_err(|fault| match fault {
                    ResolveFault::Forbidden(_) => Fault::blocked(),
                    other => Fault::retry(other.to_string()),
                })
            }
        }
    }

    /// Dials a server's addresses in turn.
    pub(crate) async fn dial(&self, server: &Server) -> Result<TcpStream, Fault> {
        let mut last = None;
        for address in self.addresses(server).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A message waits for its acknowledgement: nothing is gained by holding back its last packet.
                    stream.set_nodelay(true).map_err(|error| Fault::io(&error))?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| Fault::retry("the name has no address"), |error| Fault::io(&error)))
    }

    /// Dials a server, and speaks TLS with it where it is configured so.
    pub(crate) async fn connect(&self, server: &Server) -> Result<Stream, Fault> {
        let stream = self.dial(server).await?;
        let Some(config) = self.client_config(server)? else { return Ok(Stream::Plain(stream)) };
        let name = server_name(&server.host)?;
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(Fault::caused_by(&error)),
        }
    }

    /// How TLS is spoken with a server; `None` where it is not.
    pub(crate) fn client_config(&self, server: &Server) -> Result<Option<Arc<ClientConfig>>, Fault> {
        match &server.tls {
            None => Ok(None),
            Some(Trust::System) => Ok(Some(Arc::clone(&self.tls))),
            Some(trust) => {
                let config = tls::trusting(self.roots(trust)?).map_err(|error| Fault::caused_by(&error))?;
                Ok(Some(Arc::new(config)))
            }
        }
    }

    /// The same for a library that dials an address by itself and would look for that in the certificate.
    pub(crate) fn client_config_for_name(&self, server: &Server) -> Result<Option<ClientConfig>, Fault> {
        let Some(trust) = &server.tls else { return Ok(None) };
        let (roots, name) = (self.roots(trust)?, server_name(&server.host)?);
        tls::trusting_for(roots, name).map(Some).map_err(|error| Fault::caused_by(&*error))
    }

    /// Those who vouch for a server.
    fn roots(&self, trust: &Trust) -> Result<Arc<RootCertStore>, Fault> {
        match trust {
            Trust::System => Ok(Arc::clone(&self.roots)),
            Trust::Authority(pem) => {
                tls::roots(pem).map(Arc::new).map_err(|error| Fault::retry(error.to_string()))
            }
        }
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The name that a server's certificate must be for.
fn server_name(host: &Host<String>) -> Result<ServerName<'static>, Fault> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| Fault::retry("TLS: the host is no name that a certificate can be for")),
        Host::Ipv4(ip) => Ok(ServerName::IpAddress(IpAddr::from(*ip).into())),
        Host::Ipv6(ip) => Ok(ServerName::IpAddress(IpAddr::from(*ip).into())),
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
