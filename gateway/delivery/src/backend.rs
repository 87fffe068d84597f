//! The contract of every way out.
//!
//! A [`Backend`] hands one event to one receiver and says how that ended. What follows from it is decided elsewhere, so
//! that the words of a [`Report`] have one meaning for all kinds:
//!
//! * **delivered**: the receiver has said that it has the event. For a broker that is its own acknowledgement that the
//!   message is stored where the endpoint wants it, never that bytes were written to a socket.
//! * **retry**: it does not have the event, and another attempt may bring it there. What an operator can mend at the
//!   broker (a missing queue, a refused credential, a full disk) belongs here: the schedule gives them the time.
//! * **rejected**: no repetition of this very message can succeed, since it is too large for the broker or can't be
//!   expressed in its protocol.
//! * **unknown**: the message was on its way and no answer came. It may be stored or not; it is sent again under the same
//!   id, so that whoever reads can drop the second one.
//! * **blocked**: the egress policy forbids the address.
//!
//! Every attempt carries the event's id where the protocol has a place for one, and it is the same id in every attempt.
//! An attempt ends by its endpoint's timeout. It asks [`crate::InForce`] after every wait, and hands nothing over by a
//! configuration that has ceased to be in force. Connections are shared by all endpoints of one tenant that say the same of
//! their server, made when they are first wanted, and closed when nobody has wanted them for a while. The
//! tests of the whole gateway (`tests/promises/queues`) hold the suite that every kind of queue passes against its real
//! server.

use std::fmt;
use std::sync::Arc;

use hookweir_model::Timestamp;

#[cfg(feature = "kafka")]
use crate::queue::kafka::Kafka;
#[cfg(feature = "mqtt")]
use crate::queue::mqtt::Mqtt;
#[cfg(feature = "nats")]
use crate::queue::nats::Nats;
#[cfg(feature = "rabbitmq")]
use crate::queue::rabbitmq::RabbitMq;
#[cfg(feature = "redis")]
use crate::queue::redis::Redis;
#[cfg(feature = "smq")]
use crate::queue::smq::outlet::Smq;
#[cfg(feature = "sqs")]
use crate::queue::sqs::Sqs;
use crate::{EgressPolicy, Error, HttpClient, Report, Request, SystemTrust, tls};

/// One way out.
pub trait Backend: Send + Sync {
    /// What the configuration says of a receiver of this kind, checked.
    type Target: fmt::Debug + Send + Sync;

    /// The endpoint's `kind`, as the configuration names it.
    const KIND: &'static str;

    /// What a person recognises the receiver by: its address as it was configured, and what it holds there.
    fn address(target: &Self::Target) -> String;

    /// The same for those who may only look. A kind whose address may hold a secret leaves that out.
    fn masked_address(target: &Self::Target) -> String {
        Self::address(target)
    }

    /// Makes one attempt.
    fn send(
        &self,
        target: &Self::Target,
        request: Request<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Report> + Send;

    /// Lets all connections go. Attempts under way end as they would if the server had closed them.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Makes the two lists of kinds, of which each binary has those that it was built with.
macro_rules! kinds {
    ($($(#[$built:meta])? $Kind:ident($Target:ty), $way:ident: $Way:ty;)*) => {
        /// Where an endpoint's events go.
        #[derive(Debug, Clone)]
        pub enum Target {
            $($(#[$built])? $Kind($Target),)*
        }

        #[derive(Debug)]
        struct Ways {
            $($(#[$built])? $way: $Way,)*
        }

        impl Target {
            /// The endpoint's `kind`, as the configuration names it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[$built])? Self::$Kind(_) => <$Way>::KIND,)*
                }
            }

            /// What a person recognises the receiver by: its address as it was configured, and what it holds there.
            pub fn address(&self) -> String {
                match self {
                    $($(#[$built])? Self::$Kind(target) => <$Way>::address(target),)*
                }
            }

            /// The same for those who may only look: what stands behind the host of a receiver's URL is often all that its
            /// sender has to show.
            pub fn masked_address(&self) -> String {
                match self {
                    $($(#[$built])? Self::$Kind(target) => <$Way>::masked_address(target),)*
                }
            }
        }

        impl Ways {
            fn over(http: &HttpClient) -> Self {
                Self { $($(#[$built])? $way: <$Way>::over(http),)* }
            }

            async fn send(&self, target: &Target, request: Request<'_>, now: Timestamp) -> Report {
                match target {
                    $($(#[$built])? Target::$Kind(target) => self.$way.send(target, request, now).await,)*
                }
            }

            async fn close(&self) {
                $($(#[$built])? self.$way.close().await;)*
            }
        }
    };
}

kinds! {
    Http(crate::HttpTarget), http: HttpClient;
    #[cfg(feature = "kafka")] Kafka(crate::KafkaTarget), kafka: Kafka;
    #[cfg(feature = "mqtt")] Mqtt(crate::MqttTarget), mqtt: Mqtt;
    #[cfg(feature = "nats")] Nats(crate::NatsTarget), nats: Nats;
    #[cfg(feature = "rabbitmq")] RabbitMq(crate::RabbitMqTarget), rabbitmq: RabbitMq;
    #[cfg(feature = "redis")] Redis(crate::RedisTarget), redis: Redis;
    #[cfg(feature = "smq")] Smq(crate::SmqTarget), smq: Smq;
    #[cfg(feature = "sqs")] Sqs(crate::SqsTarget), sqs: Sqs;
}

impl Target {
    /// Whether it speaks TLS over HTTP and names no authority of its own.
    pub fn trusts_the_machine(&self) -> bool {
        let trusts =
            |url: &url::Url, trust: &crate::Trust| url.scheme() == "https" && *trust == crate::Trust::System;
        let is_one = matches!(self, Self::Http(target) if trusts(&target.url, &target.trust));
        #[cfg(feature = "smq")]
        let is_one = is_one || matches!(self, Self::Smq(target) if trusts(&target.url, &target.trust));
        #[cfg(feature = "sqs")]
        let is_one = is_one || matches!(self, Self::Sqs(target) if trusts(&target.url, &target.trust));
        is_one
    }
}

/// All ways out under one egress policy. Clones share connections; another policy needs another one of these, so that no
/// connection outlives the policy that allowed it.
#[derive(Debug, Clone)]
pub struct Outlets {
    ways: Arc<Ways>,
    trust: SystemTrust,
}

impl Outlets {
    /// Trusts the certificate authorities of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; on a
    /// machine that has none, Mozilla's list.
    pub fn new(policy: EgressPolicy) -> Result<Self, Error> {
        let (roots, trust) = tls::system();
        Ok(Self { ways: Arc::new(Ways::over(&HttpClient::with_roots(policy, roots)?)), trust })
    }

    /// Whose word is taken where a configuration names no authority, as it was found when these were made.
    pub fn system_trust(&self) -> SystemTrust {
        self.trust
    }

    /// Whether these are the same ways out, with the same connections.
    pub fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.ways, &others.ways)
    }

    /// Has what the machine says of names (`/etc/resolv.conf`, `/etc/hosts`) looked at before the next look-up.
    pub fn look_again(&self) {
        self.ways.http.network().names.look_again();
    }

    /// Makes one attempt.
    pub async fn send(&self, target: &Target, request: Request<'_>, now: Timestamp) -> Report {
        self.ways.send(target, request, now).await
    }

    /// Lets all connections go.
    pub async fn close(&self) {
        self.ways.close().await;
    }
}
