//! Answers that arrive: each class of status, redirects, Retry-After, and what the receiver was sent.

use std::time::Duration;

use hookweir_delivery::sign::{Key, VerifyingKey, verify_standard};
use hookweir_delivery::{Backend as _, Request, Signing};
use hookweir_model::Outcome::{Delivered, Rejected, Retry};
use hookweir_model::{EventId, Exchange, Shaped, Success, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::harness::{LONG, Receiver, Script, attempt, client, ending, request, send_to, target};

#[tokio::test]
async fn each_class_of_status() {
    for (status, outcome, reason, gone) in [
        ("200 OK", Delivered, None, false),
        ("201 Created", Delivered, None, false),
        ("204 No Content", Delivered, None, false),
        ("400 Bad Request", Retry, Some("answered 400"), false),
        ("404 Not Found", Retry, Some("answered 404"), false),
        ("410 Gone", Rejected, Some("answered 410: the receiver wants no more events"), true),
        ("429 Too Many Requests", Retry, Some("answered 429"), false),
        ("500 Internal Server Error", Retry, Some("answered 500"), false),
        ("503 Service Unavailable", Retry, Some("answered 503"), false),
    ] {
        let report = attempt(Script::answer(status, "", ""), LONG).await;
        assert_eq!(ending(&report), (outcome, reason), "{status}");
        assert_eq!(report.gone, gone, "{status}");
        assert_eq!(report.answer.unwrap().status.unwrap().to_string(), status[..3]);
    }
}

#[tokio::test]
async fn the_policy_of_the_target_says_what_success_is() {
    let receiver = Receiver::start(Script::answer("201 Created", "", "")).await;
    let mut target = target(&receiver.url(), LONG);
    target.success = Success::Only(vec![200]);
    assert_eq!(ending(&send_to(&client(), &target).await), (Retry, Some("answered 201")));
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let other = Receiver::start(Script::answer("200 OK", "", "")).await;
    for status in [301, 302, 303, 307, 308] {
        for location in [other.url(), "/elsewhere".to_owned(), "http://169.254.169.254/".to_owned()] {
            let header = format!("location: {location}\r\n");
            let receiver = Receiver::start(Script::answer(&format!("{status} Moved"), &header, "")).await;
            let report = send_to(&client(), &target(&receiver.url(), LONG)).await;
            let place = if location.starts_with('/') {
                "another path of the same server".to_owned()
            } else {
                location.trim_end_matches('/').replace("/hook", "/***")
            };
            let reason = format!(
                "answered {status}: redirects are not followed; it leads to {place}: where the answer's `location` says \
                 may be what the endpoint's url has to be"
            );
            assert_eq!(ending(&report), (Retry, Some(reason.as_str())), "to {location}");
            assert_eq!(receiver.requests().len(), 1, "{status} to {location}");
        }
    }
    assert_eq!(other.connections(), 0);
    // The other host does answer, so that silence above means that nobody called.
    assert_eq!(ending(&send_to(&client(), &target(&other.url(), LONG)).await), (Delivered, None));
    assert_eq!(other.connections(), 1);
}

#[tokio::test]
async fn retry_after_is_reported() {
    for (status, wanted) in [("503 Busy", Some(Duration::from_secs(7))), ("500 Broken", None)] {
        let report = attempt(Script::answer(status, "retry-after: 7\r\n", ""), LONG).await;
        assert_eq!(report.retry_after, wanted, "{status}");
    }
}

#[tokio::test]
async fn the_receiver_gets_the_bytes_that_were_signed() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let receiver = Receiver::start(Script::answer("200 OK", "", "thanks")).await;
    let mut target = target(&receiver.url(), LONG);
    target.signing = Signing::Standard(vec![Key::parse(SECRET).unwrap()]);
    let mut secret = HeaderValue::from_static("billing");
    secret.set_sensitive(true);
    target.headers.insert("x-team", secret);
    let event = EventId::new("evt_42").unwrap();
    let shaped = Shaped {
        content_type: "application/json; charset=utf-8".to_owned(),
        headers: vec![("x-shaped".to_owned(), "yes".to_owned())],
        body: "{\"n\": 1.0, \"n\": 1e2, \"s\": \"\\u00e9é\"}\n".into(),
    };
    let request =
        Request { attempt: 2, traceparent: Some("00-1-2-01"), in_full: true, ..request(&event, &shaped) };
    let now = Timestamp::from_millis(1_700_000_000_999);
    let report = client().send(&target, request, now).await;
    assert_eq!(ending(&report), (Delivered, None));
    assert_eq!(report.answer.unwrap().body, "thanks");
    let exchange = report.exchange.unwrap();

    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), &shaped.body[..]);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook HTTP/1.1"));
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        })
        .collect();
    // What is told of the request is what was sent, and no secret.
    let told: Vec<_> =
        exchange.request_headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut sent: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    sent.sort_unstable();
    assert!(sent.contains(&("x-team", "billing")) && told.contains(&("x-team", "***")), "{told:?}");
    let others = |headers: &[(&str, &str)]| {
        let others = headers.iter().filter(|(name, _)| *name != "x-team");
        others.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
    };
    assert_eq!(others(&told), others(&sent));
    assert!(exchange.answer_headers.contains(&("content-length".to_owned(), "6".to_owned())), "{exchange:?}");
    let timings = exchange.timings;
    assert!(timings.connect_us.is_some() && timings.connect_us <= timings.first_byte_us, "{timings:?}");
    assert_eq!((timings.lookup_us, timings.tls_us), (None, None), "an address, without TLS");
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-type",
            "hookweir-attempt",
            "host",
            "traceparent",
            "user-agent",
            "webhook-id",
            "webhook-signature",
            "webhook-timestamp",
            "x-shaped",
            "x-team",
        ]
    );
    assert_eq!(headers["webhook-id"], "evt_42");
    assert_eq!(headers["webhook-timestamp"], "1700000000");
    assert_eq!(headers["hookweir-attempt"], "2");
    assert_eq!(headers["host"], receiver.address.to_string());
    let keys = [VerifyingKey::parse(SECRET).unwrap()];
    assert_eq!(verify_standard(&keys, &headers, body.as_bytes(), now, Duration::ZERO), Ok(()));
}

#[tokio::test]
async fn a_header_that_can_not_be_sent_rejects_before_a_connection() {
    let receiver = Receiver::start(Script::answer("200 OK", "", "")).await;
    let event = EventId::new("evt_1").unwrap();
    let shaped = Shaped {
        content_type: "text/plain".to_owned(),
        headers: vec![("Transfer-Encoding".to_owned(), "chunked".to_owned())],
        body: "x".into(),
    };
    let report =
        client().send(&target(&receiver.url(), LONG), request(&event, &shaped), Timestamp::now()).await;
    assert_eq!(
        ending(&report),
        (
            Rejected,
            Some(
                "the request can't be sent: header \"Transfer-Encoding\" is set by the gateway, by HTTP or by a broker and can't be given"
            )
        )
    );
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver =
        Receiver::start(Script::Serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())).await;
    let client = client();
    let target = target(&receiver.url(), LONG);
    for _ in 0..5 {
        assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
    }
    assert_eq!(receiver.requests().len(), 5);
    assert!(receiver.connections() < 5, "{} connections", receiver.connections());
}

#[tokio::test]
async fn the_exchange_is_told_where_it_failed_or_was_asked_for() {
    let event = EventId::new("evt_1").unwrap();
    let shaped = Shaped { content_type: "text/plain".to_owned(), headers: Vec::new(), body: "1".into() };
    let now = Timestamp::from_millis(1_700_000_000_999);
    for (status, in_full, wanted) in
        [("200 OK", false, false), ("200 OK", true, true), ("500 Broken", false, true)]
    {
        let receiver = Receiver::start(Script::answer(status, "x-a: 1\r\nx-a: 2\r\n", "")).await;
        let request = Request { in_full, ..request(&event, &shaped) };
        let report = client().send(&target(&receiver.url(), LONG), request, now).await;
        assert_eq!(report.exchange.is_some(), wanted, "{status} {in_full}");
        if let Some(exchange) = report.exchange {
            let values: Vec<_> = exchange.answer_headers.iter().filter(|(name, _)| name == "x-a").collect();
            assert_eq!(values.len(), 2, "{values:?}");
        }
    }
    // Nothing was sent where there was no connection.
    let refused = client().send(&target("http://127.0.0.1:1/", LONG), request(&event, &shaped), now).await;
    let tried = vec!["127.0.0.1:1: refused".to_owned()];
    let only_tried = Exchange { tried, ..Exchange::default() };
    assert_eq!((refused.outcome, refused.exchange), (Retry, Some(Box::new(only_tried))));
}
