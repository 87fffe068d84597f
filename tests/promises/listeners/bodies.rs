//! Bodies that do not come to their end.

use std::time::Duration;

use hookweir_tests::{Gateway, raw};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};

use super::{
    BESIDE, BUDGET, MIB, connect, head, many_connections, measured, metric, neighbours_are_served, status,
    tenants, to_the_end,
};

const BODIES: &str = "hookweir_listener_bytes{kind=\"requests\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_bodies_without_their_last_byte_keep_to_the_budget() {
    many_connections();
    let gateway = Gateway::start(tenants()).await;
    let before = gateway.resident();
    let body = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(1_000_000));
    let declared = head("events", &format!("Content-Length: {}\r\n", body.len() + 1)) + &body;
    let chunked =
        head("events", "Transfer-Encoding: chunked\r\n") + &format!("{:x}\r\n{body}", body.len() + 1);
    let mut sending = Vec::new();
    for number in 0..600 {
        let bytes = if number % 2 == 0 { declared.clone() } else { chunked.clone() };
        let address = gateway.accept_address();
        sending.push(tokio::spawn(async move {
            let mut stream = connect(address).await;
            // One that is refused is closed before all of it is written.
            let _ = stream.write_all(bytes.as_bytes()).await;
            to_the_end(&mut stream).await
        }));
    }
    measured(&gateway, BODIES, |held| held > 8 * MIB).await;
    neighbours_are_served(&gateway).await;
    let held = metric(&gateway, BODIES).await;
    assert!(held <= BUDGET, "{held}");
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for sent in sending {
        *answers.entry(status(&sent.await.expect("a connection"))).or_default() += 1;
    }
    let most = gateway.most_resident();
    println!(
        "600 bodies of 1 MB without an end: {held} bytes held, {before} resident before, {most} at most, {answers:?}"
    );
    assert!(most <= before.max(64 * MIB) + BUDGET + BESIDE, "{most} bytes were resident, {before} before");
    // 0: refused, and the reset that ends a connection with unread bytes came before the answer was read.
    assert!(answers.keys().all(|status| [0, 408, 429, 503].contains(status)), "{answers:?}");
    assert!(answers.contains_key(&408) && answers.contains_key(&429), "{answers:?}");
    measured(&gateway, BODIES, |held| held == 0).await;
    gateway.sender().event("a.b", "1").await;
}

#[tokio::test]
async fn a_body_that_comes_slowly_and_steadily_is_taken() {
    let gateway = Gateway::start(tenants()).await;
    let body = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(120_000));
    let mut stream = connect(gateway.accept_address()).await;
    let more = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    stream.write_all(head("events", &more).as_bytes()).await.expect("a head");
    // Forty seconds, at three KiB a second.
    let start = Instant::now();
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(body.len() / 80 + 1).collect();
    for (number, piece) in pieces.iter().enumerate() {
        sleep_until(start + Duration::from_millis(500) * number as u32).await;
        stream.write_all(piece).await.expect("a piece of the body");
    }
    let answer = to_the_end(&mut stream).await;
    assert_eq!(status(&answer), 202, "{answer}");
    assert!(start.elapsed() > Duration::from_secs(35));
}

#[tokio::test]
async fn who_is_told_to_go_on_and_does_not_is_told_why_it_ends() {
    let gateway = Gateway::start(tenants()).await;
    let address = gateway.accept_address();
    let expecting = "Content-Length: 1000\r\nExpect: 100-continue\r\n";
    let begun = Instant::now();
    let answer = raw::exchange(address, head("events", expecting).as_bytes()).await;
    assert!(answer.closed && answer.text.starts_with("HTTP/1.1 100 Continue\r\n"), "{answer:?}");
    assert!(answer.text.contains("HTTP/1.1 408 ") && answer.text.contains("connection: close"), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());

    // What is refused before its body was asked for says too that the connection ends.
    for (what, request, wanted) in [
        ("an unknown key", head("events", expecting).replace(hookweir_tests::KEY, "another"), 401),
        ("another tenant", head("events", expecting).replace("acme", "globex"), 404),
        ("a body too large", head("events", "Content-Length: 9999999\r\nExpect: 100-continue\r\n"), 413),
        ("a compressed body", head("events", &format!("Content-Encoding: gzip\r\n{expecting}")), 415),
    ] {
        let answer = raw::exchange(address, request.as_bytes()).await;
        assert_eq!(answer.status(), wanted, "{what}: {answer:?}");
        assert!(answer.closed && answer.text.contains("connection: close"), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn an_encoded_body_is_refused_with_what_can_be_sent() {
    let gateway = Gateway::start(tenants()).await;
    let sender = gateway.sender();
    let answer = sender.post(&[("content-encoding", "gzip")], "\u{1f}").await.expect(415);
    assert_eq!(answer.header("accept-encoding"), Some("identity"), "{answer}");
    assert!(
        answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("Content-Encoding")),
        "{answer}"
    );
    sender.post(&[("content-encoding", "identity")], r#"{"type":"a.b","data":1}"#).await.expect(202);
}
