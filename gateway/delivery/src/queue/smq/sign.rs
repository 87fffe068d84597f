//! The signature of Alibaba's SMQ: HMAC-SHA1 over method, three headers, the `x-mns-` headers and the resource.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

/// What a signature covers. An absent header is empty here.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub method: &'a str,
    pub content_md5: &'a str,
    pub content_type: &'a str,
    pub date: &'a str,
    /// The headers whose names start with `x-mns-`, in lower case and in the order of the alphabet.
    pub mns_headers: &'a [(&'a str, &'a str)],
    /// Path and query, as they are sent.
    pub resource: &'a str,
}

impl Signed<'_> {
    /// The value of `Authorization` after `MNS ID:`.
    pub fn signature(&self, secret: &SecretString) -> String {
        STANDARD.encode(hmac::sign(&key(secret), self.text().as_bytes()))
    }

    /// Says in constant time whether a request carries the right signature.
    pub fn is_right(&self, secret: &SecretString, signature: &str) -> bool {
        let is_right = |bytes: Vec<u8>| hmac::verify(&key(secret), self.text().as_bytes(), &bytes).is_ok();
        STANDARD.decode(signature).is_ok_and(is_right)
    }

    /// What is signed.
    fn text(&self) -> String {
        let mut text = [self.method, self.content_md5, self.content_type, self.date, ""].join("\n");
        for (name, value) in self.mns_headers {
            text.extend([name, ":", value, "\n"]);
        }
        text + self.resource
    }
}

fn key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: (&str, &str) = ("x-mns-version", "2015-06-06");
    const DATE: &str = "Thu, 31 Jul 2025 12:00:00 GMT";
    const XML: &str = "text/xml;charset=UTF-8";
    const MESSAGES: &str = "/queues/ice-callback-queue/messages";

    fn check(secret: &str, signed: Signed<'_>, wanted: &str) {
        let secret = SecretString::from(secret);
        assert_eq!(signed.signature(&secret), wanted);
        assert!(signed.is_right(&secret, wanted));
        assert!(!signed.is_right(&SecretString::from("other"), wanted));
        assert!(!signed.is_right(&secret, &wanted.replacen('=', "", 1)), "not whole");
    }

    /// The example of the documentation, whose last four characters are masked there.
    #[test]
    fn the_documented_example() {
        let signed = Signed {
            method: "GET",
            content_md5: "",
            content_type: "",
            date: "Thu, 09 Jul 2015 03:01:34 GMT",
            mns_headers: &[VERSION],
            resource: "/MyQueue",
        };
        check("TestAccessSecret", signed, "uwx3yeWoILzgmvesW0BQSgfM7b8=");
    }

    /// What the official SDK for Python 1.3.0 signs.
    #[test]
    fn the_figures_of_the_official_sdk() {
        let post = |content_md5| Signed {
            method: "POST",
            content_md5,
            content_type: XML,
            date: DATE,
            mns_headers: &[VERSION],
            resource: MESSAGES,
        };
        let more = [("x-mns-date", DATE), ("x-mns-user-request-id", "r1"), VERSION];
        let get = Signed {
            method: "GET",
            content_md5: "",
            content_type: "",
            date: DATE,
            mns_headers: &[VERSION],
            resource: "/queues/ice-callback-queue/messages?waitseconds=10",
        };
        for (signed, wanted) in [
            (post("ZmMzMGFjYTA5Mjg0MzIwYzY5MmY4MDY2M2ZlNjU5ODA="), "dOzVXc0ZT8rF/t69VQQs4xMmREw="),
            (post("/DCsoJKEMgxpL4BmP+ZZgA=="), "l5SvsNFYOXbw8q9edfoER9VZzOY="),
            (post(""), "ALp4XAk3uSsxPvoOgopEbSw6xYY="),
            (Signed { mns_headers: &more, ..post("") }, "UAZRwrkULrBcUCXbYjJlxiQ/aYY="),
            (post("NjJiOTE1ZmM2M2Y5ZmVhNTJiNDhhOGI5NjA2NjQ5ZGY="), "OsYycT/fruqQKqYBqb72zu/fKFc="),
            (post("YWM1NjE1YzlmNWE5ODNmZjY4MzRjMGI4YTVhNTFmNTg="), "F503eguU78c/9cQ63jpViJgPNiI="),
            (get, "a1eaPEzvyRmjquOxTwpNxJFG9kU="),
        ] {
            check("testsecret", signed, wanted);
        }
    }
}
