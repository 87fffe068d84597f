//! Connections that wait, on the accept listener.

use hookweir_tests::{Gateway, raw, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{connect, many_connections, metric, neighbours_are_served, status, tenants};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_give_way_to_new_ones() {
    many_connections();
    // Of 1,024 descriptors, half may be senders' connections.
    let gateway = Gateway::start_with_descriptors(tenants(), 1024).await;
    let mut idle = Vec::new();
    for number in 0..2000 {
        let mut stream = connect(gateway.accept_address()).await;
        let request = match number % 3 {
            0 => "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
            1 => "POST /v1/tenants/acme/events HTTP/1.1\r\nHost: ",
            _ => "",
        };
        stream.write_all(request.as_bytes()).await.expect("bytes of a request");
        if number % 3 == 0 {
            let mut answer = [0; 12];
            within("an answer", stream.read_exact(&mut answer)).await.expect("an answer");
            assert_eq!(status(&String::from_utf8_lossy(&answer)), 200, "connection {number}");
        }
        idle.push(stream);
    }
    neighbours_are_served(&gateway).await;
    gateway.sender().event("a.b", "1").await;
    let open = metric(&gateway, "hookweir_listener_connections{listener=\"accept\"}").await;
    let evicted = metric(&gateway, "hookweir_listener_evicted_total{listener=\"accept\"}").await;
    println!("2,000 idle connections: {open} are open, {evicted} gave way");
    assert!(open <= 512 && evicted >= 1400, "{open} are open, {evicted} gave way");
}

/// A consumer that waits is at work: it does not give way, however many idle ones come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_wait_keep_their_places() {
    many_connections();
    let gateway = Gateway::start_with_descriptors(tenants(), 1024).await;
    let consumer = gateway.consumer("inbox");
    let polls: Vec<_> = (0..300)
        .map(|_| {
            let consumer = consumer.clone();
            tokio::spawn(async move { consumer.receive(json!({ "wait": "45s" })).await })
        })
        .collect();
    hookweir_tests::eventually("all to wait", async || match consumer.waiting().await {
        300 => Ok(()),
        waiting => Err(waiting.to_string()),
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(connect(gateway.accept_address()).await);
    }
    neighbours_are_served(&gateway).await;
    for _ in 0..300 {
        gateway.sender().event("a.b", "1").await;
    }
    for poll in polls {
        assert_eq!(poll.await.expect("a consumer").len(), 1);
    }
}

#[tokio::test]
async fn heads_of_many_kinds_are_answered() {
    let gateway = Gateway::start(tenants()).await;
    let address = gateway.accept_address();
    let ask = async |text: &str| raw::exchange(address, text.as_bytes()).await;
    let health = ask("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(health.status() == 200 && health.text.ends_with("\r\n\r\nok\n"), "{health:?}");
    let health = ask("POST /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(health.status(), 405, "{health:?}");
    // As proxies are sent it: the same, if it names the listener as the Host header does.
    let body = r#"{"type":"a.b","data":1}"#;
    let request = super::post("events", body).replace("POST /v1", "POST http://h/v1");
    let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    assert_eq!(ask(&request).await.status(), 202);
    assert_eq!(ask(&request.replace("http://h/", "http://other/")).await.status(), 400);
}
