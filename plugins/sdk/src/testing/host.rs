//! The gateway's two functions over what the running test has set.

use std::cell::RefCell;
use std::mem;

use crate::Level;

/// One call's view of the gateway.
#[derive(Debug)]
pub(super) struct Call {
    config: String,
    log: Vec<(Level, String)>,
}

// A plugin's functions take no host to call, as on WebAssembly, so the call's state belongs to its thread.
thread_local! {
    static CURRENT: RefCell<Call> = const { RefCell::new(Call { config: String::new(), log: Vec::new() }) };
}

/// Starts a call and hands out the one that it interrupts.
pub(super) fn enter(config: String) -> Call {
    CURRENT.with_borrow_mut(|current| mem::replace(current, Call { config, log: Vec::new() }))
}

/// Ends a call, takes up the interrupted one, and hands out the log.
pub(super) fn leave(outer: Call) -> Vec<(Level, String)> {
    CURRENT.with_borrow_mut(|current| mem::replace(current, outer)).log
}

/// The `config` table, which outside a call is `{}` as for a plugin without one.
pub(crate) fn config() -> String {
    CURRENT.with_borrow(|current| match current.config.as_str() {
        "" => "{}".to_owned(),
        config => config.to_owned(),
    })
}

pub(crate) fn log(level: Level, message: &str) {
    CURRENT.with_borrow_mut(|current| current.log.push((level, message.to_owned())));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::run;

    #[test]
    fn a_call_sees_its_own_config_and_log_alone() {
        assert_eq!(config(), "{}");
        let ((), outer) = run(&json!({"a": 1}), || {
            crate::info!("before {}", 1);
            let (seen, inner) = run(&json!({"b": 2}), || {
                crate::warn!("inside");
                config()
            });
            assert_eq!(seen, r#"{"b":2}"#);
            assert_eq!(inner, [(Level::Warn, "inside".to_owned())]);
            assert_eq!(config(), r#"{"a":1}"#);
            crate::error!("after");
        });
        assert_eq!(outer, [(Level::Info, "before 1".to_owned()), (Level::Error, "after".to_owned())]);
    }
}
