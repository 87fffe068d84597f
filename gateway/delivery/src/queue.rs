//! What all kinds of queue share: how an attempt at a broker ends, connections that endpoints share, and texts with
//! places for an event's attributes.

mod fault;
mod pool;
mod template;

pub(crate) use fault::{Fault, Progress, attempt};
pub(crate) use pool::Pool;
pub use template::{InvalidTemplate, Template};
