//! The way out.

pub mod guard;
pub mod sign;
mod target;

pub use target::{EgressPolicy, HttpTarget, Report, Request, Signing};
