//! The harness: drives the real binary from outside, through real sockets and signals.
//!
//! Nothing here knows how the gateway works inside. Waits are on conditions (a request has arrived, a status is
//! reached), each with a generous deadline and a message that says what was awaited and what was seen instead.

mod admin;
pub mod broker;
mod browser;
mod clock;
mod collector;
mod config;
mod consumer;
mod disk;
mod dns;
mod eventually;
mod gateway;
mod http;
mod places;
mod port;
mod process;
mod prometheus;
pub mod raw;
mod receiver;
mod relay;
mod script;
mod sender;
mod servant;
mod tls;

pub use admin::Admin;
pub use browser::{Browser, Heard, Theme, axe};
pub use clock::Clock;
pub use collector::Collector;
pub use config::{Config, endpoint, one_endpoint, tenant};
pub use consumer::Consumer;
pub use disk::{Disk, Failing, Frozen, Grain, Image};
pub use dns::NameServer;
pub use eventually::{DEADLINE, eventually, eventually_by, try_eventually, within};
pub use gateway::{Gateway, NotStarted, Stderr};
pub use http::{Answer, Stream};
pub use places::{
    binary, free_port, free_port_of_four_digits, languages, plugin, repository, target, toolchains,
};
pub use port::Port;
pub use process::{children_of, has_ended, pid_of};
pub use prometheus::Prometheus;
pub use receiver::{Receiver, Reply, Request};
pub use relay::Relay;
pub use script::{Output, peer, peers, run, run_for};
pub use sender::{KEY, Sender};
pub use servant::Servant;
pub use tls::authority;
