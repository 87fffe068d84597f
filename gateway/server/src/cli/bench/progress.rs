//! Tells on standard error how far the bench is: a bar on a terminal, a line per round anywhere else.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

#[derive(Debug)]
pub(super) struct Progress {
    /// None where standard error is not a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(rounds: u64) -> anyhow::Result<Self> {
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {elapsed} {wide_msg}")?;
            let bar = ProgressBar::new(rounds).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(500));
            Some(bar)
        } else {
            None
        };
        Ok(Self { bar })
    }

    /// What is going on now.
    pub(super) fn doing(&self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
        }
    }

    /// A round is over.
    pub(super) fn done(&self, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.println(line);
                bar.inc(1);
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
