//! A receiver may ask for a longer wait, never for a shorter one: `Retry-After` on 429 and 503, up to a day. It asks so for its
//! endpoint: no event goes there before.
//!
//! Long waits are read off the due time that the API shows, so that nothing here waits for hours.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, one_endpoint, tenant};
use tokio::time::Instant;

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

/// A receiver that takes three requests in each five seconds and asks all others to wait, as it is told to be observed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_asks_for_time_is_left_alone_and_gets_every_event() {
    const EVENTS: usize = 30;
    const AT_ONCE: usize = 3;
    const WINDOW: Duration = Duration::from_secs(2);
    let windows: Mutex<(Option<Instant>, usize)> = Mutex::default();
    let receiver = Receiver::start(move |_, request| {
        let mut windows = windows.lock().expect("a whole window");
        if windows.0.is_none_or(|began| request.at >= began + WINDOW) {
            *windows = (Some(request.at), 0);
        }
        windows.1 += 1;
        if windows.1 <= AT_ONCE {
            Reply::Status(200)
        } else {
            Reply::Whole(429, vec![("retry-after", "2".to_owned())], Bytes::new())
        }
    })
    .await;
    let lines = "retry = { waits = [\"1s\", \"1s\"], jitter = 0.0 }\nconcurrency = 8";
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), lines)).await;
    for _ in 0..EVENTS {
        gateway.sender().event("a.b", "1").await;
    }
    eventually("every event to be delivered", async || {
        match gateway.admin().count("acme", "hook", "delivered").await {
            all if all == EVENTS as u64 => Ok(()),
            fewer => Err(format!("{fewer} of {EVENTS}")),
        }
    })
    .await;
    let requests = receiver.requests();
    let refused = requests.len() - EVENTS;
    // Of each window that was not the last, those that were in flight beside the three are refused: the first has all that may
    // be in flight, each of the others was begun by one, then two, then more.
    assert!(refused <= 8 + 4 * EVENTS / AT_ONCE, "{refused} were refused");
    assert_eq!(gateway.admin().count("acme", "hook", "exhausted").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_that_asks_for_time_holds_all_events_of_its_endpoint_and_no_others() {
    let asked = Reply::Whole(503, vec![("retry-after", "3600".to_owned())], Bytes::new());
    let (busy, other) = (Receiver::always(asked).await, Receiver::always(Reply::Status(200)).await);
    let config = tenant("acme", KEY)
        + &endpoint("acme", "busy", &busy.url("/"), "concurrency = 1\nbreaker = false")
        + &endpoint("acme", "other", &other.url("/"), "");
    let gateway = Gateway::start(config).await;
    let (sender, admin) = (gateway.sender(), gateway.admin());
    sender.event("a.b", "1").await;
    busy.wait_for(1).await;
    gateway.logged(&["asks to be left alone", "acme/busy"]).await;
    for _ in 0..20 {
        sender.event("a.b", "1").await;
    }
    other.wait_for(21).await;
    let shown = admin.json("/v1/tenants/acme/endpoints/busy").await;
    assert_eq!(shown["breaker"]["state"], "open", "{shown}");
    assert_eq!(shown["deliveries"]["pending"], 21, "{shown}");
    assert_eq!(busy.count(), 1, "none of the others was tried");

    // An operator knows better: what waits goes, one at first.
    busy.follow(|_, _| Reply::Status(200));
    admin.post("/v1/tenants/acme/endpoints/busy/recover", "{\"pending\":true}").await.expect(200);
    eventually("all to be delivered", async || match admin.count("acme", "busy", "delivered").await {
        21 => Ok(()),
        fewer => Err(fewer.to_string()),
    })
    .await;
}
