//! How a component in force fares: its failures in a row, and the pause that too many of them lead to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookweir_model::{Digest, Paused, PluginKey, Timestamp};

/// As many failed calls in a row pause a plugin: enough to tell a broken component from an odd event, few enough that
/// little is left to recover.
pub(crate) const IN_A_ROW: u32 = 5;

/// One component of one plugin. Another component has another watch, so that what is said of one never counts for
/// the other. The count is this process's; a pause is kept in the journal too.
#[derive(Debug)]
pub(crate) struct Watch {
    pub key: PluginKey,
    pub digest: Digest,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
enum Standing {
    Called { failures: u32 },
    Paused(Paused),
}

/// What a failed call means for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It counts: the delivery has failed.
    Counted,
    /// It counts, and was one too many: from now on the plugin is paused.
    Pauses,
    /// It came after the pause: the delivery waits with the others.
    Late,
}

impl Watch {
    /// `paused` is what is kept of the plugin; it counts where it is said of this component.
    pub(crate) fn new(key: PluginKey, digest: Digest, paused: Option<&Paused>) -> Arc<Self> {
        let standing = match paused.filter(|paused| paused.digest == digest) {
            Some(paused) => Standing::Paused(paused.clone()),
            None => Standing::Called { failures: 0 },
        };
        Arc::new(Self { key, digest, standing: Mutex::new(standing) })
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(&*self.standing(), Standing::Paused(_))
    }

    pub(crate) fn paused(&self) -> Option<Paused> {
        match &*self.standing() {
            Standing::Paused(paused) => Some(paused.clone()),
            Standing::Called { .. } => None,
        }
    }

    /// A call gave an answer: a result, or a word about the event.
    pub(crate) fn answered(&self) {
        if let Standing::Called { failures } = &mut *self.standing() {
            *failures = 0;
        }
    }

    /// A call failed by the plugin's own fault.
    pub(crate) fn failed(&self, reason: &str, now: Timestamp) -> Heard {
        let mut standing = self.standing();
        match &mut *standing {
            Standing::Paused(_) => Heard::Late,
            Standing::Called { failures } if *failures + 1 < IN_A_ROW => {
                *failures += 1;
                Heard::Counted
            }
            Standing::Called { .. } => {
                let reason = format!("{IN_A_ROW} calls in a row failed; the last time {reason}");
                *standing = Standing::Paused(self.pause_of(reason, IN_A_ROW, now));
                Heard::Pauses
            }
        }
    }

    /// An operator's pause. A pause that stands keeps its reason.
    pub(crate) fn pause(&self, now: Timestamp) {
        let mut standing = self.standing();
        if matches!(&*standing, Standing::Called { .. }) {
            *standing = Standing::Paused(self.pause_of("paused by an operator".to_owned(), 0, now));
        }
    }

    pub(crate) fn resume(&self) {
        *self.standing() = Standing::Called { failures: 0 };
    }

    fn pause_of(&self, reason: String, failures: u32, since: Timestamp) -> Paused {
        Paused { digest: self.digest, since, reason, failures }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // It is replaced whole, so it is right after any panic.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookweir_model::{PluginId, TenantId};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn watch(digest: &[u8], paused: Option<&Paused>) -> Arc<Watch> {
        let key = PluginKey::new(TenantId::new("acme").unwrap(), PluginId::new("p").unwrap());
        Watch::new(key, Digest::of(digest), paused)
    }

    #[test]
    fn only_failures_in_a_row_pause() {
        for (calls, wanted) in [
            ("FFFF", false),
            ("FFFFF", true),
            ("FFFFaF", false),
            ("FFFFaFFFF", false),
            ("FFFFaFFFFF", true),
            ("aaaaFFFFFaaa", true),
            ("FFFFFr", false),
            ("FFFFFrFFFF", false),
            ("p", true),
            ("pr", false),
            ("FFpaF", true),
        ] {
            let watch = watch(b"wasm", None);
            for call in calls.chars() {
                match call {
                    'F' => drop(watch.failed("it trapped", NOW)),
                    'a' => watch.answered(),
                    'p' => watch.pause(NOW),
                    _ => watch.resume(),
                }
            }
            assert_eq!(watch.is_paused(), wanted, "{calls}");
        }
    }

    #[test]
    fn five_count_and_what_comes_later_does_not() {
        let watch = watch(b"wasm", None);
        let heard: Vec<Heard> = (0..7).map(|_| watch.failed("it trapped", NOW)).collect();
        let counted = Heard::Counted;
        assert_eq!(heard, [counted, counted, counted, counted, Heard::Pauses, Heard::Late, Heard::Late]);
        let paused = watch.paused().unwrap();
        assert_eq!((paused.failures, paused.since), (5, NOW));
        assert_eq!(paused.reason, "5 calls in a row failed; the last time it trapped");
    }

    #[test]
    fn a_pause_is_said_of_one_component() {
        let old = watch(b"old", None);
        old.pause(NOW);
        let kept = old.paused();
        assert!(watch(b"old", kept.as_ref()).is_paused());
        assert!(!watch(b"new", kept.as_ref()).is_paused());
    }
}
