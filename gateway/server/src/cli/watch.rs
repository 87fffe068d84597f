//! `--watch`: what a command shows, shown again whenever it has changed.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::{Exit, show};
use crate::log;

/// Puts the cursor into the terminal's first corner and wipes what stands there.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WatchArgs {
    /// Go on until Ctrl-C, and show it again when it has changed; with a time such as 5s, it is looked at that often
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "500ms", value_parser = every)]
    watch: Option<Duration>,
}

/// What a command has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub text: String,
    /// What is said about it, to standard error, out of the way of pipes.
    pub advice: Option<String>,
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self { text, advice: None }
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every < Duration::from_millis(100) {
        return Err("give at least 100ms".to_owned());
    }
    Ok(every)
}

impl WatchArgs {
    /// Shows what `look` finds, once, or whenever it has changed until somebody interrupts. An error ends it.
    pub(crate) async fn show(
        &self,
        mut look: impl AsyncFnMut() -> anyhow::Result<Shown>,
    ) -> anyhow::Result<Exit> {
        let mut shown = look().await?;
        put(&shown, false)?;
        let Some(every) = self.watch else { return Ok(Exit::Done) };
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                _ = &mut interrupted => return Ok(Exit::Done),
                () = tokio::time::sleep(every) => {}
            }
            let now = look().await?;
            if now != shown {
                put(&now, true)?;
                shown = now;
            }
        }
    }
}

fn put(shown: &Shown, again: bool) -> io::Result<()> {
    if again && io::stdout().is_terminal() {
        show::print(CLEAR)?;
    }
    show::print(&shown.text)?;
    if let Some(advice) = &shown.advice {
        log::say(&format!("{advice}\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_looked_at_all_the_time() {
        for (text, wanted) in
            [("1s", Some(1000)), ("500ms", Some(500)), ("99ms", None), ("0s", None), ("x", None)]
        {
            assert_eq!(every(text).ok(), wanted.map(Duration::from_millis), "{text}");
        }
    }
}
