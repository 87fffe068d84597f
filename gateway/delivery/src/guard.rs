//! The egress guard: which URLs and addresses `delivery` may dial. Pure functions of a value and a policy.
//!
//! It is asked three times on an event's way out: when an endpoint is configured ([`check_url`]), for every address
//! that a name resolves to, before it is dialled ([`check_answer`]), and for the peer of the connection that was
//! made. It never resolves a name and never opens a socket.
//!
//! The rule for addresses is deny by default: whatever the IANA registries call special is refused, and so is all of
//! IPv6 outside the global unicast block. `allow_cidrs` opens ranges, and is compared with the address that is
//! dialled, not with an IPv4 address embedded in it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use thiserror::Error;
use url::{Host, Url};

use crate::EgressPolicy;

/// No URL of an honest receiver comes near this; it bounds what is kept and logged.
pub const MAX_URL_BYTES: usize = 2048;

/// Why an address is not dialled. It says the kind of address and never the address itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forbidden {
    /// This host, whatever it is called.
    Loopback,
    /// "This network", as 0.0.0.0: many systems dial themselves for it.
    Unspecified,
    /// A network of the inside.
    Private,
    /// One link only; clouds serve instance metadata there.
    LinkLocal,
    /// A cloud provider's service for its own machines.
    Metadata,
    /// An IPv6 form that carries or is translated to an IPv4 address.
    Embedded,
    /// A group, not a receiver.
    Multicast,
    /// Set aside for documentation, benchmarks or the future.
    Reserved,
    /// One of the gateway's own listeners.
    Gateway,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Unspecified => "the unspecified address or its network",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud provider's internal address",
            Self::Embedded => "an IPv6 address that stands for an IPv4 address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
            Self::Gateway => "an address that the gateway itself listens on",
        })
    }
}

impl std::error::Error for Forbidden {}

/// A URL can't be a target. Each sentence says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlFault {
    #[error("the URL is {0} bytes long, and at most {MAX_URL_BYTES} are allowed")]
    TooLong(usize),
    #[error("the URL holds a space, a tab or a control character: remove it, or write a space as %20")]
    Blank,
    #[error("this is not a URL ({0}): write it as https://hooks.example.com/path")]
    Malformed(#[from] url::ParseError),
    #[error("the scheme {0:?} can't be used: only {1} are")]
    Scheme(String, String),
    #[error("the URL holds user info (an '@' before the path): credentials belong into `headers`")]
    UserInfo,
    #[error("the URL names no host: write it as https://hooks.example.com/path")]
    NoHost,
    #[error(
        "{0:?} is this machine: write 127.0.0.1, and allow it with `allow_cidrs = [\"127.0.0.0/8\"]` in [egress]"
    )]
    Localhost(String),
    #[error("the host {0:?} is not a domain name: labels are 1 to 63 characters, and 253 in all")]
    Name(String),
    #[error("port 0 can't be dialled: name the port that the receiver listens on")]
    PortZero,
    #[error(
        "port {port} is not allowed: use one of {}, or add it to `allow_ports` in [egress]",
        list(allowed)
    )]
    Port { port: u16, allowed: Vec<u16> },
    #[error("{0} is {1}: use a public address, or add a range that holds it to `allow_cidrs` in [egress]")]
    Address(IpAddr, Forbidden),
    #[error("{0} is {forbidden}: the gateway can't be its own receiver", forbidden = Forbidden::Gateway)]
    Gateway(SocketAddr),
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Reads a URL as it was configured, and says whether it may be a target. A name's addresses are judged later, each
/// time that it is resolved.
pub fn check_url(text: &str, policy: &EgressPolicy) -> Result<Url, UrlFault> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlFault::TooLong(text.len()));
    }
    // The parser drops tabs and line ends wherever they stand and blanks at both ends. What a reader would take for
    // two things must not become one.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(UrlFault::Blank);
    }
    let url = Url::parse(text)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlFault::Scheme(url.scheme().to_owned(), "https and http".to_owned()));
    }
    // Empty user info leaves no trace in the parsed URL.
    if raw_authority(text).contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(UrlFault::UserInfo);
    }
    check_parsed(&url, policy)?;
    Ok(url)
}

/// The part of [`check_url`] that depends on the policy: host and port. It is asked again before each dial.
pub(crate) fn check_parsed(url: &Url, policy: &EgressPolicy) -> Result<(), UrlFault> {
    let host = url.host().ok_or(UrlFault::NoHost)?.to_owned();
    check_host(&host, url.port_or_known_default().unwrap_or(0), policy)
}

/// Says whether a host may be dialled on a port, as far as can be told before its name is looked up.
pub(crate) fn check_host(host: &Host<String>, port: u16, policy: &EgressPolicy) -> Result<(), UrlFault> {
    if port == 0 {
        return Err(UrlFault::PortZero);
    }
    if !policy.allow_ports.is_empty() && !policy.allow_ports.contains(&port) {
        return Err(UrlFault::Port { port, allowed: policy.allow_ports.clone() });
    }
    match host {
        Host::Domain(name) => check_name(name),
        Host::Ipv4(ip) => check_literal((*ip).into(), port, policy),
        Host::Ipv6(ip) => check_literal((*ip).into(), port, policy),
    }
}

fn check_literal(ip: IpAddr, port: u16, policy: &EgressPolicy) -> Result<(), UrlFault> {
    check_ip(ip, port, policy).map_err(|forbidden| match forbidden {
        Forbidden::Gateway => UrlFault::Gateway(SocketAddr::new(ip, port)),
        other => UrlFault::Address(ip, other),
    })
}

fn check_name(name: &str) -> Result<(), UrlFault> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare == "localhost" || bare.ends_with(".localhost") {
        return Err(UrlFault::Localhost(name.to_owned()));
    }
    if bare.len() > 253 || !bare.split('.').all(|label| (1..=63).contains(&label.len())) {
        return Err(UrlFault::Name(name.to_owned()));
    }
    Ok(())
}

/// What stands between the scheme's slashes and the path, as the URL standard cuts it for http and https: a
/// backslash counts as a slash, and any number of slashes may follow the scheme.
fn raw_authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest);
    let rest = rest.trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or(rest)
}

/// How the requests to a URL differ from the text that it was written as, a clause each. Nothing is said of what a path or a
/// query holds, which may be a secret, and nothing of what no receiver can tell: the case of the host, or a path that is left
/// out.
pub fn differences(text: &str, url: &Url) -> Vec<String> {
    let authority = raw_authority(text);
    // An IPv6 address has colons too, in brackets.
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let mut clauses = Vec::new();
    let sent = url.host_str().unwrap_or_default();
    if !host.eq_ignore_ascii_case(sent) {
        clauses.push(format!("the host goes out as {sent:?}"));
    }
    match (port, url.port()) {
        (Some(""), None) | (None, _) => {}
        (Some(port), None) => clauses.push(format!("the port {port} is the scheme's own and is left out")),
        (Some(port), Some(sent)) if port != sent.to_string() => {
            clauses.push(format!("the port goes out as {sent}"));
        }
        (Some(_), Some(_)) => {}
    }
    let rest = text.find(authority).and_then(|at| text.get(at + authority.len()..)).unwrap_or_default();
    let (rest, fragment) =
        rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if !(path == url.path() || path.is_empty() && url.path() == "/") {
        clauses.push(
            "the path goes out in another form (`.` and `..` are resolved, `\\` is `/`, and what a URL can't hold is \
             percent-encoded)"
                .to_owned(),
        );
    }
    if query != url.query() {
        clauses.push("the query goes out percent-encoded".to_owned());
    }
    if fragment.is_some() {
        clauses.push("what stands behind `#` is not sent".to_owned());
    }
    clauses
}

/// Says whether an address may be dialled on a port.
pub fn check_ip(ip: IpAddr, port: u16, policy: &EgressPolicy) -> Result<(), Forbidden> {
    if policy.own_addresses.iter().any(|own| is_own(*own, ip, port)) {
        return Err(Forbidden::Gateway);
    }
    if policy.allow_cidrs.iter().any(|range| range.contains(&ip)) {
        return Ok(());
    }
    classify(ip).map_or(Ok(()), Err)
}

/// Judges all addresses of a name together: one that is forbidden refuses the name, since an answer that mixes
/// public and private addresses is how a guard that picks from it is got round.
pub fn check_answer(addresses: &[IpAddr], port: u16, policy: &EgressPolicy) -> Result<(), Forbidden> {
    addresses.iter().try_for_each(|ip| check_ip(*ip, port, policy))
}

/// A listener on the unspecified address also answers on loopback. Its other addresses can't be told from here; those
/// of the inside are refused anyway.
fn is_own(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let ip = ip.to_canonical();
    own.port() == port
        && (own.ip().to_canonical() == ip
            || (own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified())))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// The IANA special-purpose registry for IPv4, and the addresses that clouds serve their machines from.
const FORBIDDEN_V4: &[(Ipv4Net, Forbidden)] = &[
    (v4(0, 0, 0, 0, 8), Forbidden::Unspecified),
    (v4(10, 0, 0, 0, 8), Forbidden::Private),
    // Shared address space of carriers; Alibaba Cloud's metadata service is at 100.100.100.200.
    (v4(100, 64, 0, 0, 10), Forbidden::Private),
    (v4(127, 0, 0, 0, 8), Forbidden::Loopback),
    // Azure's WireServer: public by number, answered by the host that the machine runs on.
    (v4(168, 63, 129, 16, 32), Forbidden::Metadata),
    (v4(169, 254, 0, 0, 16), Forbidden::LinkLocal),
    (v4(172, 16, 0, 0, 12), Forbidden::Private),
    (v4(192, 0, 0, 0, 24), Forbidden::Reserved),
    (v4(192, 0, 2, 0, 24), Forbidden::Reserved),
    // The anycast relays of 6to4.
    (v4(192, 88, 99, 0, 24), Forbidden::Reserved),
    (v4(192, 168, 0, 0, 16), Forbidden::Private),
    (v4(198, 18, 0, 0, 15), Forbidden::Reserved),
    (v4(198, 51, 100, 0, 24), Forbidden::Reserved),
    (v4(203, 0, 113, 0, 24), Forbidden::Reserved),
    (v4(224, 0, 0, 0, 4), Forbidden::Multicast),
    (v4(240, 0, 0, 0, 4), Forbidden::Reserved),
];

/// NAT64: a gateway on the path translates these to the IPv4 address in their last 32 bits.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

/// The IANA special-purpose registry for IPv6, with the deprecated forms that stacks still honour.
const FORBIDDEN_V6: &[(Ipv6Net, Forbidden)] = &[
    // Mapped, compatible, SIIT and ISATAP forms, and the local NAT64 prefix 64:ff9b:1::/48.
    (v6(0, 0, 0, 8), Forbidden::Embedded),
    (v6(0xfc00, 0, 0, 7), Forbidden::Private),
    (v6(0xfe80, 0, 0, 10), Forbidden::LinkLocal),
    (v6(0xfec0, 0, 0, 10), Forbidden::Private),
    (v6(0xff00, 0, 0, 8), Forbidden::Multicast),
    // Teredo, ORCHID, benchmarks and other protocol assignments.
    (v6(0x2001, 0, 0, 23), Forbidden::Reserved),
    (v6(0x2001, 0xdb8, 0, 32), Forbidden::Reserved),
    // 6to4.
    (v6(0x2002, 0, 0, 16), Forbidden::Embedded),
    (v6(0x3fff, 0, 0, 20), Forbidden::Reserved),
];

/// All that is handed out as global unicast; what lies outside and has no name above is reserved.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

fn classify(ip: IpAddr) -> Option<Forbidden> {
    match ip {
        IpAddr::V4(ip) => FORBIDDEN_V4.iter().find(|(range, _)| range.contains(&ip)).map(|(_, kind)| *kind),
        IpAddr::V6(ip) if ip.is_loopback() => Some(Forbidden::Loopback),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(Forbidden::Unspecified),
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            classify(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(ip) => FORBIDDEN_V6
            .iter()
            .find(|(range, _)| range.contains(&ip))
            .map(|(_, kind)| *kind)
            .or_else(|| (!GLOBAL_UNICAST.contains(&ip)).then_some(Forbidden::Reserved)),
    }
}

#[cfg(test)]
mod tests;
