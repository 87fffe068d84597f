//! What an answer means: pure functions of status, headers and policy. The body has no say.

use std::time::Duration;

use hookweir_model::{Outcome, Success, Timestamp};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::{ParseError, Url};

use super::MAX_BODY_BYTES;
use crate::text::masked;

/// A receiver can't put an event off for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What follows from a status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) gone: bool,
}

/// The policy says what success is, and 410 that the receiver wants no more; every other status may change. `location` is
/// where a redirect leads, for the one who has to change the URL.
pub(super) fn judge(status: StatusCode, location: Option<&HeaderValue>, success: &Success) -> Verdict {
    let code = status.as_u16();
    if success.contains(code) {
        return Verdict { outcome: Outcome::Delivered, reason: None, gone: false };
    }
    let gone = status == StatusCode::GONE;
    let outcome = if gone { Outcome::Rejected } else { Outcome::Retry };
    let remark = match (code, location.and_then(|location| leads_to(location.to_str().ok()?))) {
        (300..400, Some(place)) => format!(
            ": redirects are not followed; it leads to {place}: where the answer's `location` says may be what the \
             endpoint's url has to be"
        ),
        (300..400, None) => ": redirects are not followed".to_owned(),
        (410, _) => ": the receiver wants no more events".to_owned(),
        _ => String::new(),
    };
    Verdict { outcome, reason: Some(format!("answered {code}{remark}")), gone }
}

/// Where a redirect leads, for all who read reasons and logs: what stands behind the host may be a secret, as it may in the
/// endpoint's own URL.
fn leads_to(location: &str) -> Option<String> {
    match Url::parse(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(masked(&url)),
        Ok(url) => Some(format!("a URL of the scheme {:?}", url.scheme())),
        Err(ParseError::RelativeUrlWithoutBase) if !location.is_empty() => {
            Some("another path of the same server".to_owned())
        }
        Err(_) => None,
    }
}

/// How long the receiver asks to be left alone, in seconds or until a date. Only the two statuses that mean "later"
/// are heard. A date is taken by the receiver's own clock, if it tells it: ours may be wrong by years.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no u64 are a very long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = |text| httpdate::parse_http_date(text).ok().map(Timestamp::from);
        let said = headers.get(DATE).and_then(|value| date(value.to_str().ok()?.trim()));
        date(text)?.since(said.unwrap_or(now))
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The body as text, no longer than what is kept: a byte that is no text becomes a character of three.
pub(super) fn text(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    text.truncate(text.floor_char_boundary(MAX_BODY_BYTES));
    text
}

/// Headers as text, no more of them than is kept of a body. What is marked as a secret shows as stars.
pub(super) fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = MAX_BODY_BYTES;
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        let value =
            if value.is_sensitive() { "***".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        room = room.checked_sub(name.as_str().len() + value.len())?;
        Some((name.to_string(), value.into_owned()))
    };
    headers.iter().map_while(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_says_where_it_leads() {
        for (location, place) in [
            ("https://new.example.com/hook/SECRET", Some("https://new.example.com/***")),
            ("https://new.example.com:8443/?token=SECRET", Some("https://new.example.com:8443/***")),
            ("https://user:SECRET@new.example.com", Some("https://new.example.com")),
            ("/hook/SECRET/", Some("another path of the same server")),
            ("SECRET", Some("another path of the same server")),
            ("javascript:SECRET", Some("a URL of the scheme \"javascript\"")),
            ("https://", None),
            ("", None),
        ] {
            let header = HeaderValue::from_str(location).unwrap();
            let verdict = judge(StatusCode::PERMANENT_REDIRECT, Some(&header), &Success::Any2xx);
            let told = place.map(|place| {
                format!(
                    "; it leads to {place}: where the answer's `location` says may be what the endpoint's url has to be"
                )
            });
            let wanted = format!("answered 308: redirects are not followed{}", told.unwrap_or_default());
            assert_eq!(verdict.reason, Some(wanted), "{location}");
        }
        let told = judge(StatusCode::BAD_REQUEST, Some(&HeaderValue::from_static("/x")), &Success::Any2xx);
        assert_eq!(told.reason.as_deref(), Some("answered 400"));
    }

    #[test]
    fn every_status_has_its_verdict() {
        use Outcome::{Delivered, Rejected, Retry};
        let any = Success::Any2xx;
        let ims = Success::Only(vec![200]);
        let odd = Success::Only(vec![302, 410]);
        for (code, success, outcome, reason) in [
            (200, &any, Delivered, None),
            (201, &any, Delivered, None),
            (204, &any, Delivered, None),
            (299, &any, Delivered, None),
            (200, &ims, Delivered, None),
            (201, &ims, Retry, Some("answered 201")),
            (204, &ims, Retry, Some("answered 204")),
            (101, &any, Retry, Some("answered 101")),
            (301, &any, Retry, Some("answered 301: redirects are not followed")),
            (302, &any, Retry, Some("answered 302: redirects are not followed")),
            (304, &any, Retry, Some("answered 304: redirects are not followed")),
            (399, &any, Retry, Some("answered 399: redirects are not followed")),
            (400, &any, Retry, Some("answered 400")),
            (401, &any, Retry, Some("answered 401")),
            (404, &any, Retry, Some("answered 404")),
            (409, &any, Retry, Some("answered 409")),
            (410, &any, Rejected, Some("answered 410: the receiver wants no more events")),
            (410, &ims, Rejected, Some("answered 410: the receiver wants no more events")),
            (429, &any, Retry, Some("answered 429")),
            (500, &any, Retry, Some("answered 500")),
            (503, &any, Retry, Some("answered 503")),
            (599, &any, Retry, Some("answered 599")),
            (999, &any, Retry, Some("answered 999")),
            (302, &odd, Delivered, None),
            (410, &odd, Delivered, None),
            (200, &odd, Retry, Some("answered 200")),
        ] {
            let wanted = Verdict { outcome, reason: reason.map(str::to_owned), gone: outcome == Rejected };
            assert_eq!(
                judge(StatusCode::from_u16(code).unwrap(), None, success),
                wanted,
                "{code} {success:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_on_two_statuses() {
        // 1994-11-06T08:49:37Z, the date of the HTTP specification's example.
        let now = Timestamp::from_millis(784_111_777_000);
        let day = 24 * 3600;
        for (code, header, wanted) in [
            (429, Some("120"), Some(120)),
            (503, Some("120"), Some(120)),
            (503, Some(" 7 "), Some(7)),
            (503, Some("0"), Some(0)),
            (503, Some("86401"), Some(day)),
            (503, Some("99999999999999999999999"), Some(day)),
            (503, Some("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60)),
            (503, Some("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60)),
            (503, Some("Sun Nov  6 08:50:37 1994"), Some(60)),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0)),
            (503, Some("Sun, 06 Nov 1993 08:49:37 GMT"), None),
            (503, Some("Sat, 06 Nov 1993 08:49:37 GMT"), Some(0)),
            (503, Some("Wed, 09 Nov 1994 08:49:37 GMT"), Some(day)),
            (503, Some("-1"), None),
            (503, Some("+1"), None),
            (503, Some("1.5"), None),
            (503, Some("soon"), None),
            (503, Some(""), None),
            (503, None, None),
            (500, Some("120"), None),
            (200, Some("120"), None),
            (301, Some("120"), None),
        ] {
            let headers =
                header.map(|text| (RETRY_AFTER, HeaderValue::from_static(text))).into_iter().collect();
            let got = retry_after(StatusCode::from_u16(code).unwrap(), &headers, now);
            assert_eq!(got, wanted.map(Duration::from_secs), "{code} {header:?}");
        }
    }

    #[test]
    fn a_date_is_taken_by_the_clock_of_the_receiver() {
        let until = "Sun, 06 Nov 1994 08:50:37 GMT";
        for (said, now, wanted) in [
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), 784_111_777_000, 60),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), 0, 60),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), 1_784_111_777_000, 60),
            (Some("Sun, 06 Nov 1994 08:51:37 GMT"), 0, 0),
            (Some("now"), 784_111_777_000, 60),
            (None, 784_111_777_000, 60),
            (None, 0, 24 * 3600),
        ] {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(until))]);
            headers.extend(said.map(|said| (DATE, HeaderValue::from_static(said))));
            let got = retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers, Timestamp::from_millis(now));
            assert_eq!(got, Some(Duration::from_secs(wanted)), "{said:?} at {now}");
        }
    }

    #[test]
    fn the_kept_text_is_bounded_whatever_the_bytes() {
        assert_eq!(text(b"ok"), "ok");
        assert_eq!(text(b"\x1f\x8b\x08"), "\x1f\u{fffd}\x08");
        assert_eq!(text(&[0xff; MAX_BODY_BYTES]).len(), MAX_BODY_BYTES / 3 * 3);
        assert_eq!(text(&[b'a'; MAX_BODY_BYTES]).len(), MAX_BODY_BYTES);
    }
}
