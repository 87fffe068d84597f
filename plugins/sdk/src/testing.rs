//! A stand-in for the gateway, to test a plugin on the machine that builds it.
//!
//! It is here on every target but WebAssembly. It knows none of the gateway's limits: `hookweir plugin test` runs the
//! component itself under those. [`check_filter`], [`check_transformer`] and [`check_both`] run the same cases as it does:
//! those in the plugin's folders `events` and `expected`.
//!
//! ```
//! use hookweir_plugin::{Event, Failure, Filter, Level, Verdict, testing};
//! use serde_json::json;
//!
//! struct NotEmpty;
//!
//! impl Filter for NotEmpty {
//!     fn filter(event: &Event) -> Result<Verdict, Failure> {
//!         hookweir_plugin::info!("{} bytes", event.data.len());
//!         Ok(Verdict::keep_if(!event.data.is_empty(), || "the event has no data".into()))
//!     }
//! }
//!
//! let (verdict, log) = testing::run(&json!({}), || NotEmpty::filter(&testing::event(&json!([1]))));
//! assert_eq!(verdict, Ok(Verdict::Keep));
//! assert_eq!(log, [(Level::Info, "3 bytes".to_owned())]);
//! ```

mod cases;
pub(crate) mod host;

use serde_json::Value;

pub use self::cases::{check_both, check_filter, check_transformer};
use crate::{Event, Level};

/// Runs `call` as a call of a plugin with this `config` table, and gives back its result and the log that it wrote.
pub fn run<R>(config: &Value, call: impl FnOnce() -> R) -> (R, Vec<(Level, String)>) {
    let outer = host::enter(config.to_string());
    let result = call();
    (result, host::leave(outer))
}

/// An event with this data as JSON; the rest is made up and can be replaced by struct update syntax.
#[must_use]
pub fn event(data: &Value) -> Event {
    Event {
        id: "evt_0198c1d2e3f47a6b8c9d0e1f2a3b4c5d".into(),
        type_: "order.created".into(),
        source: "/shop".into(),
        subject: None,
        time: "2026-01-02T03:04:05Z".into(),
        content_type: "application/json".into(),
        attributes: Vec::new(),
        data: data.to_string().into_bytes(),
    }
}
