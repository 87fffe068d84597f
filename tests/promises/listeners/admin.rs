//! The admin listener has the same bounds.

use std::time::Duration;

use hookweir_tests::{Config, Gateway, eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{connect, many_connections, measured, metric, neighbours_are_served, tenants, to_the_end};

const CONNECTIONS: &str = "hookweir_listener_connections{listener=\"admin\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_heads_without_a_key_stop_nobody() {
    many_connections();
    // Of 256 descriptors, a quarter may be connections to the admin listener.
    let token = "token-of-the-operator-0123456789";
    let config = Config { admin: format!("token = \"{token}\""), ..Config::new(tenants()) };
    let gateway = Gateway::start_with_descriptors(config, 256).await;
    let admin = gateway.admin().with_token(token);
    admin.get("/v1/tenants").await.expect(200);
    let begun = Instant::now();
    let mut half = Vec::new();
    for _ in 0..600 {
        let mut stream = connect(gateway.admin_address()).await;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHos").await.expect("half a head");
        half.push(stream);
    }
    // As many as there are descriptors and more, and everybody is served: over new connections too.
    neighbours_are_served(&gateway).await;
    admin.get("/v1/tenants").await.expect(200);
    let fresh = hookweir_tests::Admin::new(gateway.admin_address()).with_token(token);
    fresh.get("/v1/tenants").await.expect(200);
    let open = fresh.get("/metrics").await.expect(200).text();
    let open = open.lines().find_map(|line| line.strip_prefix(CONNECTIONS)?.trim().parse::<u64>().ok());
    assert!(open.is_some_and(|open| open <= 64), "{open:?}");
    let failures = gateway.log().lines().filter(|line| line.contains("failed to accept")).count();
    assert!(failures <= 1, "{failures} lines about connections that were not accepted");
    // Those that were left are ended by the clock.
    let last = half.last_mut().expect("a connection");
    assert_eq!(to_the_end(last).await, "");
    let took = begun.elapsed();
    println!("600 half heads: {open:?} connections, the last was ended after {took:?}");
    assert!(took < Duration::from_secs(100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_stops_reading_is_given_up_and_one_that_reads_slowly_is_not() {
    let gateway = Gateway::start(tenants()).await;
    let ask = b"GET /v1/tenants/acme/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let (mut silent, mut slow) =
        (connect(gateway.admin_address()).await, connect(gateway.admin_address()).await);
    for stream in [&mut silent, &mut slow] {
        stream.write_all(ask).await.expect("a request");
        let mut answer = [0; 15];
        within("an answer", stream.read_exact(&mut answer)).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    // A few KiB a second, all the time.
    let reading = tokio::spawn(async move {
        let (mut piece, mut all) = (vec![0; 4 << 10], 0);
        loop {
            let read = within("events", slow.read(&mut piece)).await.expect("the stream goes on");
            assert!(read > 0, "the stream of one that reads was ended after {all} bytes");
            all += read;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let subject = "s".repeat(1000);
    let event = format!(r#"{{"type":"a.b","data":1,"subject":"{subject}"}}"#);
    let sending = async {
        // As much as no buffer on the way takes.
        for _ in 0..1500 {
            gateway.sender().post(&[], event.clone()).await.expect(202);
        }
    };
    sending.await;
    let open = metric(&gateway, CONNECTIONS).await;
    measured(&gateway, CONNECTIONS, |now| now < open).await;
    assert!(!reading.is_finished(), "{:?}", reading.await);
    neighbours_are_served(&gateway).await;
    // What the silent one was not sent is not kept for it.
    let gone = eventually("the silent one's end", async || {
        let mut rest = vec![0; 64 << 10];
        match silent.try_read(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => Err("it had more to read".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err("it is open".to_owned()),
            Err(_) => Ok(()),
        }
    });
    gone.await;
    reading.abort();
}

#[tokio::test]
async fn live_streams_of_one_tenant_leave_places_to_others() {
    let gateway = Gateway::start(tenants()).await;
    let admin = gateway.admin();
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(admin.watch("/v1/tenants/acme/live").await);
    }
    let refused = admin.get("/v1/tenants/acme/live").await.expect(429);
    assert!(refused.header("retry-after").is_some(), "{refused}");
    streams.push(admin.watch("/v1/tenants/globex/live").await);
    streams.remove(0);
    eventually("a place to be free again", async || {
        let mut stream = connect(gateway.admin_address()).await;
        let ask = b"GET /v1/tenants/acme/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(ask).await.map_err(|error| error.to_string())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.map_err(|error| error.to_string())?;
        if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
    })
    .await;
}
