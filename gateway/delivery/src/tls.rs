//! Whom a server's certificate must come from.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
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

/// Whose word is taken in place of the machine's authorities, or beside them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authorities {
    /// As PEM that [`check_authority`] has accepted.
    pub pem: Arc<[u8]>,
    /// Whether those of the machine are trusted too.
    pub and_system: bool,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.and_system {
            "the machine's authorities and further ones"
        } else {
            "own authorities"
        })
    }
}

/// Where this machine's authorities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemTrust {
    /// From the machine, or from where `SSL_CERT_FILE` and `SSL_CERT_DIR` say.
    Found,
    /// The machine has none: Mozilla's list, as it was when this program was built, stands in for them.
    BuiltIn,
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, and names none that can be read: nothing is trusted.
    Nothing,
}

impl SystemTrust {
    /// What an operator has to know of it, if anything, and what to do.
    pub const fn warning(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Found => None,
            Self::BuiltIn => Some((
                "this machine has no certificate authorities, and Mozilla's list, as this program was built with it, \
                 stands in for them",
                "install ca-certificates, or set `ca` in [egress]",
            )),
            Self::Nothing => Some((
                "no certificate authority is trusted, since SSL_CERT_FILE or SSL_CERT_DIR names none that can be read: \
                 every https delivery will fail",
                "correct it, install ca-certificates, or set `ca` in [egress]",
            )),
        }
    }
}

/// Says whose word is taken where a configuration names no authority.
pub fn system_trust() -> SystemTrust {
    system().1
}

/// The machine's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. A machine without any has Mozilla's;
/// who names a place for them means no others.
pub(crate) fn system() -> (RootCertStore, SystemTrust) {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !roots.is_empty() {
        return (roots, SystemTrust::Found);
    }
    if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some()) {
        return (roots, SystemTrust::Nothing);
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    (roots, SystemTrust::BuiltIn)
}

/// All that is trusted: these authorities, or the machine's where there are none.
pub(crate) fn roots_of(
    authorities: Option<&Authorities>,
    system: &RootCertStore,
) -> Result<RootCertStore, InvalidAuthority> {
    let Some(Authorities { pem, and_system }) = authorities else { return Ok(system.clone()) };
    let mut all = roots(pem)?;
    if *and_system {
        all.extend(system.roots.iter().cloned());
    }
    Ok(all)
}

/// How TLS is spoken with those whom these authorities vouch for: under the name that was dialled, or under this one,
/// whatever address it is met at.
pub(crate) fn trusting(
    roots: Arc<RootCertStore>,
    name: Option<ServerName<'static>>,
) -> Result<ClientConfig, rustls::Error> {
    // The library refuses to build a verifier that trusts nobody.
    let inner = match roots.is_empty() {
        true => None,
        false => {
            let built = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
            Some(built.map_err(|error| rustls::Error::General(error.to_string()))?)
        }
    };
    let verifier = Arc::new(Verifier { inner, name });
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
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

/// Why a certificate is not trusted, where the library's own words would leave open what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Distrust {
    #[error("no authority is trusted")]
    NoAuthority,
    #[error("the certificate is self-signed")]
    SelfSigned,
    #[error("the certificate is an authority's own")]
    Authority,
}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }
}

/// The library's verifier, whose refusals say more.
#[derive(Debug)]
struct Verifier {
    /// `None` where nobody is trusted.
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// What is asked about in place of what was dialled.
    name: Option<ServerName<'static>>,
}

impl Verifier {
    fn inner(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        self.inner.as_deref().ok_or_else(|| Distrust::NoAuthority.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(dialled);
        let judged = self.inner()?.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        judged.map_err(|error| distrust(&error, end_entity).map_or(error, rustls::Error::from))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a refusal means, where the certificate tells more than the error does.
fn distrust(error: &rustls::Error, certificate: &CertificateDer<'_>) -> Option<Distrust> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
            (parsed.issuer() == parsed.subject()).then_some(Distrust::SelfSigned)
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            let error = error.downcast_ref::<webpki::Error>()?;
            (*error == webpki::Error::CaUsedAsEndEntity).then_some(Distrust::Authority)
        }
        _ => None,
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
