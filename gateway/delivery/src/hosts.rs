//! The machine's own files about names: `/etc/hosts`, and whether a file was changed since it was read. Parsing is pure.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Nobody's names take more; what stands behind it is not read.
const MOST_BYTES: u64 = 4 << 20;

/// Which version of a file was seen: another one differs in at least one of these. `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

impl Version {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            changed: (found.mtime(), found.mtime_nsec()),
            size: found.size(),
        })
    }
}

/// A file's bytes; nothing where it can't be read.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    bytes
}

/// The names of a hosts file, in lower case, with their addresses in the order of its lines.
#[derive(Debug, Default)]
pub(crate) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Lines of an address and its names. What is no such line is left out, as everywhere.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            // A zone, as in fe80::1%eth0, is of no use to a dialler: such an address is link-local.
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words {
                let addresses = names.entry(bare(name)).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(names)
    }

    /// A name's addresses; empty where the file does not have it.
    pub(crate) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.0.get(&bare(name)).cloned().unwrap_or_default()
    }
}

/// A name as it is compared.
fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_everywhere() {
        let hosts = Hosts::parse(
            b"# a comment\n127.0.0.1\tlocalhost\n10.0.0.1 Receiver receiver.internal # both\n\n\
              10.0.0.2 receiver\n10.0.0.2 receiver\nfd00::1 receiver.internal.\nfe80::1%eth0 zone\n\
              not-an-address name\n10.0.0.3\n\xff\xfe 10.0.0.4\n  10.0.0.5   indented\r\n",
        );
        for (name, addresses) in [
            ("receiver", "10.0.0.1 10.0.0.2"),
            ("RECEIVER.", "10.0.0.1 10.0.0.2"),
            ("receiver.internal", "10.0.0.1 fd00::1"),
            ("localhost", "127.0.0.1"),
            ("indented", "10.0.0.5"),
            ("zone", ""),
            ("name", ""),
            ("both", ""),
            ("", ""),
        ] {
            let wanted: Vec<IpAddr> =
                addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
            assert_eq!(hosts.addresses(name), wanted, "{name}");
        }
    }
}
