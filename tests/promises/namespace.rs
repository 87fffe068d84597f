//! Tests that mount something, or want a network of their own, run themselves again in namespaces, so that all of it ends
//! with them.

use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that has the namespace.
const INSIDE: &str = "HOOKWEIR_TEST_INSIDE";

/// Runs a test of this binary, which does nothing unless [`is_inside`], in a namespace for mounts.
pub(crate) fn run_inside(test: &str) {
    run_inside_of(&[], test);
}

/// The same, in namespaces of more kinds, by the options of `unshare`.
pub(crate) fn run_inside_of(kinds: &[&str], test: &str) {
    let itself = std::env::current_exe().expect("this binary");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(kinds)
        .arg(itself)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .expect("unshare, of util-linux");
    assert!(status.success(), "{test}, in a namespace of its own, ended with {status}");
}

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the part that mounts.
pub(crate) fn block_on(part: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(part);
}

/// Runs a program, which must succeed.
pub(crate) fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {args:?} ended with {status}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
