//! Who speaks: the signature over a request's head, its date, and the digest of its body.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_delivery::smq::Signed;
use hookweir_delivery::text::hex;
use hookweir_model::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName};
use md5::{Digest as _, Md5};
use secrecy::SecretString;

use super::error::Fault;

/// How far a request's date may be from our clock, as in SMQ.
const SKEW: Duration = Duration::from_secs(15 * 60);
const CONTENT_MD5: &str = "content-md5";

/// What the Authorization header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub id: String,
    signature: String,
}

/// Reads `MNS AccessKeyId:Signature`.
pub(super) fn claim(headers: &HeaderMap) -> Result<Claim, Fault> {
    let value = headers.get(AUTHORIZATION).ok_or_else(Fault::no_authorization)?;
    let read = || {
        let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
        let (id, signature) = rest.trim().rsplit_once(':')?;
        let is_ours = scheme.eq_ignore_ascii_case("MNS") && !id.is_empty();
        is_ours.then(|| (id.to_owned(), signature.to_owned()))
    };
    let (id, signature) = read().ok_or_else(Fault::bad_authorization)?;
    Ok(Claim { id, signature })
}

/// Checks the date and the signature of a request to `resource`, its path and query as they were sent. The date must be near
/// one of the clocks: the wall clock, which may have been set wrong for a moment, or the gateway's own, which goes on as it
/// began, and that may have been in 1970.
pub(super) fn check(
    claim: &Claim,
    secret: &SecretString,
    method: &str,
    resource: &str,
    headers: &HeaderMap,
    clocks: [Timestamp; 2],
) -> Result<(), Fault> {
    let date =
        text(headers, "x-mns-date").or_else(|| text(headers, DATE.as_str())).ok_or_else(Fault::no_date)?;
    let said = Timestamp::from(httpdate::parse_http_date(date).map_err(|_| Fault::bad_date())?);
    if clocks.into_iter().all(|now| now.since(said).max(said.since(now)) > SKEW) {
        return Err(Fault::expired());
    }
    let or_empty = |name: &str| text(headers, name).unwrap_or_default();
    let mut own: Vec<(&str, &str)> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| name.starts_with("x-mns-"))
        .map(|name| (name, or_empty(name)))
        .collect();
    own.sort_unstable();
    let signed = Signed {
        method,
        content_md5: or_empty(CONTENT_MD5),
        content_type: or_empty(CONTENT_TYPE.as_str()),
        date,
        mns_headers: &own,
        resource,
    };
    if signed.is_right(secret, &claim.signature) { Ok(()) } else { Err(Fault::signature()) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Checks the digest of a body, if one was sent: base64 of its 16 bytes, as RFC 1864 has it, or of its 32 hex digits,
/// as Alibaba's SDKs do.
pub(super) fn check_digest(headers: &HeaderMap, body: &[u8]) -> Result<(), Fault> {
    let Some(sent) = text(headers, CONTENT_MD5).filter(|sent| !sent.is_empty()) else { return Ok(()) };
    let digest = Md5::digest(body);
    let is_same = sent == BASE64.encode(digest) || sent == BASE64.encode(hex(&digest));
    if is_same { Ok(()) } else { Err(Fault::digest()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><Message xmlns=\"http://mns.aliyuncs.com/doc/v1/\"><MessageBody>eyJFdmVudFR5cGUiOiJGaWxlVXBsb2FkQ29tcGxldGUifQ==</MessageBody></Message>";
    const SEND: &str = "/queues/ice-callback-queue/messages";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn signed(pairs: &[(&'static str, &str)], signature: &str) -> HeaderMap {
        let mut all = headers(&[
            ("date", "Thu, 31 Jul 2025 12:00:00 GMT"),
            ("x-mns-version", "2015-06-06"),
            ("authorization", &format!("MNS testid:{signature}")),
        ]);
        all.extend(headers(pairs));
        all
    }

    fn at(date: &str) -> Timestamp {
        httpdate::parse_http_date(date).unwrap().into()
    }

    fn verdict(method: &str, resource: &str, headers: &HeaderMap, secret: &str) -> Result<(), &'static str> {
        let now = at("Thu, 31 Jul 2025 12:00:05 GMT");
        let claim = claim(headers).map_err(|fault| fault.code)?;
        check(&claim, &secret.into(), method, resource, headers, [now; 2]).map_err(|fault| fault.code)
    }

    /// What Alibaba's own SDKs computed.
    #[test]
    fn signatures_of_the_sdks_are_right() {
        let xml = ("content-type", "text/xml;charset=UTF-8");
        let hex_form = ("content-md5", "ZmMzMGFjYTA5Mjg0MzIwYzY5MmY4MDY2M2ZlNjU5ODA=");
        let rfc_form = ("content-md5", "/DCsoJKEMgxpL4BmP+ZZgA==");
        let date = ("x-mns-date", "Thu, 31 Jul 2025 12:00:00 GMT");
        let id = ("x-mns-user-request-id", "r1");
        for (method, resource, pairs, signature) in [
            ("POST", SEND, &[xml, hex_form][..], "dOzVXc0ZT8rF/t69VQQs4xMmREw="),
            ("POST", SEND, &[xml, rfc_form], "l5SvsNFYOXbw8q9edfoER9VZzOY="),
            ("POST", SEND, &[xml], "ALp4XAk3uSsxPvoOgopEbSw6xYY="),
            ("POST", SEND, &[xml, date, id], "UAZRwrkULrBcUCXbYjJlxiQ/aYY="),
            (
                "POST",
                SEND,
                &[xml, ("content-md5", "NjJiOTE1ZmM2M2Y5ZmVhNTJiNDhhOGI5NjA2NjQ5ZGY=")],
                "OsYycT/fruqQKqYBqb72zu/fKFc=",
            ),
            (
                "POST",
                SEND,
                &[xml, ("content-md5", "YWM1NjE1YzlmNWE5ODNmZjY4MzRjMGI4YTVhNTFmNTg=")],
                "F503eguU78c/9cQ63jpViJgPNiI=",
            ),
            (
                "GET",
                "/queues/ice-callback-queue/messages?waitseconds=10",
                &[],
                "a1eaPEzvyRmjquOxTwpNxJFG9kU=",
            ),
        ] {
            let headers = signed(pairs, signature);
            assert_eq!(verdict(method, resource, &headers, "testsecret"), Ok(()), "{signature}");
            let wrong = Err("SignatureDoesNotMatch");
            assert_eq!(verdict(method, resource, &headers, "testsecreT"), wrong);
            assert_eq!(verdict("PUT", resource, &headers, "testsecret"), wrong);
            assert_eq!(verdict(method, "/queues/other", &headers, "testsecret"), wrong);
        }
    }

    #[test]
    fn claims() {
        for (value, wanted) in [
            ("MNS testid:AAAA", Ok("testid")),
            ("mns a:b:AAAA", Ok("a:b")),
            ("MNS testid:?", Ok("testid")),
            ("MNS testid:", Ok("testid")),
            ("MNS :AAAA", Err("InvalidAuthorizationHeader")),
            ("MNS testid", Err("InvalidAuthorizationHeader")),
            ("Bearer abc:AAAA", Err("InvalidAuthorizationHeader")),
            ("MNS", Err("InvalidAuthorizationHeader")),
        ] {
            let found = claim(&headers(&[("authorization", value)]));
            assert_eq!(
                found.map(|claim| claim.id).map_err(|fault| fault.code),
                wanted.map(str::to_owned),
                "{value}"
            );
        }
        assert_eq!(claim(&HeaderMap::new()).unwrap_err().code, "MissingAuthorizationHeader");
    }

    #[test]
    fn dates_must_be_near() {
        let by = |pairs: &[(&'static str, &str)], clocks: [&str; 2]| {
            let claim = Claim { id: "a".to_owned(), signature: String::new() };
            check(&claim, &"s".into(), "GET", "/", &headers(pairs), clocks.map(at)).unwrap_err().code
        };
        let read = |pairs: &[(&'static str, &str)], now: &str| by(pairs, [now; 2]);
        let noon = "Thu, 31 Jul 2025 12:00:00 GMT";
        for (date, now, wanted) in [
            (noon, "Thu, 31 Jul 2025 12:15:00 GMT", "SignatureDoesNotMatch"),
            (noon, "Thu, 31 Jul 2025 12:15:01 GMT", "TimeExpired"),
            (noon, "Thu, 31 Jul 2025 11:44:59 GMT", "TimeExpired"),
            ("yesterday", noon, "InvalidDateHeader"),
        ] {
            assert_eq!(read(&[("date", date)], now), wanted, "{date} at {now}");
            // It takes the place of the date, which libraries may set as they like.
            assert_eq!(read(&[("date", "no date"), ("x-mns-date", date)], now), wanted);
        }
        assert_eq!(read(&[], noon), "MissingDateHeader");
        // A clock that was set wrong, or that began so, refuses nobody while the other is right.
        let (wrong, date) = ("Thu, 01 Jan 1970 00:01:00 GMT", [("date", noon)]);
        for (clocks, wanted) in [
            ([noon, wrong], "SignatureDoesNotMatch"),
            ([wrong, noon], "SignatureDoesNotMatch"),
            ([wrong, wrong], "TimeExpired"),
        ] {
            assert_eq!(by(&date, clocks), wanted, "{clocks:?}");
        }
    }

    #[test]
    fn digests_come_in_two_forms_or_not_at_all() {
        for (value, good) in [
            ("ZmMzMGFjYTA5Mjg0MzIwYzY5MmY4MDY2M2ZlNjU5ODA=", true),
            ("/DCsoJKEMgxpL4BmP+ZZgA==", true),
            ("", true),
            ("/DCsoJKEMgxpL4BmP+ZZgB==", false),
            ("fc30aca09284320c692f80663fe65980", false),
        ] {
            assert_eq!(check_digest(&headers(&[("content-md5", value)]), BODY).is_ok(), good, "{value}");
        }
        assert!(check_digest(&HeaderMap::new(), BODY).is_ok());
    }
}
