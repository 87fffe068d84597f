//! The accept listener: who may send, what is taken, what is refused and how, and that a repeated event is one event.

use hookweir_tests::{Answer, Config, Gateway, KEY, Receiver, Reply, endpoint, one_endpoint, raw, tenant};
use serde_json::Value;

const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";
const EVENTS: &str = "/v1/tenants/acme/events";

/// A refusal is a problem document that says what to do.
fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}: {answer}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{what}: no {member} in {problem}"
        );
    }
}

async fn gateway_without_endpoints() -> Gateway {
    Gateway::start(tenant("acme", KEY) + &tenant("globex", OTHER_KEY)).await
}

#[tokio::test]
async fn only_the_tenants_own_key_may_send() {
    let gateway = gateway_without_endpoints().await;
    let body = r#"{"type":"a.b","data":1}"#;
    gateway.sender().post(&[], body).await.expect(202);

    let wrong = "an-unknown-key-0123456789";
    let known = gateway.sender_of("acme", wrong).post(&[], body).await;
    let unknown = gateway.sender_of("nobody", wrong).post(&[], body).await;
    assert_problem(&known, 401, "an unknown key");
    assert_problem(&unknown, 401, "an unknown key and tenant");
    assert_eq!(known.text(), unknown.text(), "an unknown key does not learn which tenants there are");

    let others = gateway.sender_of("globex", KEY).post(&[], body).await;
    let nobody = gateway.sender_of("nobody", KEY).post(&[], body).await;
    assert_problem(&others, 404, "another tenant's path");
    assert_problem(&nobody, 404, "an unknown tenant");
    assert_eq!(others.text(), nobody.text(), "a key does not learn which other tenants there are");

    for header in
        ["", "Authorization: Basic a2V5\r\n", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n"]
    {
        let request = format!(
            "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await;
        assert_eq!(answer.status(), 401, "{header:?}: {answer:?}");
    }
    let others = gateway.admin().list("/v1/tenants/globex/events").await;
    assert!(others.is_empty(), "nothing was sent for globex, and there is {others:?}");
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_a_sentence() {
    let gateway = gateway_without_endpoints().await;
    let sender = gateway.sender();
    let long = "a".repeat(2000);
    let long_type = format!(r#"{{"type":"{}","data":1}}"#, "a".repeat(256));
    let long_id = format!(r#"{{"type":"a.b","data":1,"id":"{long}"}}"#);
    for (what, body) in [
        ("no body", ""),
        ("not JSON", "hello"),
        ("a list", "[]"),
        ("a list of events", r#"[{"type":"a.b","data":1}]"#),
        ("a list of an event's members", r#"["a.b",1,null,null,null,null,null]"#),
        ("a byte order mark", "\u{feff}{\"type\":\"a.b\",\"data\":1}"),
        ("UTF-16", "{\0\"\0t\0"),
        ("no type", r#"{"data":1}"#),
        ("no data", r#"{"type":"a.b"}"#),
        ("a type that is a number", r#"{"type":1,"data":1}"#),
        ("an empty type", r#"{"type":"","data":1}"#),
        ("a type with a blank", r#"{"type":"a b","data":1}"#),
        ("a type with an empty segment", r#"{"type":"a..b","data":1}"#),
        ("a type that is a pattern", r#"{"type":"a.*","data":1}"#),
        ("a type that is too long", &long_type),
        ("an empty id", r#"{"type":"a.b","data":1,"id":""}"#),
        ("an id with a dot, which signatures can't have", r#"{"type":"a.b","data":1,"id":"a.b"}"#),
        ("an id with a line end", "{\"type\":\"a.b\",\"data\":1,\"id\":\"a\\nb\"}"),
        ("an id that is too long", &long_id),
        ("an id that is a number", r#"{"type":"a.b","data":1,"id":7}"#),
        ("a time that is none", r#"{"type":"a.b","data":1,"time":"yesterday"}"#),
        ("an unknown member", r#"{"type":"a.b","data":1,"dta":2}"#),
        ("a member twice", r#"{"type":"a.b","data":1,"data":2}"#),
        ("something after the event", r#"{"type":"a.b","data":1} {}"#),
    ] {
        let refused = sender.post(&[], body.to_owned()).await;
        assert_problem(&refused, 400, what);
        assert!(!refused.text().contains("struct"), "{what}: {refused}");
    }
    for (body, wanted) in [
        (&br#"["a.b",1,null,null,null,null,null]"#[..], "an array of events is not taken"),
        (b"\xef\xbb\xbf{\"type\":\"a.b\",\"data\":1}", "byte order mark"),
        (b"{\n\"type\":\"a.b\",\"data\":\"M\xfcller\"}", "not UTF-8: line 2 has the byte FC"),
    ] {
        let refused = sender.post(&[], body.to_vec()).await.expect(400);
        assert!(refused.text().contains(wanted), "{refused}");
    }
    for (what, content_type) in [("text", "text/plain"), ("a form", "application/x-www-form-urlencoded")] {
        let answer = sender.post(&[("content-type", content_type)], r#"{"type":"a.b","data":1}"#).await;
        assert_problem(&answer, 415, what);
    }
    let spelt_otherwise = [("content-type", "Application/JSON; charset=utf-8")];
    sender.post(&spelt_otherwise, r#"{"type":"a.b","data":1}"#).await.expect(202);
    let long_key = sender.post(&[("idempotency-key", &long)], r#"{"type":"a.b","data":1}"#).await;
    assert_problem(&long_key, 400, "an idempotency key that is too long");
    assert_eq!(gateway.admin().list("/v1/tenants/acme/events").await.len(), 1, "nothing refused was kept");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let config = Config { accept: "max_body = \"1KiB\"".to_owned(), ..Config::new(tenant("acme", KEY)) };
    let gateway = Gateway::start(config).await;
    let body = |size: usize| {
        let frame = r#"{"type":"a.b","data":""}"#.len();
        format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(size - frame))
    };
    gateway.sender().post(&[], body(1024)).await.expect(202);
    assert_problem(&gateway.sender().post(&[], body(1025)).await, 413, "one byte more");

    // Chunked, so that only reading can tell.
    let chunk = body(2048);
    let request = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len()
    );
    let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await;
    assert_eq!(answer.status(), 413, "{answer:?}");
}

/// What a 202 says: the id, and whether the event was there already.
fn accepted(answer: Answer) -> (String, bool, u64) {
    let body = answer.expect(202).json();
    let id = body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).to_owned();
    let deliveries = body["deliveries"].as_u64().unwrap_or_else(|| panic!("no deliveries in {body}"));
    (id, body["duplicate"] == Value::Bool(true), deliveries)
}

#[tokio::test]
async fn a_repeated_event_is_one_event_also_after_a_crash() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let keyed = [("idempotency-key", "order 7, take 1")];
    let by_id = r#"{"type":"a.b","data":{"n":1},"id":"order-7"}"#;
    let by_key = r#"{"type":"a.b","data":{"n":2}}"#;

    let (first, duplicate, deliveries) = accepted(gateway.sender().post(&[], by_id).await);
    assert_eq!((first.as_str(), duplicate, deliveries), ("order-7", false, 1));
    let (second, duplicate, _) = accepted(gateway.sender().post(&keyed, by_key).await);
    assert!(second.starts_with("evt_") && second.len() == 36 && !duplicate, "{second}");

    for crashed in [false, true] {
        if crashed {
            gateway.kill9().await;
            gateway.start_again().await;
        }
        let sender = gateway.sender();
        let (id, duplicate, _) = accepted(sender.post(&[], by_id).await);
        assert_eq!((id.as_str(), duplicate), ("order-7", true), "crashed: {crashed}");
        let (id, duplicate, _) = accepted(sender.post(&keyed, by_key).await);
        assert_eq!((&id, duplicate), (&second, true), "crashed: {crashed}");

        let other_bytes = sender.post(&[], r#"{"type":"a.b","data":{"n":9},"id":"order-7"}"#).await;
        assert_problem(&other_bytes, 409, "the same id with other bytes");
        let other_bytes = sender.post(&keyed, r#"{"type":"a.b","data":{"n":9}}"#).await;
        assert_problem(&other_bytes, 409, "the same key with other bytes");
    }
    // Another key or none makes another event of the same bytes.
    let (third, duplicate, _) =
        accepted(gateway.sender().post(&[("idempotency-key", "take 2")], by_key).await);
    assert!(third != second && !duplicate);
    let (fourth, duplicate, _) = accepted(gateway.sender().post(&[], by_key).await);
    assert!(fourth != second && !duplicate);

    for event in ["order-7", &second, &third, &fourth] {
        gateway.admin().delivery("acme", event, "hook", "delivered").await;
    }
    let mut events: Vec<String> =
        receiver.requests().iter().map(|request| request.event().to_owned()).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(gateway.admin().list("/v1/tenants/acme/events").await.len(), 4);
}

#[tokio::test]
async fn the_same_id_of_two_tenants_is_two_events() {
    let gateway = gateway_without_endpoints().await;
    let body = r#"{"type":"a.b","data":1,"id":"shared"}"#;
    for sender in [gateway.sender(), gateway.sender_of("globex", OTHER_KEY)] {
        let (id, duplicate, deliveries) = accepted(sender.post(&[("idempotency-key", "k")], body).await);
        assert_eq!((id.as_str(), duplicate, deliveries), ("shared", false, 0));
    }
}

#[tokio::test]
async fn events_go_to_the_endpoints_that_subscribe() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let types = [
        ("exact", r#"["order.created"]"#, "order.created"),
        ("one", r#"["order.*", "invoice.paid"]"#, "invoice.paid order.created"),
        ("rest", r#"["order.**"]"#, "order.created order.item.added"),
        ("all", r#"["*"]"#, "invoice.paid order.created order.item.added orders.created"),
        ("other", r#"["user.*"]"#, ""),
    ];
    let mut config = tenant("acme", KEY);
    for (id, patterns, _) in types {
        config +=
            &endpoint("acme", id, &receiver.url(&format!("/{id}")), &format!("event_types = {patterns}"));
    }
    let gateway = Gateway::start(config).await;
    let mut sent = 0;
    for event_type in ["order.created", "order.item.added", "orders.created", "invoice.paid"] {
        let body = format!(r#"{{"type":"{event_type}","data":"{event_type}"}}"#);
        sent += accepted(gateway.sender().post(&[], body).await).2;
    }
    assert_eq!(sent, 9);
    let requests = receiver.wait_for(9).await;
    for (id, _, wanted) in types {
        let path = format!("/{id}");
        let mut got: Vec<String> = requests
            .iter()
            .filter(|request| request.path == path)
            .map(|request| String::from_utf8_lossy(&request.body).replace('"', ""))
            .collect();
        got.sort_unstable();
        assert_eq!(got.join(" "), wanted, "{id}");
    }
}

/// Requests that two HTTP parsers may read in two ways, so that one could smuggle a request past the other.
#[tokio::test]
async fn ambiguous_requests_are_refused_and_the_connection_is_closed() {
    let gateway = gateway_without_endpoints().await;
    let body = r#"{"type":"a.b","data":1}"#;
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let smuggled = format!("GET {EVENTS} HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n"
    );
    let with = |headers: &str, body: &str| format!("{head}{headers}\r\n{body}{smuggled}");
    let long = "x".repeat(300 << 10);
    let cases = [
        ("chunked twice", with("Transfer-Encoding: chunked, chunked\r\n", &chunked)),
        (
            "chunked on two lines",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunked),
        ),
        ("an empty coding", with("Transfer-Encoding: ,chunked\r\n", &chunked)),
        ("an unknown coding", with("Transfer-Encoding: cow, chunked\r\n", &chunked)),
        ("a coding after chunked", with("Transfer-Encoding: chunked, gzip\r\n", &chunked)),
        ("identity", with(&format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n"), body)),
        (
            "two lengths that differ",
            with(&format!("Content-Length: {length}\r\nContent-Length: 1\r\n"), body),
        ),
        ("a length with a sign", with(&format!("Content-Length: +{length}\r\n"), body)),
        ("a length in hexadecimal", with("Content-Length: 0x17\r\n", body)),
        ("two hosts", with(&format!("Host: h\r\nContent-Length: {length}\r\n"), body)),
        ("two hosts that differ", with(&format!("Host: g\r\nContent-Length: {length}\r\n"), body)),
        (
            "no host",
            format!(
                "POST {EVENTS} HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {length}\r\n\r\n{body}{smuggled}"
            ),
        ),
        ("a blank before the colon", with(&format!("Content-Length : {length}\r\n"), body)),
        ("a folded header", with(&format!("X-A: b\r\n c\r\nContent-Length: {length}\r\n"), body)),
        (
            "a control character in a value",
            with(&format!("X-A: a\u{0}b\r\nContent-Length: {length}\r\n"), body),
        ),
        (
            "characters beyond ASCII in a value",
            with(&format!("X-A: é\r\nContent-Length: {length}\r\n"), body),
        ),
        (
            "an absolute target of another host",
            with(&format!("Content-Length: {length}\r\n"), body).replacen(
                EVENTS,
                &format!("http://other{EVENTS}"),
                1,
            ),
        ),
        (
            "a target that is none",
            with(&format!("Content-Length: {length}\r\n"), body).replacen(EVENTS, "!", 1),
        ),
        (
            "a chunk size that overflows",
            with("Transfer-Encoding: chunked\r\n", &format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n")),
        ),
        ("a header without end", with(&format!("X-A: {long}\r\nContent-Length: {length}\r\n"), body)),
        (
            "a target without end",
            with(&format!("Content-Length: {length}\r\n"), body).replacen(
                EVENTS,
                &format!("{EVENTS}?{long}"),
                1,
            ),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request) in &cases {
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await;
        // One answer and the end of the connection: what follows was not taken for a request.
        if !answer.closed || answer.answers() != 1 || !matches!(answer.status(), 400 | 414 | 431) {
            wrong.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "not refused with 400 and the end of the connection:\n{}", wrong.join("\n"));
    let taken = gateway.admin().list("/v1/tenants/acme/events").await;
    assert!(taken.is_empty(), "a request that can be read in two ways was taken: {taken:?}");
    // The plain request beside them is taken, and the connection stays open for the next.
    let plain = with(&format!("Content-Length: {length}\r\nConnection: close\r\n"), body);
    let answer = raw::exchange(gateway.accept_address(), plain.as_bytes()).await;
    assert_eq!(answer.status(), 202, "{answer:?}");
    let pipelined = format!(
        "{head}Content-Length: {length}\r\n\r\n{body}{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = raw::exchange(gateway.accept_address(), pipelined.as_bytes()).await;
    assert_eq!((answer.status(), answer.answers()), (202, 2), "{answer:?}");
}

/// The HTTP library takes the chunks, hides the length and closes: the request is served once, and nothing behind it is.
#[tokio::test]
async fn a_request_with_two_lengths_ends_its_connection() {
    let gateway = gateway_without_endpoints().await;
    let body = r#"{"type":"a.b","data":1}"#;
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let smuggled = format!("GET {EVENTS} HTTP/1.1\r\nHost: h\r\n\r\n");
    for lengths in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ] {
        let request = format!(
            "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n{lengths}\r\n{chunked}{smuggled}"
        );
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await;
        assert_eq!((answer.closed, answer.answers()), (true, 1), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken() {
    let gateway = gateway_without_endpoints().await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n"
    );
    let body = r#"{"type":"a.b","data":1}"#;
    for request in [
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\nZZ\r\n", body.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}XX0\r\n\r\n", body.len()),
    ] {
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await;
        assert!(answer.closed && answer.status() != 202, "{answer:?}");
    }
    assert!(gateway.admin().list("/v1/tenants/acme/events").await.is_empty());
}
