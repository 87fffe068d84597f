//! Answers that are not read.

use std::time::Duration;

use hookweir_tests::{Gateway, eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::{
    BESIDE, BUDGET, MIB, connect, many_connections, measured, metric, neighbours_are_served, post, status,
    tenants, to_the_end, write_until_full,
};

const ANSWERS: &str = "hookweir_listener_bytes{kind=\"answers\"}";

/// Messages of almost 1 MB each in the first tenant's queue.
async fn fill(gateway: &Gateway, count: u64) {
    let data = format!("\"{}\"", "x".repeat(1_000_000));
    for _ in 0..count {
        gateway.sender().event("a.b", &data).await;
    }
    eventually("all messages in the queue", async || match gateway.consumer("inbox").stats().await {
        [visible, ..] if visible == count => Ok(()),
        stats => Err(format!("{stats:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_unread_answers_keep_to_the_budget_and_are_given_up() {
    many_connections();
    let gateway = Gateway::start(tenants()).await;
    fill(&gateway, 8).await;
    let before = gateway.resident();
    let mut silent = Vec::new();
    for action in ["peek", "receive"].into_iter().cycle().take(300) {
        let mut stream = connect(gateway.accept_address()).await;
        let body = match action {
            "peek" => r#"{"max":100}"#,
            _ => r#"{"max":100,"visibility_timeout":"1s"}"#,
        };
        stream.write_all(post(&format!("queues/inbox/{action}"), body).as_bytes()).await.expect("a request");
        silent.push(stream);
    }
    measured(&gateway, ANSWERS, |held| held > 8 * MIB).await;
    neighbours_are_served(&gateway).await;
    let held = metric(&gateway, ANSWERS).await;
    let most = gateway.most_resident();
    println!("300 unread answers: {held} bytes held, {before} resident before, {most} at most");
    assert!(held <= BUDGET, "{held}");
    assert!(most <= before.max(64 * MIB) + BUDGET + BESIDE, "{most} bytes were resident, {before} before");

    // Nobody has read a byte: the gateway gives all of it up by itself, and the tenant is served again.
    measured(&gateway, ANSWERS, |held| held == 0).await;
    let peek = gateway.consumer("inbox").ask("peek", serde_json::json!({ "max": 100 })).await;
    let messages = peek.expect(200).json()["messages"].as_array().map_or(0, Vec::len);
    assert!((1..=4).contains(&messages), "{messages} messages of 1 MB in an answer of 4 MiB");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_large_messages_are_never_read_to_be_cut() {
    let gateway = Gateway::start(tenants()).await;
    fill(&gateway, 100).await;
    let before = gateway.most_resident();
    for action in ["peek", "dead", "receive"] {
        let answer =
            gateway.consumer("inbox").ask(action, serde_json::json!({ "max": 100 })).await.expect(200);
        assert!(answer.body.len() < 6 << 20, "{action}: {} bytes", answer.body.len());
    }
    let grown = gateway.most_resident() - before;
    println!("peek, dead and receive of 100 messages of 1 MB: {grown} bytes more were resident");
    assert!(grown < 48 * MIB, "{grown} bytes more were resident");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pipelines_and_reads_nothing_loses_its_connection() {
    let gateway = Gateway::start(tenants()).await;
    // Each is answered by an error of some hundred bytes, so that the answers outgrow what any buffer takes.
    let request = "GET /v1/nothing HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    for address in [gateway.accept_address(), gateway.admin_address()] {
        let before = gateway.resident();
        let mut stream = connect(address).await;
        let written = write_until_full(&mut stream, request.as_bytes(), 64 << 20).await;
        assert!(written < 64 << 20, "the gateway takes requests without end whose answers nobody reads");
        let grown = gateway.resident().saturating_sub(before);
        println!("{written} bytes of requests were taken without reading; {grown} bytes more are resident");
        assert!(grown < 32 * MIB, "{grown}");
        neighbours_are_served(&gateway).await;
        // It is ended though nothing was read, and no request is taken on it meanwhile.
        eventually("the connection to be given up", async || match stream.try_write(request.as_bytes()) {
            Ok(_) => Err("it takes more requests".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err("it is open".to_owned()),
            Err(_) => Ok(()),
        })
        .await;
    }
}

/// Reads an answer a few KiB a second, which is slow and honest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_read_slowly_comes_as_a_whole() {
    let gateway = Gateway::start(tenants()).await;
    fill(&gateway, 1).await;
    let mut stream = connect(gateway.accept_address()).await;
    stream.write_all(post("queues/inbox/peek", "").as_bytes()).await.expect("a request");
    let start = Instant::now();
    let (mut seen, mut piece) = (Vec::new(), vec![0; 8 << 10]);
    // Forty seconds slowly, which is longer than nothing may move, and the rest at once.
    for tenth in 1..=400 {
        sleep_until(start + Duration::from_millis(100 * tenth)).await;
        let read = within("a piece of the answer", stream.read(&mut piece[..1 << 10])).await;
        let read = read.expect("the answer goes on");
        assert!(read > 0, "the answer ended after {} bytes", seen.len());
        seen.extend_from_slice(&piece[..read]);
    }
    while seen.len() < 1_000_000 {
        let read = within("the rest", stream.read(&mut piece)).await.expect("the rest of the answer");
        assert!(read > 0, "the answer ended after {} bytes", seen.len());
        seen.extend_from_slice(&piece[..read]);
    }
    assert_eq!(status(&String::from_utf8_lossy(&seen[..64])), 200);
    // The connection is good for another request.
    let closing = post("queues/inbox/stats", "").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream.write_all(closing.as_bytes()).await.expect("another request");
    assert!(to_the_end(&mut stream).await.contains("\"visible\":1"));
}
