//! Whom a server's certificate must come from.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use thiserror::Error;

/// A file of certificate authorities can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidAuthority {
    #[error("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    None,
    #[error("a certificate in it is damaged or can't be an authority")]
    Damaged,
}

/// Says whether these bytes hold certificate authorities, as PEM.
pub fn check_authority(pem: &[u8]) -> Result<(), InvalidAuthority> {
    roots(pem).map(|_| ())
}

/// The system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; where there are none, Mozilla's.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

pub(crate) fn trusting(roots: Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    Ok(versions()?.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts a certificate for this name, whatever address it is met at.
pub(crate) fn trusting_for(
    roots: Arc<RootCertStore>,
    name: ServerName<'static>,
) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
    let verifier = Arc::new(ForName { inner, name });
    Ok(versions()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn versions() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities in a PEM file.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, InvalidAuthority> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| InvalidAuthority::Damaged)?;
        roots.add(certificate).map_err(|_| InvalidAuthority::Damaged)?;
    }
    if roots.is_empty() { Err(InvalidAuthority::None) } else { Ok(roots) }
}

/// The usual verifier, asked about the configured name in place of the address that was dialled.
#[derive(Debug)]
struct ForName {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for ForName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn what_holds_no_certificate_is_told_apart_from_what_is_damaged() {
        let certificate = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap().cert;
        let text = STANDARD.encode(certificate.der());
        let good = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        assert_eq!(check_authority(good.as_bytes()), Ok(()));
        assert_eq!(check_authority(b""), Err(InvalidAuthority::None));
        assert_eq!(check_authority(b"not PEM"), Err(InvalidAuthority::None));
        let damaged = good.replace("MII", "AAA");
        assert_eq!(check_authority(damaged.as_bytes()), Err(InvalidAuthority::Damaged));
    }
}
