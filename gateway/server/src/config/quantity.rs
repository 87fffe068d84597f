//! Durations, sizes and addresses as people write them: `"10ms"`, `"7d"`, `"1MiB"`, `"127.0.0.1:9080"`.
//!
//! Every function here is pure. A text that can't be read becomes a [`Fault`] that shows an example.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::problem::Fault;

/// Units of size, largest first, so that a size is shown in the largest unit that divides it.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration such as `"10ms"` or `"1h 30m"`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    humantime::parse_duration(text).map_err(|error| {
        let example = "write a number and a unit, such as \"10ms\", \"5s\", \"30m\" or \"7d\"";
        let reason = match error {
            humantime::DurationError::Empty => "an empty text is not a duration".to_owned(),
            humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                format!("{text:?} has no unit")
            }
            humantime::DurationError::UnknownUnit { unit, .. } => {
                format!("{text:?} is not a duration: {unit:?} is not a unit of time")
            }
            humantime::DurationError::NumberOverflow => {
                format!("{text:?} is longer than can be reckoned with")
            }
            _ => format!("{text:?} is not a duration"),
        };
        Fault::new(reason, example)
    })
}

/// Writes a duration as it may stand in the configuration, in the largest unit that divides it.
pub(super) fn show_duration(duration: Duration) -> String {
    const SECOND: u128 = 1_000_000_000;
    const UNITS: [(&str, u128); 5] = [
        ("d", 86_400 * SECOND),
        ("h", 3_600 * SECOND),
        ("m", 60 * SECOND),
        ("s", SECOND),
        ("ms", SECOND / 1000),
    ];
    let nanos = duration.as_nanos();
    UNITS
        .into_iter()
        .find(|(_, scale)| nanos >= *scale && nanos.is_multiple_of(*scale))
        .map_or_else(|| format!("{nanos}ns"), |(name, scale)| format!("{}{name}", nanos / scale))
}

/// Reads a size such as `"16MiB"`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let example = "write a whole number and a unit, such as \"512KiB\", \"16MiB\" or \"10GiB\"";
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Fault::new(format!("{text:?} is not a size"), example));
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(Fault::new(format!("{text:?} has no unit"), example));
    }
    let Some((_, scale)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(Fault::new(format!("{text:?} is not a size: {unit:?} is not a unit of size"), example));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| Fault::new(format!("{text:?} is more than can be counted"), example))
}

/// Writes a size as it may stand in the configuration.
pub(super) fn show_size(bytes: u64) -> String {
    UNITS
        .into_iter()
        .filter(|(name, _)| name.ends_with("iB") || *name == "B")
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale))
        .map_or_else(|| format!("{bytes}B"), |(name, scale)| format!("{}{name}", bytes / scale))
}

/// Reads an address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let help = match text.rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok() => {
            format!("give the port too: {:?}", with_port(text, "8080"))
        }
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
            format!("to listen on every address, write \"0.0.0.0:{port}\"")
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            format!("names are not looked up here: write \"127.0.0.1:{port}\"")
        }
        _ => "write an IP address and a port, such as \"127.0.0.1:9080\" or \"[::]:8080\"".to_owned(),
    };
    Err(Fault::new(format!("{text:?} is not an address with a port"), help))
}

/// Reads the address of a name server.
pub(super) fn nameserver(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let help = if text.parse::<IpAddr>().is_ok() {
            format!("give the port too: {:?}", with_port(text, "53"))
        } else {
            "write an IP address and a port, such as \"127.0.0.1:53\"".to_owned()
        };
        Fault::new(format!("{text:?} is not the address of a name server"), help)
    })
}

/// Reads a range of addresses.
pub(super) fn cidr(text: &str) -> Result<IpNet, Fault> {
    let Ok(range) = text.parse::<IpNet>() else {
        let help = match text.parse::<IpAddr>() {
            Ok(ip) => format!("for this one address, write \"{}\"", IpNet::from(ip)),
            Err(_) => "write an address and the length of its prefix, such as \"127.0.0.0/8\"".to_owned(),
        };
        return Err(Fault::new(format!("{text:?} is not a range of addresses"), help));
    };
    if range.trunc() == range {
        Ok(range)
    } else {
        let help = format!("write \"{}\" for the range, or \"{}\" for the one address", range.trunc(), {
            IpNet::from(range.addr())
        });
        Err(Fault::new(format!("{text:?} has address bits after its prefix"), help))
    }
}

fn with_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("10ms", 10),
            ("5s", 5_000),
            ("1m", 60_000),
            ("1h 30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
            assert_eq!(
                duration(&show_duration(Duration::from_millis(millis))).unwrap().as_millis(),
                millis.into()
            );
        }
        for (text, what) in [
            ("", "an empty text is not a duration"),
            ("10", "\"10\" has no unit"),
            ("10 parsecs", "\"10 parsecs\" is not a duration: \"parsecs\" is not a unit of time"),
            ("-1s", "\"-1s\" is not a duration"),
            ("soon", "\"soon\" is not a duration"),
            ("99999999999999999999s", "\"99999999999999999999s\" is longer than can be reckoned with"),
        ] {
            assert_eq!(duration(text).unwrap_err().what, what, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("1KiB", 1 << 10, "1KiB"),
            ("1 MiB", 1 << 20, "1MiB"),
            ("10GiB", 10 << 30, "10GiB"),
            ("2TiB", 2 << 40, "2TiB"),
            ("1KB", 1_000, "1000B"),
            ("3MB", 3_000_000, "3000000B"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("1500B", 1_500, "1500B"),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
            assert_eq!(show_size(bytes), shown, "{text}");
        }
        for (text, what) in [
            ("", "\"\" is not a size"),
            ("MiB", "\"MiB\" is not a size"),
            ("-1MiB", "\"-1MiB\" is not a size"),
            ("16", "\"16\" has no unit"),
            ("1.5MiB", "\"1.5MiB\" is not a size: \".5MiB\" is not a unit of size"),
            ("16M", "\"16M\" is not a size: \"M\" is not a unit of size"),
            ("16777216TiB", "\"16777216TiB\" is more than can be counted"),
            ("99999999999999999999B", "\"99999999999999999999B\" is more than can be counted"),
        ] {
            assert_eq!(size(text).unwrap_err().what, what, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:0", "0.0.0.0:8080", "[::1]:9080"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, help) in [
            ("0.0.0.0", "give the port too: \"0.0.0.0:8080\""),
            ("::1", "give the port too: \"[::1]:8080\""),
            (":8080", "to listen on every address, write \"0.0.0.0:8080\""),
            ("localhost:80", "names are not looked up here: write \"127.0.0.1:80\""),
            ("8080", "write an IP address and a port, such as \"127.0.0.1:9080\" or \"[::]:8080\""),
            ("1.2.3.4:99999", "write an IP address and a port, such as \"127.0.0.1:9080\" or \"[::]:8080\""),
        ] {
            assert_eq!(address(bad).unwrap_err().help, help, "{bad}");
        }
        assert_eq!(nameserver("9.9.9.9").unwrap_err().help, "give the port too: \"9.9.9.9:53\"");
        assert!(nameserver("dns.example.com:53").is_err());
    }

    #[test]
    fn ranges() {
        for good in ["127.0.0.0/8", "::1/128", "0.0.0.0/0"] {
            assert!(cidr(good).is_ok(), "{good}");
        }
        for (bad, help) in [
            ("10.0.0.1", "for this one address, write \"10.0.0.1/32\""),
            ("::1", "for this one address, write \"::1/128\""),
            ("10.0.0.1/8", "write \"10.0.0.0/8\" for the range, or \"10.0.0.1/32\" for the one address"),
            ("10.0.0.0/33", "write an address and the length of its prefix, such as \"127.0.0.0/8\""),
            ("intranet", "write an address and the length of its prefix, such as \"127.0.0.0/8\""),
        ] {
            assert_eq!(cidr(bad).unwrap_err().help, help, "{bad}");
        }
    }
}
