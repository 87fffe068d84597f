//! The head of a request: what the gateway says of the event, and what the tenant adds. Pure.

use std::fmt::Display;

use bytes::Bytes;
use hookweir_model::{InvalidHeader, Shaped, Timestamp, check_content_type, check_header, check_headers};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::Full;
use url::{Position, Url};

use super::ANYTHING;
use crate::sign::{
    IMS_SIGNATURE, IMS_TIMESTAMP, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, sign_ims, sign_standard,
};
use crate::{HttpTarget, Request, Signing};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("hookweir/", env!("CARGO_PKG_VERSION")));
const ATTEMPT: HeaderName = HeaderName::from_static("hookweir-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers of the shaped request win over those of the target, and the gateway's own win over both.
pub(super) fn headers(
    target: &HttpTarget,
    request: Request<'_>,
    now: Timestamp,
) -> Result<HeaderMap, InvalidHeader> {
    let Request { event, attempt, shaped, traceparent, .. } = request;
    check(shaped)?;
    let mut headers = target.headers.clone();
    for (name, value) in &shaped.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| InvalidHeader::Name { name: name.clone() })?;
        headers.insert(parsed, header_value(name, value)?);
    }
    let owned: Vec<HeaderName> =
        headers.keys().filter(|name| check_header(name.as_str(), "").is_err()).cloned().collect();
    for name in owned {
        headers.remove(name);
    }

    let seconds = now.as_seconds();
    headers.insert(CONTENT_TYPE, header_value("content-type", &shaped.content_type)?);
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ATTEMPT, HeaderValue::from(attempt));
    headers.insert(WEBHOOK_ID, header_value("webhook-id", event.as_str())?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT, header_value("traceparent", traceparent)?);
    }
    match &target.signing {
        Signing::None => {}
        Signing::Standard(keys) => {
            let signature = sign_standard(keys, event.as_str(), seconds, &shaped.body);
            headers.insert(WEBHOOK_SIGNATURE, header_value("webhook-signature", &signature)?);
        }
        Signing::Ims(key) => {
            let signature = sign_ims(&target.configured_url, seconds, key);
            headers.insert(IMS_TIMESTAMP, HeaderValue::from(seconds));
            headers.insert(IMS_SIGNATURE, header_value("x-ice-signature", &signature)?);
        }
    }
    Ok(headers)
}

/// Says whether what an event was shaped into can be sent.
pub(super) fn check(shaped: &Shaped) -> Result<(), InvalidHeader> {
    check_headers(&shaped.headers)?;
    check_content_type(&shaped.content_type)
}

/// A request with this head, as it goes over a connection: the target is the path, and the host stands in a header.
pub(super) fn request(url: &Url, headers: HeaderMap, body: Bytes) -> Option<http::Request<Full<Bytes>>> {
    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).ok()?;
    *request.headers_mut() = headers;
    // Firewalls take a request without it for a robot's.
    request.headers_mut().entry(ACCEPT).or_insert(ANYTHING);
    request.headers_mut().insert(HOST, host(url)?);
    Some(request)
}

/// The server's name, with its port where that is not the scheme's own.
pub(super) fn host(url: &Url) -> Option<HeaderValue> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).ok()
}

fn header_value(name: impl Display, value: &str) -> Result<HeaderValue, InvalidHeader> {
    HeaderValue::from_str(value).map_err(|_| InvalidHeader::Value { name: name.to_string() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hookweir_model::{EventId, EventType, Success, TenantId};
    use secrecy::SecretString;

    use super::*;
    use crate::sign::Key;
    use crate::{InForce, Trust};

    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_999);

    fn target(signing: Signing, headers: &[(&'static str, &'static str)]) -> HttpTarget {
        let url = "https://www.example.com/your/callback";
        HttpTarget {
            url: url.parse().unwrap(),
            configured_url: url.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
            signing,
            trust: Trust::System,
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            success: Success::Any2xx,
        }
    }

    fn shaped(headers: &[(&str, &str)]) -> Shaped {
        Shaped {
            content_type: "application/json".to_owned(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: Bytes::from_static(br#"{"test": 2432232314}"#),
        }
    }

    fn made(target: &HttpTarget, shaped: &Shaped) -> Result<HeaderMap, InvalidHeader> {
        let event = EventId::new("msg_p5jXN8AQM9LWM0D4loKWxJek").unwrap();
        let event_type = EventType::new("order.created").unwrap();
        let request = Request {
            tenant: &TenantId::new("acme").unwrap(),
            event: &event,
            event_type: &event_type,
            subject: None,
            attempt: 3,
            shaped,
            traceparent: Some("00-a-b-01"),
            in_full: false,
            in_force: &InForce::always(),
        };
        headers(target, request, NOW)
    }

    fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn a_standard_request_carries_these_headers_and_no_others() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = made(&target(Signing::Standard(vec![key]), &[]), &shaped(&[])).unwrap();
        assert_eq!(
            lines(&headers),
            [
                ("content-type", "application/json"),
                ("hookweir-attempt", "3"),
                ("traceparent", "00-a-b-01"),
                ("user-agent", concat!("hookweir/", env!("CARGO_PKG_VERSION"))),
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
                ("webhook-timestamp", "1614265330"),
            ]
        );
    }

    #[test]
    fn an_ims_request_is_signed_for_its_configured_url() {
        let mut target = target(Signing::Ims(SecretString::from("test123")), &[]);
        target.url = "https://elsewhere.example/".parse().unwrap();
        let event = EventId::new("evt_1").unwrap();
        let shaped = shaped(&[]);
        let event_type = EventType::new("order.created").unwrap();
        let request = Request {
            tenant: &TenantId::new("acme").unwrap(),
            event: &event,
            event_type: &event_type,
            subject: None,
            attempt: 1,
            shaped: &shaped,
            traceparent: None,
            in_full: false,
            in_force: &InForce::always(),
        };
        let headers = headers(&target, request, Timestamp::from_millis(1_519_375_990_000)).unwrap();
        assert_eq!(headers["x-ice-timestamp"], "1519375990");
        assert_eq!(headers["x-ice-signature"], "c72b60894140fa98920f1279219b7ed4");
        assert_eq!(headers["webhook-id"], "evt_1");
        assert!(!headers.contains_key("webhook-signature") && !headers.contains_key("traceparent"));
    }

    #[test]
    fn shaped_headers_win_over_the_targets_and_the_gateways_own_over_both() {
        let target = target(
            Signing::None,
            &[
                ("x-team", "billing"),
                ("authorization", "Bearer t"),
                ("user-agent", "forged"),
                ("webhook-id", "forged"),
                ("webhook-signature", "forged"),
                ("host", "forged.example"),
                ("content-length", "1"),
                ("transfer-encoding", "chunked"),
                ("x-forwarded-for", "1.1.1.1"),
            ],
        );
        let headers = made(&target, &shaped(&[("X-Team", "shipping"), ("x-new", "1")])).unwrap();
        assert_eq!(
            lines(&headers),
            [
                ("authorization", "Bearer t"),
                ("content-type", "application/json"),
                ("hookweir-attempt", "3"),
                ("traceparent", "00-a-b-01"),
                ("user-agent", concat!("hookweir/", env!("CARGO_PKG_VERSION"))),
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("x-new", "1"),
                ("x-team", "shipping"),
            ]
        );
    }

    #[test]
    fn a_shaped_header_that_breaks_the_rules_is_an_error() {
        for (name, value) in [
            ("host", "a"),
            ("Webhook-Id", "a"),
            ("webhook_id", "a"),
            ("content-length", "1"),
            ("a b", "c"),
            ("", "c"),
            ("x-a", "b\r\nhost: c"),
            ("x-a", "b\0"),
        ] {
            assert!(made(&target(Signing::None, &[]), &shaped(&[(name, value)])).is_err(), "{name:?}");
        }
        let content_type = Shaped { content_type: "text/plain\r\nx: y".to_owned(), ..shaped(&[]) };
        assert_eq!(
            made(&target(Signing::None, &[]), &content_type),
            Err(InvalidHeader::ContentType { content_type: content_type.content_type.clone() })
        );
    }
}
