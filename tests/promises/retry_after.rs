//! A receiver may ask for a longer wait, never for a shorter one: `Retry-After` on 429 and 503, up to a day.
//!
//! The waits are read off the due time that the API shows, so that nothing here waits for hours.

use bytes::Bytes;
use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};

use crate::times::millis;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// Between the attempt's start and the decision on its retry lies the attempt itself: much less than this.
const SLACK: i64 = 10 * MINUTE;

#[tokio::test]
async fn retry_after_lengthens_the_wait_and_never_shortens_it() {
    let in_two_hours = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2 * HOUR);
    let date = in_two_hours.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let cases = [
        ("longer", 429, "7200", 2 * HOUR),
        ("longer-503", 503, "7200", 2 * HOUR),
        ("date", 503, date.as_str(), 2 * HOUR),
        ("shorter", 429, "60", HOUR),
        ("zero", 503, "0", HOUR),
        ("past", 429, "Wed, 21 Oct 2015 07:28:00 GMT", HOUR),
        ("capped", 429, "999999", 24 * HOUR),
        ("negative", 429, "-5", HOUR),
        ("words", 429, "tomorrow", HOUR),
        ("error", 500, "7200", HOUR),
        ("unavailable", 502, "7200", HOUR),
    ];
    let mut config = tenant("acme", KEY);
    let mut receivers = Vec::new();
    for (id, status, value, _) in &cases {
        let headers = vec![("retry-after", (*value).to_owned())];
        let receiver = Receiver::always(Reply::Whole(*status, headers, Bytes::new())).await;
        let lines = "retry = { waits = [\"1h\"], jitter = 0.0 }";
        config += &endpoint("acme", id, &receiver.url("/"), lines);
        receivers.push(receiver);
    }
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("a.b", "1").await;
    for (id, status, value, wanted) in cases {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/{id}");
        let detail = eventually(&format!("{id} to be tried once"), async || {
            let detail = gateway.admin().json(&path).await;
            if detail["delivery"]["attempts"] == 1 { Ok(detail) } else { Err(detail.to_string()) }
        })
        .await;
        assert_eq!(detail["delivery"]["status"], "pending", "{detail}");
        let started = millis(&detail["attempts"][0]["started"]) / 1000;
        let wait = millis(&detail["delivery"]["due"]) / 1000 - started;
        // A date has whole seconds, and it was taken before the attempt was made.
        let least = if value.ends_with("GMT") { wanted - SLACK } else { wanted - 1 };
        assert!(
            (least..wanted + SLACK).contains(&wait),
            "{id}: {status} with {value:?} led to a wait of {wait} s"
        );
    }
}
