//! The way out: signed HTTP requests to a tenant's receivers and messages to their brokers, under an egress policy.
//!
//! On an event's path this is the last step before the attempt is settled. [`backend`](Backend) holds what every kind of
//! receiver promises; `client` is the kind `http`, `queue` has a module for each kind of broker. [`sign`] and [`guard`]
//! are pure; `resolve`, `network` and `client` are the only places of the gateway that look names up and dial.
//!
//! It never reads the journal, runs no plugin and decides no retry: an attempt ends in a [`Report`], and what
//! follows from it is decided by whoever asked.

#![cfg_attr(
    not(feature = "all-kinds"),
    allow(
        dead_code,
        unused_imports,
        reason = "what the kinds of queue share is there, whichever of them are built in"
    )
)]

mod attempt;
mod backend;
mod client;
mod dial;
pub mod guard;
mod hosts;
mod in_force;
mod network;
mod policy;
pub mod queue;
mod resolve;
mod server;
pub mod sign;
mod stream;
pub mod text;
mod tls;

pub use attempt::{Report, Request};
pub use backend::{Backend, Outlets, Target};
pub use client::{Error, HttpClient, HttpTarget, Signing};
pub use in_force::InForce;
pub use policy::EgressPolicy;
#[cfg(feature = "kafka")]
pub use queue::kafka::{KafkaLogin, KafkaTarget, SaslMechanism};
#[cfg(feature = "mqtt")]
pub use queue::mqtt::{MqttLogin, MqttTarget};
#[cfg(feature = "nats")]
pub use queue::nats::{NatsLogin, NatsTarget};
#[cfg(feature = "rabbitmq")]
pub use queue::rabbitmq::RabbitMqTarget;
#[cfg(feature = "redis")]
pub use queue::redis::RedisTarget;
pub use queue::smq;
#[cfg(feature = "smq")]
pub use queue::smq::outlet::SmqTarget;
#[cfg(feature = "sqs")]
pub use queue::sqs::SqsTarget;
pub use queue::{InvalidTemplate, Template};
pub use server::{Scheme, Server, Trust};
pub use tls::{Authorities, InvalidAuthority, SystemTrust, check_authority, system_trust};
