//! The compile child alone, for this crate's tests. The gateway's binary does the same under a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookweir_host::compile_child()
}
