//! Secrets are in this process's memory: it leaves no core dump, and no other process of its user may look into it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Set to 1, the process leaves core dumps and can be traced, as far as the system lets it.
const ALLOWED: &str = "HOOKWEIR_CORE_DUMPS";

/// Forbids both, unless the environment allows them. Processes that this one starts leave no core dump either.
pub(crate) fn forbid() {
    if std::env::var_os(ALLOWED).is_some_and(|value| value == "1") {
        return;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    if let Err(error) = limited.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        warn!(target: "hookweir::process", %error, "failed to forbid core dumps: one would hold secrets");
    }
}
