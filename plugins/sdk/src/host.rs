//! The two calls that a plugin may make: to the gateway on WebAssembly, to [`testing`](crate::testing) elsewhere.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::host::{config, log};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::host::{config, log};
