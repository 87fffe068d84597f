//! Keys, as their textual forms name them: `whsec_` (HMAC), `whsk_` (Ed25519) and `whpk_` (its public half).

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::SigningKey;
use hookweir_model::Timestamp;
use ring::hmac;
use secrecy::SecretString;
use thiserror::Error;

use super::standard::sign_one;

/// Secrets are copied by hand, and padding gets lost on the way: its absence changes no bit of the key.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// A secret can't be used as a key. The texts never repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyFault {
    #[error("a signing secret starts with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)")]
    Prefix,
    #[error("a whpk_ key is public and can only verify: sign with the whsk_ key that it belongs to")]
    PublicCannotSign,
    #[error("a verifying key starts with whsec_, whpk_ or whsk_")]
    VerifyingPrefix,
    #[error("what follows {0} is not base64: copy the secret again, as a whole")]
    NotBase64(&'static str),
    #[error("what follows whsec_ holds {0} bytes, and Standard Webhooks wants 24 to 64")]
    SymmetricLength(usize),
    #[error("what follows whsk_ holds {0} bytes, and an Ed25519 key pair has 64: 32 private, then 32 public")]
    PrivateLength(usize),
    #[error("what follows whpk_ holds {0} bytes, and an Ed25519 public key has 32")]
    PublicLength(usize),
    #[error("the two halves of the whsk_ key don't belong together: copy the secret again, as a whole")]
    Halves,
    #[error("what follows whpk_ is not an Ed25519 public key: copy it again, as a whole")]
    NotAPoint,
}

/// A key that signs.
#[derive(Clone)]
pub struct Key {
    pub(super) signer: Signer,
    /// It signs no more from then on: another has taken its place.
    end: Option<End>,
}

/// When a key signs for the last time. What is written is a moment of the wall clock; what counts is the span that was left
/// when it was read, since the wall clock may be set meanwhile, and a receiver that has not changed over yet knows no other
/// key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    written: Timestamp,
    /// `None`: later than the clock can tell.
    at: Option<Instant>,
}

impl End {
    /// `wall` and `now` are the same moment.
    pub fn new(written: Timestamp, wall: Timestamp, now: Instant) -> Self {
        Self { written, at: now.checked_add(written.since(wall)) }
    }

    /// How long is left.
    pub fn left(self, now: Instant) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }
}

#[derive(Clone)]
pub(super) enum Signer {
    /// Keyed once, so that a signature costs no key schedule.
    Symmetric(hmac::Key),
    /// Boxed: a key pair is far larger than its sibling.
    Ed25519(Box<SigningKey>),
}

impl Key {
    /// Reads `whsec_...` or `whsk_...`.
    pub fn parse(secret: &str) -> Result<Self, KeyFault> {
        if let Some(text) = secret.strip_prefix(SYMMETRIC) {
            Ok(Self::of(Signer::Symmetric(symmetric(text)?)))
        } else if let Some(text) = secret.strip_prefix(PRIVATE) {
            Ok(Self::of(Signer::Ed25519(Box::new(private(text)?))))
        } else if secret.starts_with(PUBLIC) {
            Err(KeyFault::PublicCannotSign)
        } else {
            Err(KeyFault::Prefix)
        }
    }

    const fn of(signer: Signer) -> Self {
        Self { signer, end: None }
    }

    /// The same key, which signs up to a time; without one it has no end.
    #[must_use]
    pub fn until(self, end: Option<End>) -> Self {
        Self { end, ..self }
    }

    /// When it signs for the last time.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether it signs a request that is made now.
    pub(super) fn signs_at(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| !end.left(now).is_zero())
    }

    /// Whether the two sign alike, whenever they end.
    fn is_same(&self, other: &Self) -> bool {
        sign_one(self, "", b"") == sign_one(other, "", b"")
    }

    /// The end of this key as these have it, which were read before: where the same is written, less is left by now.
    pub fn end_among(&self, before: &[Self]) -> Option<End> {
        let end = self.end?;
        let same = before
            .iter()
            .find(|key| key.end.is_some_and(|other| other.written == end.written) && self.is_same(key));
        same.map_or(Some(end), |key| key.end)
    }

    /// The algorithm that it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match &self.signer {
            Signer::Symmetric(_) => Algorithm::HmacSha256,
            Signer::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The key that a receiver verifies with.
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey(match &self.signer {
            Signer::Symmetric(key) => Verifier::Symmetric(key.clone()),
            Signer::Ed25519(key) => Verifier::Ed25519(key.verifying_key()),
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.signer {
            Signer::Symmetric(_) => "Key(whsec_***)",
            Signer::Ed25519(_) => "Key(whsk_***)",
        })
    }
}

/// An algorithm of Standard Webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Signatures `v1`, by a secret that sender and receiver share.
    HmacSha256,
    /// Signatures `v1a`, by a key pair.
    Ed25519,
}

impl Algorithm {
    /// Makes a secret from 32 random bytes that nobody else knows.
    pub fn secret(self, random: [u8; 32]) -> NewSecret {
        match self {
            Self::HmacSha256 => {
                let secret = format!("{SYMMETRIC}{}", BASE64.encode(random));
                NewSecret { secret: secret.into(), public: None }
            }
            Self::Ed25519 => {
                let key = SigningKey::from_bytes(&random);
                let secret = format!("{PRIVATE}{}", BASE64.encode(key.to_keypair_bytes()));
                let public = format!("{PUBLIC}{}", BASE64.encode(key.verifying_key().as_bytes()));
                NewSecret { secret: secret.into(), public: Some(public) }
            }
        }
    }
}

/// A secret that was just made.
#[derive(Debug)]
pub struct NewSecret {
    /// `whsec_...` or `whsk_...`.
    pub secret: SecretString,
    /// `whpk_...`, the half of a key pair that a receiver verifies with.
    pub public: Option<String>,
}

/// A key that verifies.
#[derive(Clone)]
pub struct VerifyingKey(pub(super) Verifier);

#[derive(Clone)]
pub(super) enum Verifier {
    Symmetric(hmac::Key),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl VerifyingKey {
    /// Reads `whsec_...`, `whpk_...`, or `whsk_...` for its public half.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        if let Some(text) = text.strip_prefix(PUBLIC) {
            let bytes = decode(PUBLIC, text)?;
            let bytes: [u8; 32] =
                bytes.as_slice().try_into().map_err(|_| KeyFault::PublicLength(bytes.len()))?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| KeyFault::NotAPoint)?;
            return Ok(Self(Verifier::Ed25519(key)));
        }
        match Key::parse(text) {
            Ok(key) => Ok(key.verifying()),
            Err(KeyFault::Prefix) => Err(KeyFault::VerifyingPrefix),
            Err(fault) => Err(fault),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Verifier::Symmetric(_) => "VerifyingKey(whsec_***)",
            Verifier::Ed25519(_) => "VerifyingKey(whpk_***)",
        })
    }
}

fn decode(prefix: &'static str, text: &str) -> Result<Vec<u8>, KeyFault> {
    BASE64.decode(text).map_err(|_| KeyFault::NotBase64(prefix))
}

fn symmetric(text: &str) -> Result<hmac::Key, KeyFault> {
    let bytes = decode(SYMMETRIC, text)?;
    if !(24..=64).contains(&bytes.len()) {
        return Err(KeyFault::SymmetricLength(bytes.len()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn private(text: &str) -> Result<SigningKey, KeyFault> {
    let bytes = decode(PRIVATE, text)?;
    let pair: [u8; 64] = bytes.as_slice().try_into().map_err(|_| KeyFault::PrivateLength(bytes.len()))?;
    SigningKey::from_keypair_bytes(&pair).map_err(|_| KeyFault::Halves)
}
