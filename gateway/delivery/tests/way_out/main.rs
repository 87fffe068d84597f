//! The client, from outside: real sockets on loopback, a name server of our own, and receivers that misbehave.
//!
//! One binary, since linking costs more than running. A test asserts outcome and reason, never how long it took; a
//! deadline that is meant to pass is short, and one that is not is a minute.

#![expect(clippy::unwrap_used, reason = "the helpers are tests too: what fails in them fails the test")]

mod harness;

mod connections;
mod dns;
mod proxy;
mod status;
mod tls;
mod transport;
