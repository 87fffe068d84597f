//! The plugin host from outside: real components, a real compile child, real threads.
//!
//! One binary, so that wasmtime is linked once. Hostile guests are WebAssembly text with the types of `wit/` embedded,
//! so they need no guest toolchain.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

/// The gateway's own: what a hostile call leaves behind depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cache;
mod chain;
mod fairness;
mod frozen;
mod guest;
mod hostile;
mod random;
mod reference;
mod refused;
mod reuse;
mod setup;
