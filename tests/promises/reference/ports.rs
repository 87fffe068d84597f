//! The page has the ports that a reader would use, and the test those that are free: one is put in place of the other
//! in what is typed, and back in what is printed.

use std::collections::BTreeMap;

use hookweir_tests::free_port_of_four_digits;

/// What stands before a port.
const BEFORE: [&str; 3] = ["127.0.0.1:", "port ", "ports = ["];

/// The ports of the page, each with the one that is used.
#[derive(Debug)]
pub(super) struct Ports(BTreeMap<u16, u16>);

impl Ports {
    /// Free ports, which have as many digits, so that columns stay as wide.
    pub(super) fn free(shown: &[u16]) -> Self {
        let mut used = BTreeMap::new();
        for port in shown {
            let free = loop {
                let free = free_port_of_four_digits();
                if !shown.contains(&free) && !used.values().any(|taken| *taken == free) {
                    break free;
                }
            };
            used.insert(*port, free);
        }
        Self(used)
    }

    /// The port that is used for one of the page.
    pub(super) fn used(&self, shown: u16) -> u16 {
        self.0[&shown]
    }

    /// Puts the page's ports back into what is printed; one more port that is used is told with its own.
    pub(super) fn back(&self, used: u16, shown: u16) -> impl Fn(&str) -> String + use<> {
        let mut back: Vec<(u16, u16)> = self.0.iter().map(|(shown, used)| (*used, *shown)).collect();
        back.push((used, shown));
        move |text| replaced(text, &back)
    }

    /// What is typed, with the ports that are used.
    pub(super) fn typed(&self, text: &str) -> String {
        let pairs: Vec<(u16, u16)> = self.0.iter().map(|(shown, used)| (*shown, *used)).collect();
        replaced(text, &pairs)
    }
}

fn replaced(text: &str, pairs: &[(u16, u16)]) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    // Each piece ends with what stands before a port, or is the rest.
    while let Some(start) = BEFORE.iter().filter_map(|before| Some(rest.find(before)? + before.len())).min() {
        made.push_str(&rest[..start]);
        rest = &rest[start..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let port = rest[..digits].parse::<u16>().ok();
        if let Some((_, to)) = pairs.iter().find(|(from, _)| Some(*from) == port) {
            made.push_str(&to.to_string());
            rest = &rest[digits..];
        }
    }
    made + rest
}

#[test]
fn ports_alone_are_replaced() {
    let pairs = [(8080, 2345), (9000, 2346)];
    for (text, wanted) in [
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:2345/a"),
        ("127.0.0.1:8080 127.0.0.1:9000", "127.0.0.1:2345 127.0.0.1:2346"),
        ("127.0.0.1:80801", "127.0.0.1:80801"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("--port 9000 &", "--port 2346 &"),
        ("allow_ports = [9000]", "allow_ports = [2346]"),
        ("9000 bytes, size:8080", "9000 bytes, size:8080"),
        ("port ", "port "),
    ] {
        assert_eq!(replaced(text, &pairs), wanted);
    }
}
