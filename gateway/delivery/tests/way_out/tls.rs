//! TLS: whom the client trusts, and what it says when it does not.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hookweir_delivery::{Authorities, EgressPolicy, HttpClient, HttpTarget, Report, Trust};
use hookweir_model::Outcome::{Delivered, Retry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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

const UNKNOWN: &str =
    "TLS: certificate of an unknown issuer; does the receiver send its intermediate certificates?";

/// A receiver with this certificate, and its URL.
async fn receiver(certificate: &rcgen::Certificate, key: &KeyPair) -> (String, tokio::task::JoinHandle<()>) {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let receiver = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            // The request is small: its head comes in one piece.
            if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                // The client may have hung up by then.
                let _ = stream.shutdown().await;
            }
        }
    });
    (url, receiver)
}

fn trusting(root: Option<&CertificateDer<'static>>) -> HttpClient {
    let mut roots = RootCertStore::empty();
    if let Some(root) = root {
        roots.add(root.clone()).unwrap();
    }
    HttpClient::with_roots(loopback(), roots).unwrap()
}

/// A receiver with a certificate that `change` has spoilt, or not; and the answer to one attempt at it.
async fn attempt(trusted: bool, change: impl FnOnce(&mut CertificateParams)) -> Report {
    let authority = authority("the one that signed");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let (url, receiver) = receiver(&certificate, &key).await;
    let root = if trusted { authority } else { self::authority("another one") };
    let report = send_in_full(&trusting(Some(root.der())), &target(&url, LONG)).await;
    receiver.abort();
    report
}

/// Each refusal says what to do.
#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_exactly() {
    let authority = authority("the only one that is trusted");
    let key = KeyPair::generate().unwrap();
    let own = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "its own");
        change(&mut params);
        params.self_signed(&key).unwrap()
    };
    let nameless = {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        params.signed_by(&key, &authority).unwrap()
    };
    let self_signed = own(|_| {});
    let an_authority = own(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for (certificate, root, reason) in [
        (
            &self_signed,
            Some(authority.der()),
            Some("TLS: certificate is self-signed: trust it by `ca`, or have an authority sign one"),
        ),
        (&self_signed, Some(self_signed.der()), None),
        (
            &an_authority,
            Some(an_authority.der()),
            Some(
                "TLS: certificate is an authority's own (CA:TRUE): a server needs one that the authority has signed for it",
            ),
        ),
        (&nameless, Some(authority.der()), Some("TLS: certificate names no host (it has no subjectAltName)")),
        (
            &self_signed,
            None,
            Some(
                "TLS: this gateway trusts no certificate authority: install ca-certificates on its machine, or set `ca`",
            ),
        ),
    ] {
        let (url, receiver) = receiver(certificate, &key).await;
        let report = send_to(&trusting(root), &target(&url, LONG)).await;
        let outcome = if reason.is_some() { Retry } else { Delivered };
        assert_eq!(ending(&report), (outcome, reason));
        receiver.abort();
    }
}

/// An endpoint's authorities stand in for those of the policy, and these for the machine's; or beside the machine's.
#[tokio::test]
async fn authorities_of_the_configuration() {
    let key = KeyPair::generate().unwrap();
    let (system, own) = (authority("of the machine"), authority("of the configuration"));
    let signed_by = |authority: &CertifiedIssuer<'static, KeyPair>| {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.signed_by(&key, authority).unwrap()
    };
    let pem: Arc<[u8]> = own.pem().into_bytes().into();
    let (of_system, of_own) = (signed_by(&system), signed_by(&own));
    let (of_system, first) = receiver(&of_system, &key).await;
    let (of_own, second) = receiver(&of_own, &key).await;
    let authorities = |and_system| Authorities { pem: Arc::clone(&pem), and_system };
    // Whom the policy names, whom the endpoint names, and whether each of the two receivers is trusted.
    for (policy, endpoint, trusts) in [
        (None, None, (true, false)),
        (None, Some(authorities(false)), (false, true)),
        (None, Some(authorities(true)), (true, true)),
        (Some(authorities(false)), None, (false, true)),
        (Some(authorities(true)), None, (true, true)),
        (Some(authorities(true)), Some(authorities(false)), (false, true)),
    ] {
        let mut roots = RootCertStore::empty();
        roots.add(system.der().clone()).unwrap();
        let client =
            HttpClient::with_roots(EgressPolicy { ca: policy.clone(), ..loopback() }, roots).unwrap();
        let trust = endpoint.clone().map_or(Trust::System, Trust::Authority);
        for (url, is_trusted) in [(&of_system, trusts.0), (&of_own, trusts.1)] {
            let target = HttpTarget { trust: trust.clone(), ..target(url, LONG) };
            let wanted = if is_trusted { (Delivered, None) } else { (Retry, Some(UNKNOWN)) };
            assert_eq!(ending(&send_to(&client, &target).await), wanted, "{policy:?}, {endpoint:?}, {url}");
        }
    }
    first.abort();
    second.abort();
}

#[tokio::test]
async fn certificates_are_judged() {
    let good = attempt(true, |_| {}).await;
    assert_eq!(ending(&good), (Delivered, None));
    let timings = good.exchange.unwrap().timings;
    assert!(timings.tls_us.is_some_and(|tls| tls > 0 && Some(tls) < timings.first_byte_us), "{timings:?}");
    let unknown = attempt(false, |_| {}).await;
    assert_eq!(ending(&unknown), (Retry, Some(UNKNOWN)));
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
