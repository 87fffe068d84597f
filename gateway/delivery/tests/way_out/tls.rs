//! TLS: whom the client trusts, and what it says when it does not.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hookweir_delivery::{HttpClient, Report};
use hookweir_model::Outcome::{Delivered, Retry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    LONG, Receiver, SHORT, Script, client, ending, loopback, send_in_full, send_to, target,
};

/// A certificate authority of the test's own. Two of one name would differ in their signatures alone.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A receiver with a certificate that `change` has spoilt, or not; and the answer to one attempt at it.
async fn attempt(trusted: bool, change: impl FnOnce(&mut CertificateParams)) -> Report {
    let authority = authority("the one that signed");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.ok()?;
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
        // The request is small: its head comes in one piece.
        if stream.read(&mut [0; 4096]).await.ok()? == 0 {
            return None;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok()?;
        stream.shutdown().await.ok()
    });
    let mut roots = RootCertStore::empty();
    let root = if trusted { authority } else { self::authority("another one") };
    roots.add(root.der().clone()).unwrap();
    let client = HttpClient::with_roots(loopback(), roots).unwrap();
    let report = send_in_full(&client, &target(&url, LONG)).await;
    receiver.await.unwrap();
    report
}

#[tokio::test]
async fn certificates_are_judged() {
    let good = attempt(true, |_| {}).await;
    assert_eq!(ending(&good), (Delivered, None));
    let timings = good.exchange.unwrap().timings;
    assert!(timings.tls_us.is_some_and(|tls| tls > 0 && Some(tls) < timings.first_byte_us), "{timings:?}");
    let unknown = attempt(false, |_| {}).await;
    assert_eq!(ending(&unknown), (Retry, Some("TLS: certificate of an unknown issuer")));
    let expired = attempt(true, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    assert_eq!(ending(&expired.await), (Retry, Some("TLS: certificate expired")));
    let early = attempt(true, |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    });
    assert_eq!(ending(&early.await), (Retry, Some("TLS: certificate not valid yet")));
    let other = attempt(true, |params| {
        *params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    });
    assert_eq!(ending(&other.await), (Retry, Some("TLS: certificate is for another name")));
}

#[tokio::test]
async fn a_receiver_without_tls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Whatever ends the connection here is the client's doing.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let report = send_to(&client(), &target(&url, LONG)).await;
    receiver.await.unwrap();
    assert_eq!(ending(&report), (Retry, Some("TLS: the receiver does not speak TLS on this port")));
}

#[tokio::test]
async fn a_handshake_that_stalls() {
    let receiver = Receiver::start(Script::Hold(Vec::new())).await;
    let mut target = target(&receiver.url().replace("http:", "https:"), LONG);
    target.connect_timeout = SHORT;
    let report = send_to(&client(), &target).await;
    assert_eq!(ending(&report), (Retry, Some("no connection within 300 ms")));
    assert!(receiver.requests().is_empty());
}
