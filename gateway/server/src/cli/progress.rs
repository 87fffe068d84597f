//! How far long work is: told on standard error where that is a terminal, and wiped away at its end. Elsewhere, and in a
//! binary without the feature `progress`, nothing is told.

#[cfg(feature = "progress")]
pub(crate) use shown::Progress;

#[cfg(not(feature = "progress"))]
pub(crate) use silent::Progress;

#[cfg(feature = "progress")]
mod shown {
    use std::io::IsTerminal as _;
    use std::time::Duration;

    use indicatif::{ProgressBar, ProgressStyle};

    const TICK: Duration = Duration::from_millis(120);
    /// What is measured meanwhile is disturbed less.
    #[cfg(feature = "bench")]
    const SLOW_TICK: Duration = Duration::from_millis(500);

    #[derive(Debug)]
    pub(crate) struct Progress(Option<ProgressBar>);

    impl Progress {
        /// Of work that does not say how far it is.
        pub(crate) fn of(what: String) -> Self {
            Self::begin(ProgressBar::no_length(), "{spinner} {wide_msg} {elapsed}", what, TICK)
        }

        /// Of so many things.
        pub(crate) fn of_many(many: u64, what: String) -> Self {
            let template = "{spinner} [{wide_bar}] {human_pos} of {human_len} {msg} {elapsed}";
            Self::begin(ProgressBar::new(many), template, what, TICK)
        }

        /// Of rounds, each with a line of its own at its end.
        #[cfg(feature = "bench")]
        pub(crate) fn of_rounds(rounds: u64) -> Self {
            let template = "{spinner} [{pos}/{len}] {elapsed} {wide_msg}";
            Self::begin(ProgressBar::new(rounds), template, String::new(), SLOW_TICK)
        }

        fn begin(bar: ProgressBar, template: &str, what: String, tick: Duration) -> Self {
            if !Self::is_shown() {
                return Self(None);
            }
            // A template that can't be read is shown as the library's own.
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bar.with_style(style.progress_chars("#>-")).with_message(what);
            bar.tick();
            bar.enable_steady_tick(tick);
            Self(Some(bar))
        }

        /// Whether anybody would see it.
        pub(crate) fn is_shown() -> bool {
            std::io::stderr().is_terminal()
        }

        /// So many are done.
        pub(crate) fn at(&self, done: u64) {
            if let Some(bar) = &self.0 {
                bar.set_position(done);
            }
        }

        /// What is going on now.
        #[cfg(feature = "bench")]
        pub(crate) fn doing(&self, what: String) {
            if let Some(bar) = &self.0 {
                bar.set_message(what);
            }
        }

        /// A round is over. Where no bar is shown, its line is printed all the same.
        #[cfg(feature = "bench")]
        pub(crate) fn done(&self, line: &str) {
            match &self.0 {
                Some(bar) => {
                    bar.println(line);
                    bar.inc(1);
                }
                None => crate::log::say(&format!("{line}\n")),
            }
        }

        /// Wipes it away, before anything else is printed.
        pub(crate) fn end(self) {}
    }

    impl Drop for Progress {
        fn drop(&mut self) {
            if let Some(bar) = &self.0 {
                bar.finish_and_clear();
            }
        }
    }
}

#[cfg(not(feature = "progress"))]
mod silent {
    #[derive(Debug)]
    pub(crate) struct Progress;

    impl Progress {
        pub(crate) fn of(_what: String) -> Self {
            Self
        }

        pub(crate) fn of_many(_many: u64, _what: String) -> Self {
            Self
        }

        pub(crate) const fn is_shown() -> bool {
            false
        }

        #[expect(clippy::unused_self, reason = "it stands in for what is shown")]
        pub(crate) fn at(&self, _done: u64) {}

        pub(crate) fn end(self) {}
    }
}
