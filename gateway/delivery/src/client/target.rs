//! Where a request goes and how it is signed: what the configuration says of an endpoint, checked.

use std::fmt;
use std::time::Duration;

use hookweir_model::Success;
use http::HeaderMap;
use secrecy::SecretString;
use url::Url;

use crate::Trust;
use crate::sign::Key;

/// A receiver of signed HTTP requests.
///
/// Its `Debug` form shows neither the path nor the values of headers: both may hold a token.
#[derive(Clone)]
pub struct HttpTarget {
    /// Checked by [`crate::guard::check_url`].
    pub url: Url,
    /// The URL as it was configured, byte for byte: the IMS signature covers this text.
    pub configured_url: String,
    pub headers: HeaderMap,
    pub signing: Signing,
    /// Whom the certificate of an https receiver must come from.
    pub trust: Trust,
    /// The whole attempt: name look-up, connection, TLS, head and body.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub success: Success,
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("signing", &self.signing)
            .field("trust", &self.trust)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("success", &self.success)
            .finish_non_exhaustive()
    }
}

/// How requests to a target are signed.
#[derive(Debug, Clone)]
pub enum Signing {
    None,
    /// Standard Webhooks: every key signs, so that a receiver with the old or the new one can verify.
    Standard(Vec<Key>),
    /// `X-ICE-TIMESTAMP` and `X-ICE-SIGNATURE` of Alibaba's IMS. It covers URL, time and key, not the body.
    Ims(SecretString),
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_debug_form_of_a_target_shows_no_token() {
        let url = "https://hooks.example.com/services/token-1?key=token-2";
        let target = HttpTarget {
            url: url.parse().unwrap(),
            configured_url: url.to_owned(),
            headers: [(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer token-3"))]
                .into_iter()
                .collect(),
            signing: Signing::Ims(SecretString::from("token-4")),
            trust: Trust::System,
            timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            success: Success::Any2xx,
        };
        let shown = format!("{target:?}");
        assert!(!shown.contains("token"), "{shown}");
        assert!(shown.contains("https://hooks.example.com") && shown.contains("authorization"), "{shown}");
    }
}
