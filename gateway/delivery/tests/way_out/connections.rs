//! Connections that are kept: whose they are, and what is said over them that nobody asked for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hookweir_delivery::InForce;
use hookweir_model::Outcome::Delivered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::harness::{LONG, Receiver, Script, client, ending, send_for, send_to, target};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const NO: &[u8] = b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno";

#[tokio::test]
async fn a_connection_is_kept_for_its_tenant_alone() {
    let receiver = Receiver::start(Script::Serve(OK.to_vec())).await;
    let (client, target) = (client(), target(&receiver.url(), LONG));
    for (tenant, connections) in [("acme", 1), ("acme", 1), ("globex", 2), ("acme", 2), ("globex", 2)] {
        let report = send_for(&client, &target, tenant, &InForce::always()).await;
        assert_eq!(ending(&report), (Delivered, None));
        assert_eq!(receiver.connections(), connections, "{tenant}");
    }
}

/// The second answer comes while no request is under way, with the first one or later.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_no_later_requests() {
    let at_once = Receiver::start(Script::Serve([OK, NO].concat())).await;
    let (client, target) = (client(), target(&at_once.url(), LONG));
    for connections in 1..=5 {
        assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
        assert_eq!(at_once.connections(), connections, "its connection was closed");
    }

    // Later: the receiver answers again when it is told to, and sees its connection closed for it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = self::target(&format!("http://{}/", listener.local_addr().unwrap()), LONG);
    let ((open, gate), (closed, is_closed)) = (watch::channel(false), oneshot::channel());
    let receiver = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        first.write_all(OK).await.unwrap();
        gate.clone().wait_for(|open| *open).await.unwrap();
        first.write_all(NO).await.unwrap();
        assert!(first.read(&mut buffer).await.is_ok_and(|read| read == 0), "the connection was closed");
        closed.send(()).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        assert!(second.read(&mut buffer).await.unwrap() > 0);
        second.write_all(OK).await.unwrap();
        second
    });
    assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
    open.send_replace(true);
    is_closed.await.unwrap();
    assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
    receiver.await.unwrap();
}

/// The receiver of two tenants answers the first one's request a second time when it sees the second one's. It does so on
/// whatever connection the first request came by.
#[tokio::test]
async fn a_late_second_answer_is_not_read_by_another_tenant() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
    let counter = requests.clone();
    let receiver = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, requests) = (Arc::clone(&seen), counter.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
                    requests.send_replace(number);
                    // The first request of all is answered twice: the second time before anything else is.
                    if number == 1 {
                        stream.write_all(OK).await.unwrap();
                        let mut requests = requests.subscribe();
                        requests.wait_for(|seen| *seen > 1).await.unwrap();
                        let _ = stream.write_all(NO).await;
                    } else {
                        stream.write_all(OK).await.unwrap();
                    }
                }
            });
        }
    });
    let (client, target) = (client(), target(&format!("http://{address}/"), LONG));
    for tenant in ["acme", "globex", "globex"] {
        let report = send_for(&client, &target, tenant, &InForce::always()).await;
        assert_eq!(ending(&report), (Delivered, None), "{tenant}");
    }
    receiver.abort();
}

/// What is no longer in force when there is a connection is not sent over it, be it a new one or a kept one.
#[tokio::test]
async fn nothing_is_sent_by_what_is_no_longer_in_force() {
    let receiver = Receiver::start(Script::Serve(OK.to_vec())).await;
    let (client, target) = (client(), target(&receiver.url(), LONG));
    for requests in [0, 1] {
        let report = send_for(&client, &target, "acme", &InForce::new(|| false)).await;
        assert!(report.superseded);
        assert_eq!((report.answer, report.exchange), (None, None));
        assert_eq!(receiver.requests().len(), requests);
        let report = send_for(&client, &target, "acme", &InForce::always()).await;
        assert_eq!((ending(&report), report.superseded), ((Delivered, None), false));
    }
    assert_eq!(receiver.requests().len(), 2);
}

/// A kept connection that the receiver closes is no fault of the next request.
#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_attempt() {
    let receiver = Receiver::start(Script::Say(OK.to_vec())).await;
    let (client, target) = (client(), target(&receiver.url(), LONG));
    for connections in 1..=20 {
        assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
        assert_eq!(receiver.connections(), connections);
    }
}
