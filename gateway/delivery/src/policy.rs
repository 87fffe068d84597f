//! What may be dialled: the operator's word, which [`crate::guard`] applies.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::Authorities;

/// What `delivery` may dial. Private, loopback, metadata and other special addresses are refused unless listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressPolicy {
    /// Ranges that are allowed although they are special.
    pub allow_cidrs: Vec<IpNet>,
    /// Ports that are allowed; empty: any.
    pub allow_ports: Vec<u16>,
    /// The name servers to ask; empty: those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// Whether names without a dot are asked for at name servers, and the system's search domains are used.
    pub local_names: bool,
    /// The authorities that servers' certificates must come from, where an endpoint names none; `None`: the machine's.
    pub ca: Option<Authorities>,
    /// The gateway's own listeners, never a target.
    pub own_addresses: Vec<SocketAddr>,
}
