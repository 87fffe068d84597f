//! What several protocols write alike. Pure.

use url::Url;

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether XML 1.0 can hold a character.
pub const fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A URL for those who may not see what stands behind its host, which is often all that a sender has to show: without path,
/// query and user.
pub fn masked(url: &Url) -> String {
    let origin = url.origin().ascii_serialization();
    if url.path() == "/" && url.query().is_none() { origin } else { format!("{origin}/***") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_url_shows_its_host_alone() {
        for (url, shown) in [
            ("https://hooks.example.com/", "https://hooks.example.com"),
            ("https://hooks.example.com/hook/SECRET", "https://hooks.example.com/***"),
            ("https://hooks.example.com/?key=SECRET", "https://hooks.example.com/***"),
            ("http://user:SECRET@hooks.example.com:8080/", "http://hooks.example.com:8080"),
            ("https://hooks.example.com/#SECRET", "https://hooks.example.com"),
        ] {
            assert_eq!(masked(&Url::parse(url).unwrap()), shown);
        }
    }
}
