//! Write hookweir plugins in Rust.
//!
//! A plugin is a WebAssembly component that a gateway calls between storing an event and delivering it: a [`Filter`]
//! decides whether the event goes to an endpoint, a [`Transformer`] says what is sent there. This crate stands on the
//! guest's side of that call: it turns the bindings of the gateway's WIT package into plain traits and types, and gives
//! the plugin its [configuration](config) and its log. A plugin has no clock, no randomness, no file and no network,
//! and each event is given to an instance that has seen no other one.
//!
//! ```
//! use hookweir_plugin::{Event, Failure, Filter, Verdict, config};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     country: String,
//! }
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     country: String,
//! }
//!
//! struct OneCountry;
//!
//! impl Filter for OneCountry {
//!     fn filter(event: &Event) -> Result<Verdict, Failure> {
//!         let wanted = config::<Config>()?.country;
//!         let order: Order = event.json()?;
//!         Ok(Verdict::keep_if(order.country == wanted, || format!("the order is from {}", order.country)))
//!     }
//! }
//!
//! hookweir_plugin::export!(filter: OneCountry);
//! ```
//!
//! The crate of a plugin has `crate-type = ["cdylib"]`. On any other target than WebAssembly the same code compiles
//! and runs against the stand-in gateway of the `testing` module, so that `cargo test` works as ever.

#[cfg(all(target_family = "wasm", feature = "allocator"))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod config;
mod event;
mod failure;
mod field;
mod filter;
#[doc(hidden)]
pub mod glue;
mod host;
mod log;
mod part;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod transformer;

pub use bindings::{Event, Failure, Level};
pub use config::config;
pub use field::field;
pub use filter::{Filter, Verdict};
pub use log::log;
pub use transformer::{Outgoing, Transformer};
