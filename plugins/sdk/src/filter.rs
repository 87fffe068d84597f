//! The half of a plugin that decides whether an event is delivered.

use crate::{Event, Failure};

/// Decides whether an event goes to an endpoint.
///
/// It is called once for each delivery, before its first attempt, and may be called again for the same event: after
/// [`Failure::Unavailable`], after a restart of the gateway, on a replay. A panic, or a call that goes over a limit,
/// ends the delivery as `failed`; the event is never sent past a filter that did not answer.
pub trait Filter {
    /// Keeps the event or drops it, with the reason that the delivery then shows.
    ///
    /// # Errors
    /// [`Failure`] says whether trying again later could help.
    fn filter(event: &Event) -> Result<Verdict, Failure>;
}

/// What a filter decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event goes on, to the next filter or to the transformers.
    Keep,
    /// The event does not go to this endpoint: the delivery ends as `filtered`, with this reason.
    Drop(String),
}

impl Verdict {
    /// Drops the event with this reason.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }

    /// Keeps the event if `condition` holds, and else drops it with the reason that `reason` makes.
    pub fn keep_if(condition: bool, reason: impl FnOnce() -> String) -> Self {
        if condition { Self::Keep } else { Self::Drop(reason()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_if_makes_a_reason_only_for_a_drop() {
        assert_eq!(Verdict::keep_if(true, || unreachable!("a kept event has no reason")), Verdict::Keep);
        assert_eq!(Verdict::keep_if(false, || "too small".into()), Verdict::drop("too small"));
    }
}
