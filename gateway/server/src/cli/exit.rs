//! How a command ends: the exit codes, and an error as a person reads it.

use std::io::ErrorKind;
use std::process::ExitCode;

use super::show;

/// The four ways in which a command may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    WrongUsage,
    WrongConfiguration,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUsage => 2,
            // EX_CONFIG of sysexits.h.
            Self::WrongConfiguration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// What was typed makes no sense, in a way that only shows after the arguments were parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub String);

/// Whether whoever read the output has gone away, as `head` does when it has seen enough. That is no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |io: &std::io::Error| io.kind() == ErrorKind::BrokenPipe;
    // Only the outermost error tells: a broken pipe further down is that of a socket.
    error.downcast_ref().is_some_and(broken)
}

/// An error as one sentence and its numbered causes. Causes that the sentence above them says already are left out.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    let mut text = format!("error: {}\n", show::escaped(&said));
    let mut number = 0;
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if said.contains(&cause) {
            continue;
        }
        number += 1;
        text.push_str(&format!("  {number}: {}\n", show::escaped(&cause)));
        said = cause;
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_a_sentence_and_numbered_causes() {
        let error = anyhow!("connection refused").context("client error").context("can't reach the gateway");
        assert_eq!(
            explained(&error),
            "error: can't reach the gateway\n  1: client error\n  2: connection refused\n"
        );
    }

    #[test]
    fn a_cause_is_not_said_twice_and_can_not_move_the_cursor() {
        let error = anyhow!("bad\u{1b}[2J").context("it failed: bad\u{1b}[2J");
        assert_eq!(explained(&error), "error: it failed: bad\\u{1b}[2J\n");
    }

    #[test]
    fn only_the_output_pipe_counts_as_broken_pipe() {
        let pipe = || std::io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&pipe().into()));
        assert!(!is_broken_pipe(&std::io::Error::other(pipe()).into()));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
