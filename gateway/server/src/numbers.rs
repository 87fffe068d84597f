//! The journal's numbers as callers see them.
//!
//! Events and messages are numbered through all tenants, so that a number tells how much others send. Cursors, receipts
//! and message numbers therefore show another one: a permutation of all numbers, by a key of the journal and the tenant.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hookweir_model::{Digest, TenantId};
use tracing::warn;

/// The file in the journal's folder. Without it cursors and receipts that are out are no good any more, and nothing else.
const FILE: &str = "numbers.key";
const KEY: usize = 32;
/// Numbers are permuted among those of two halves of so many bits, which the journal's do not reach. With [`MARK`] all that is
/// shown has 16 digits, and JSON's numbers are exact up to 53 bits in every language.
const HALF: u32 = 26;
const MASK: u64 = (1 << HALF) - 1;
const MARK: u64 = 1 << (2 * HALF);
/// How many digits every shown number has.
pub(crate) const SHOWN_DIGITS: usize = 16;
/// The highest number that a journal can have.
pub(crate) const NEWEST: u64 = MARK - 1;
const ROUNDS: u8 = 6;

/// The key of a journal.
pub(crate) struct Numbers([u8; KEY]);

/// The numbers of one tenant.
#[derive(Clone)]
pub(crate) struct Hidden([u8; KEY]);

/// Whether any number is shown so.
pub(crate) const fn is_shown(number: u64) -> bool {
    number >> (2 * HALF) == 1
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numbers")
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl Numbers {
    /// The key of the journal in a folder, made where there is none. Where it can't be kept, as on a full disk, one that
    /// ends with the process has to do.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        Self::read(&path).unwrap_or_else(|| {
            let made = Self::random();
            if let Err(error) = made.keep(&path) {
                warn!(
                    target: "hookweir::journal",
                    path = %path.display(),
                    %error,
                    "failed to keep the key of cursors and receipts: they end with this process"
                );
            }
            made
        })
    }

    /// The key of the journal in a folder, for those who only read it. Where there is none any will do: no cursor is out.
    pub(crate) fn look(folder: &Path) -> Self {
        Self::read(&folder.join(FILE)).unwrap_or(Self([0; KEY]))
    }

    fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok()?.try_into().ok().map(Self)
    }

    fn random() -> Self {
        let mut key = [0; KEY];
        // Where the system gives none, which no system does that runs, a weaker key must do: it hides, it guards nothing.
        if getrandom::fill(&mut key).is_err() {
            fastrand::Rng::new().fill(&mut key);
        }
        Self(key)
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.0)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// The numbers as this tenant sees them.
    pub(crate) fn of(&self, tenant: &TenantId) -> Hidden {
        Hidden(*Digest::of(&[&self.0[..], tenant.as_str().as_bytes()].concat()).as_bytes())
    }
}

impl Hidden {
    /// A number of the journal, as it is shown.
    pub(crate) fn hide(&self, number: u64) -> u64 {
        let halves = (number >> HALF & MASK, number & MASK);
        let (left, right) =
            (0..ROUNDS).fold(halves, |(left, right), round| (right, left ^ self.mix(right, round)));
        MARK | left << HALF | right
    }

    /// The number of the journal that is shown so; one that was never given for what none is shown as.
    pub(crate) fn reveal(&self, shown: u64) -> u64 {
        if !is_shown(shown) {
            return u64::MAX;
        }
        let halves = (shown >> HALF & MASK, shown & MASK);
        let (left, right) =
            (0..ROUNDS).rev().fold(halves, |(left, right), round| (right ^ self.mix(left, round), left));
        left << HALF | right
    }

    fn mix(&self, half: u64, round: u8) -> u64 {
        let mut text = [0; KEY + 9];
        text[..KEY].copy_from_slice(&self.0);
        text[KEY] = round;
        text[KEY + 1..].copy_from_slice(&half.to_be_bytes());
        let digest = Digest::of(&text);
        digest.as_bytes().iter().take(8).fold(0, |mixed, byte| mixed << 8 | u64::from(*byte)) & MASK
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn numbers_read_back_and_tell_nothing() {
        let numbers = Numbers([7; KEY]);
        let (acme, globex) = (numbers.of(&tenant("acme")), numbers.of(&tenant("globex")));
        let shown: Vec<u64> = (0..1000).map(|number| acme.hide(number)).collect();
        for (number, shown) in (0..).zip(&shown) {
            assert!(is_shown(*shown) && shown.to_string().len() == 16 && *shown < 1 << 53, "{shown}");
            assert_eq!(acme.reveal(*shown), number);
        }
        assert_eq!(shown.iter().collect::<HashSet<_>>().len(), 1000, "no two are the same");
        let rising = shown.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&rising), "their order says nothing: {rising} of 999 rise");
        assert!(
            (0..1000).all(|number| globex.hide(number) != acme.hide(number)),
            "nor do two tenants' compare"
        );
        assert_eq!(acme.reveal(acme.hide(MARK - 1)), MARK - 1);
        for never in [0, 1, MARK - 1, 2 * MARK, u64::MAX] {
            assert_eq!(acme.reveal(never), u64::MAX);
        }
    }

    #[test]
    fn the_key_is_kept_with_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |numbers: &Numbers| numbers.of(&tenant("acme")).hide(1);
        let first = shown(&Numbers::open(folder.path()));
        assert_eq!(shown(&Numbers::open(folder.path())), first);
        assert_eq!(shown(&Numbers::look(folder.path())), first);
        assert_ne!(shown(&Numbers::look(Path::new("nowhere"))), first);
        let nowhere = Numbers::open(&folder.path().join("not-there"));
        assert_ne!(shown(&nowhere), first);
    }
}
