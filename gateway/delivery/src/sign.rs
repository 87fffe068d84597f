//! Signatures.

/// A signing key.
#[derive(Clone)]
pub struct Key;

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}
