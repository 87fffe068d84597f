//! Tests that mount something run themselves again in a mount namespace of their own, so that their mounts end with them.

use std::process::{Command, Stdio};

/// Set in the process that has the namespace.
const INSIDE: &str = "HOOKWEIR_TEST_INSIDE";

/// Runs a test of this binary, which does nothing unless [`is_inside`], in a namespace.
pub(crate) fn run_inside(test: &str) {
    let itself = std::env::current_exe().expect("this binary");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
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
