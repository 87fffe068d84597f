//! Certificates for servers: an authority of its own, and what it vouches for.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The certificate of an authority that has vouched for nobody, in PEM.
pub fn authority() -> String {
    let mut authority = CertificateParams::new([]).expect("parameters of an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key pair");
    CertifiedIssuer::self_signed(authority, key).expect("an authority").pem()
}

/// Writes `ca.pem`, `cert.pem` (for 127.0.0.1) and `key.pem`.
pub(crate) fn write(folder: &Path) {
    let key = || KeyPair::generate().expect("a key pair");
    let mut authority = CertificateParams::new([]).expect("parameters of an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let server_key = key();
    let server = CertificateParams::new(["127.0.0.1".to_owned()])
        .expect("parameters of a certificate")
        .signed_by(&server_key, &authority)
        .expect("a certificate");
    for (name, text) in
        [("ca.pem", authority.pem()), ("cert.pem", server.pem()), ("key.pem", server_key.serialize_pem())]
    {
        fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
