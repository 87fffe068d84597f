//! From an error of the engine to a fault: which kind it is, and a sentence for the tenant.

use wasmtime::Trap;

use crate::contract::{FaultKind, Limits};
use crate::limits::Overrun;
use crate::text;

/// Why a call gave no result, before the plugin's name is put to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub kind: FaultKind,
    pub message: String,
}

impl Cause {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What the guest was at when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its memory was laid out and its start functions ran.
    Start,
    /// Its function ran and its result was read.
    Call,
}

/// `said` is what the guest last logged as an error in this call.
pub(crate) fn cause(error: &wasmtime::Error, stage: Stage, limits: &Limits, said: Option<&str>) -> Cause {
    if let Some(overrun) = error.downcast_ref::<Overrun>() {
        let kind = match overrun {
            Overrun::Memory { .. } | Overrun::Table { .. } => FaultKind::Memory,
            Overrun::Processor { .. } | Overrun::Wall { .. } => FaultKind::Deadline,
        };
        return Cause::new(kind, overrun.to_string());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trapped(*trap, said);
    }
    if is_copy_refused(error) {
        return Cause::new(FaultKind::Output, too_much(limits));
    }
    match stage {
        Stage::Start => Cause::new(FaultKind::Host, format!("no instance could be made: {error:#}")),
        // No trap and none of our own errors: what it returned, or passed to `log`, could not be read.
        Stage::Call => {
            let detail = text::reason(&format!("{error:#}"));
            Cause::new(FaultKind::InvalidOutput, format!("what it handed over can't be read: {detail}"))
        }
    }
}

/// The sentence about output that is over its limit.
pub(crate) fn too_much(limits: &Limits) -> String {
    format!("it handed over more than {} bytes", limits.output)
}

fn trapped(trap: Trap, said: Option<&str>) -> Cause {
    match trap {
        Trap::StackOverflow => {
            Cause::new(FaultKind::Stack, "it used up its stack, as endless recursion does")
        }
        // Panics and uncaught exceptions end so. The SDKs log them first, since the trap itself has no text.
        Trap::UnreachableCodeReached => Cause::new(
            FaultKind::Trap,
            said.map_or_else(
                || {
                    "it gave up (it reached an `unreachable` instruction, as a panic or a failed allocation does)"
                        .to_owned()
                },
                |said| format!("it gave up: {said}"),
            ),
        ),
        Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::InvalidChar => {
            Cause::new(FaultKind::InvalidOutput, format!("what it handed over can't be read: {trap}"))
        }
        trap => Cause::new(FaultKind::Trap, format!("it trapped: {trap}")),
    }
}

/// Whether a copy from the guest was over the store's budget.
///
/// wasmtime keeps the type of this error to itself, so its text is all there is; the test of oversized output fails
/// when a new version words it differently.
fn is_copy_refused(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_become_faults() {
        let limits = Limits::default();
        let processor = Overrun::Processor { limit: Duration::from_millis(10) };
        let wall = Overrun::Wall { limit: Duration::from_millis(100) };
        let memory = Overrun::Memory { wanted: 131_072, limit: 65_536 };
        let cases: [(wasmtime::Error, Stage, FaultKind, &str); 9] = [
            (
                processor.into(),
                Stage::Call,
                FaultKind::Deadline,
                "it used more than its 10 ms of processor time",
            ),
            (wall.into(), Stage::Start, FaultKind::Deadline, "it had not answered after 100 ms"),
            (
                memory.into(),
                Stage::Start,
                FaultKind::Memory,
                "it wanted 131072 bytes of memory; its limit is 65536",
            ),
            (
                Overrun::Table { wanted: 20_001 }.into(),
                Stage::Call,
                FaultKind::Memory,
                "it wanted a table of 20001 elements; the limit is 20000",
            ),
            (
                Trap::StackOverflow.into(),
                Stage::Call,
                FaultKind::Stack,
                "it used up its stack, as endless recursion does",
            ),
            (
                Trap::IntegerDivisionByZero.into(),
                Stage::Call,
                FaultKind::Trap,
                "it trapped: wasm trap: integer divide by zero",
            ),
            (
                Trap::ListOutOfBounds.into(),
                Stage::Call,
                FaultKind::InvalidOutput,
                "what it handed over can't be read: wasm trap: list content out-of-bounds",
            ),
            (
                wasmtime::Error::msg("invalid utf-8"),
                Stage::Call,
                FaultKind::InvalidOutput,
                "what it handed over can't be read: invalid utf-8",
            ),
            (
                wasmtime::Error::msg("pool is full"),
                Stage::Start,
                FaultKind::Host,
                "no instance could be made: pool is full",
            ),
        ];
        for (error, stage, kind, message) in cases {
            assert_eq!(cause(&error, stage, &limits, Some("an error before")), Cause::new(kind, message));
        }
    }

    #[test]
    fn who_gives_up_is_quoted() {
        let gave_up = |said| {
            let cause = cause(&Trap::UnreachableCodeReached.into(), Stage::Call, &Limits::default(), said);
            assert_eq!(cause.kind, FaultKind::Trap);
            cause.message
        };
        assert_eq!(gave_up(Some("KeyError: 'id' at app.py:7")), "it gave up: KeyError: 'id' at app.py:7");
        let silent =
            "it gave up (it reached an `unreachable` instruction, as a panic or a failed allocation does)";
        assert_eq!(gave_up(None), silent);
    }
}
