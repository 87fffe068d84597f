//! The one timer that a lane has for a purpose. Where an earlier one is wanted, the later one no longer counts.

#[derive(Debug)]
pub(super) struct Timer<T>(Option<T>);

impl<T> Default for Timer<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Copy + Ord> Timer<T> {
    /// Whether a timer must be set for `at`, because none is set or it fires later.
    pub(super) fn arm(&mut self, at: T) -> bool {
        let sooner = self.0.is_none_or(|timer| at < timer);
        if sooner {
            self.0 = Some(at);
        }
        sooner
    }

    /// The time of the timer that counts.
    pub(super) fn armed(&self) -> Option<T> {
        self.0
    }

    /// Whether the timer for `at` is the one that counts; it is spent then.
    pub(super) fn fire(&mut self, at: T) -> bool {
        let counts = self.0 == Some(at);
        if counts {
            self.0 = None;
        }
        counts
    }
}
