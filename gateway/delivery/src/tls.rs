//! Whom a server's certificate must come from.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
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

pub(crate) fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Trusts the authorities in a PEM file and no others.
pub(crate) fn trusting_pem(pem: &[u8]) -> Result<ClientConfig, InvalidAuthority> {
    trusting(roots(pem)?).map_err(|_| InvalidAuthority::Damaged)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, InvalidAuthority> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| InvalidAuthority::Damaged)?;
        roots.add(certificate).map_err(|_| InvalidAuthority::Damaged)?;
    }
    if roots.is_empty() { Err(InvalidAuthority::None) } else { Ok(roots) }
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
