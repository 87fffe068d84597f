//! Receivers that misbehave below HTTP, or with a body that never ends. None of them holds an attempt past its
//! deadline, and no body changes an outcome.

use std::net::Ipv4Addr;

use hookweir_model::Outcome::{Blocked, Delivered, Retry};
use tokio::net::TcpListener;

use crate::harness::{
    BlackHole, LONG, Receiver, SHORT, Script, attempt, client, ending, loopback, send_to, target,
};
use hookweir_delivery::{EgressPolicy, HttpClient};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

fn ok(rest: &str) -> Vec<u8> {
    [OK, rest.as_bytes()].concat()
}

#[tokio::test]
async fn answers_that_never_come() {
    for (name, script) in [
        ("silence", Script::Hold(Vec::new())),
        ("half a status line", Script::Hold(b"HTTP/1.1 2".to_vec())),
        ("a head without an end", Script::Hold(ok("x-a: b\r\n"))),
        ("a head byte by byte", Script::Drip(OK.to_vec(), b"x-a: b\r\n".to_vec())),
        ("early hints without an end", {
            Script::Drip(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())
        }),
    ] {
        let report = attempt(script, SHORT).await;
        assert_eq!(ending(&report), (Retry, Some("no answer within 300 ms")), "{name}");
        assert_eq!(report.answer, None, "{name}");
    }
}

#[tokio::test]
async fn answers_that_break() {
    const CLOSED: &str = "the connection was closed before an answer";
    for (name, script, reason) in [
        ("closed at once", Script::Slam, CLOSED),
        ("closed after the request", Script::Say(Vec::new()), CLOSED),
        ("closed within the status", Script::Say(b"HTTP/1.1 20".to_vec()), CLOSED),
        ("closed within the head", Script::Say(ok("x-a: b\r\n")), CLOSED),
        (
            "garbage",
            Script::Say(vec![0x16, 3, 1, 0, 0xff, 7, 7, 7, 13, 10, 13, 10]),
            "the answer is not HTTP",
        ),
        ("no status line", Script::Say(b"<html>hello</html>\r\n\r\n".to_vec()), "the answer is not HTTP"),
        ("a status of letters", Script::Say(b"HTTP/1.1 OK fine\r\n\r\n".to_vec()), "the answer is not HTTP"),
        ("1,000 headers", Script::Say(ok(&"x-a: b\r\n".repeat(1000))), "the answer's head is too large"),
        (
            "a line of a megabyte",
            Script::Hold(ok(&format!("x-a: {}\r\n\r\n", "b".repeat(1 << 20)))),
            "the answer's head is too large",
        ),
    ] {
        assert_eq!(ending(&attempt(script, LONG).await), (Retry, Some(reason)), "{name}");
    }
}

#[tokio::test]
async fn bodies_never_decide() {
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (name, script) in [
        ("none", Script::Say(ok("content-length: 0\r\n\r\n"))),
        ("shorter than its length", Script::Say(ok("content-length: 100\r\n\r\nshort"))),
        ("without a length", Script::Say(ok("\r\nuntil the end"))),
        ("with a bad chunk size", Script::Say(ok(&format!("{chunked}zz\r\n")))),
        ("broken within a chunk", Script::Say(ok(&format!("{chunked}ff\r\nabc")))),
        ("endless", Script::Repeat(ok("\r\n"), vec![b'a'; 65536])),
        ("endless in chunks", Script::Repeat(ok(chunked), b"4\r\nabcd\r\n".to_vec())),
        ("of a gigabyte", Script::Repeat(ok("content-length: 1073741824\r\n\r\n"), vec![b'a'; 65536])),
    ] {
        assert_eq!(ending(&attempt(script, LONG).await), (Delivered, None), "{name}");
    }
    // These end with the deadline, and are delivered all the same.
    for (name, script) in [
        ("that never comes", Script::Hold(ok("content-length: 5\r\n\r\n"))),
        ("byte by byte", Script::Drip(ok("content-length: 100000\r\n\r\n"), b"a".to_vec())),
    ] {
        assert_eq!(ending(&attempt(script, SHORT * 5).await), (Delivered, None), "{name}");
    }
    let refused = Script::Repeat(b"HTTP/1.1 500 No\r\n\r\n".to_vec(), vec![b'a'; 65536]);
    assert_eq!(ending(&attempt(refused, LONG).await), (Retry, Some("answered 500")));
}

#[tokio::test]
async fn the_first_16_kib_of_a_body_are_kept() {
    let body = |report: hookweir_delivery::Report| report.answer.unwrap().body;
    let endless = attempt(Script::Repeat(ok("\r\n"), b"0123456789abcdef".to_vec()), LONG).await;
    assert_eq!(body(endless), "0123456789abcdef".repeat(1024));
    let broken = attempt(Script::Say(ok("content-length: 100\r\n\r\nshort")), LONG).await;
    assert_eq!(body(broken), "short");
    let whole = attempt(Script::answer("500 No", "", "no room"), LONG).await;
    assert_eq!(body(whole), "no room");
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_is() {
    // `gzip` of ten bytes; inflating it would show them.
    let zipped: &[u8] =
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x2b, 0xc9, 0x48, 0x55, 0x28, 0x2c, 0xcd, 0x4c, 0xce, 6, 0];
    let head = format!("content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", zipped.len());
    let report = attempt(Script::Say([&ok(&head), zipped].concat()), LONG).await;
    assert_eq!(ending(&report), (Delivered, None));
    assert_eq!(report.answer.unwrap().body, String::from_utf8_lossy(zipped));
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = send_to(&client(), &target(&format!("http://{address}/"), LONG)).await;
    assert_eq!(ending(&report), (Retry, Some("connection refused")));
    assert!(!report.reason.unwrap().contains("127"));
}

#[tokio::test]
async fn a_connection_that_is_never_made() {
    let hole = BlackHole::at((Ipv4Addr::LOCALHOST, 0).into()).await;
    let address = hole.address;
    let mut target = target(&format!("http://{address}/"), LONG);
    target.connect_timeout = SHORT;
    let report = send_to(&client(), &target).await;
    assert_eq!(ending(&report), (Retry, Some("no connection within 300 ms")));

    target.connect_timeout = LONG;
    target.timeout = SHORT;
    let report = send_to(&client(), &target).await;
    assert_eq!(ending(&report), (Retry, Some("no answer within 300 ms")));
}

#[tokio::test]
async fn a_literal_address_is_judged_before_it_is_dialled() {
    let receiver = Receiver::start(Script::answer("200 OK", "", "")).await;
    let strict = HttpClient::new(EgressPolicy { allow_cidrs: Vec::new(), ..loopback() }).unwrap();
    let port = receiver.address.port();
    for host in ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "localhost"] {
        let report = send_to(&strict, &target(&format!("http://{host}:{port}/"), LONG)).await;
        assert_eq!(ending(&report), (Blocked, Some("blocked address")), "{host}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_port_that_is_not_allowed_and_the_gateways_own_are_not_dialled() {
    let receiver = Receiver::start(Script::answer("200 OK", "", "")).await;
    for policy in [
        EgressPolicy { allow_ports: vec![443], ..loopback() },
        EgressPolicy { own_addresses: vec![receiver.address], ..loopback() },
    ] {
        let report = send_to(&HttpClient::new(policy).unwrap(), &target(&receiver.url(), LONG)).await;
        assert_eq!(ending(&report), (Blocked, Some("blocked address")));
    }
    assert_eq!(receiver.connections(), 0);
}
