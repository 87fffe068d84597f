//! The way out: signed HTTP requests to a tenant's receivers, under an egress policy.
//!
//! On an event's path this is the last step before the attempt is settled. [`sign`] and [`guard`] are pure;
//! `resolve` and `client` are the only places of the gateway that look names up and dial.
//!
//! It never reads the journal, runs no plugin and decides no retry: an attempt ends in a [`Report`], and what
//! follows from it is decided by whoever asked.

mod client;
pub mod guard;
mod resolve;
pub mod sign;
mod target;

pub use client::{Error, HttpClient};
pub use target::{EgressPolicy, HttpTarget, Report, Request, Signing};
