//! A broker's address as it was configured. Pure.

use std::fmt;

use url::Host;

use crate::guard::{UrlFault, check_host};
use crate::{Authorities, EgressPolicy};

/// A server that is dialled by us rather than through a URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub host: Host<String>,
    pub port: u16,
    /// Whom its certificate must come from; `None`: no TLS is spoken.
    pub tls: Option<Trust>,
}

/// Whose word is taken for a server's name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those of `[egress]`, else the machine's authorities.
    System,
    Authority(Authorities),
}

/// A scheme that a kind of server may be written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub name: &'static str,
    /// Where the address names none.
    pub port: u16,
    pub tls: bool,
}

impl Server {
    /// Reads `scheme://host[:port][/path]`, and answers what stands after the host, without its slash. Where the text has
    /// no scheme, the first one is meant.
    pub fn parse<'a>(
        text: &'a str,
        schemes: &[Scheme],
        policy: &EgressPolicy,
    ) -> Result<(Self, &'a str), UrlFault> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlFault::Blank);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((name, rest)) => {
                let known = schemes.iter().find(|scheme| scheme.name.eq_ignore_ascii_case(name));
                (known.ok_or_else(|| UrlFault::Scheme(name.to_owned(), names(schemes)))?, rest)
            }
            None => (schemes.first().ok_or(UrlFault::NoHost)?, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlFault::UserInfo);
        }
        // Only what stands after the brackets of an IPv6 address can be a port.
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => {
                let digits = &authority[colon + 1..];
                let port = digits.parse().map_err(|_| url::ParseError::InvalidPort)?;
                (&authority[..colon], port)
            }
            _ => (authority, scheme.port),
        };
        if host.is_empty() {
            return Err(UrlFault::NoHost);
        }
        let host = Host::parse(host)?;
        check_host(&host, port, policy)?;
        let tls = scheme.tls.then_some(Trust::System);
        Ok((Self { host, port, tls }, path))
    }
}

fn names(schemes: &[Scheme]) -> String {
    schemes.iter().map(|scheme| scheme.name).collect::<Vec<_>>().join(" and ")
}

/// Host and port.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.tls.as_ref().map_or(Ok(()), |trust| write!(f, " ({trust:?})"))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "TLS",
            Self::Authority(_) => "TLS, own authorities",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [Scheme; 2] =
        [Scheme { name: "nats", port: 4222, tls: false }, Scheme { name: "tls", port: 4223, tls: true }];

    fn parse(text: &str) -> Result<(String, bool, &str), String> {
        let policy =
            EgressPolicy { allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()], ..EgressPolicy::default() };
        Server::parse(text, &SCHEMES, &policy)
            .map(|(server, path)| (server.to_string(), server.tls.is_some(), path))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn addresses_are_read_with_and_without_scheme_port_and_path() {
        let good = |address: &str, tls, path| Ok((address.to_owned(), tls, path));
        assert_eq!(parse("nats://broker.example.com"), good("broker.example.com:4222", false, ""));
        assert_eq!(parse("tls://broker.example.com/a/b"), good("broker.example.com:4223", true, "a/b"));
        assert_eq!(parse("broker.example.com:80"), good("broker.example.com:80", false, ""));
        assert_eq!(parse("NATS://127.0.0.1:14222"), good("127.0.0.1:14222", false, ""));
        assert_eq!(parse("nats://nats"), good("nats:4222", false, ""));
        assert_eq!(parse("nats://[2606:4700::1111]:1"), good("[2606:4700::1111]:1", false, ""));
        assert_eq!(parse("nats://[2606:4700::1111]"), good("[2606:4700::1111]:4222", false, ""));
    }

    #[test]
    fn what_can_be_no_server_is_refused_with_a_sentence() {
        for (text, part) in [
            ("http://broker.example.com", "\"http\" can't be used"),
            ("nats://user:password@broker.example.com", "user info"),
            ("nats://", "names no host"),
            ("nats://:4222", "names no host"),
            ("nats://broker.example.com:70000", "port"),
            ("nats://broker.example.com:0", "port 0"),
            ("nats://localhost", "is this machine"),
            ("nats://10.0.0.1", "a private address"),
            ("nats://[::1]", "a loopback address"),
            ("nats://bro ker.example.com", "a space"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }
}
