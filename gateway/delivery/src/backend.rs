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
//! An attempt ends by its endpoint's timeout. Connections are shared by all endpoints that say the same of their server,
//! made when they are first wanted, and closed when nobody has wanted them for a while. `tests/queues` of this crate
//! holds the suite that every kind of queue passes against its real server.

use std::fmt;
use std::sync::Arc;

use hookweir_model::Timestamp;

use crate::network::Network;
use crate::queue::nats::{Nats, NatsTarget};
use crate::queue::rabbitmq::{RabbitMq, RabbitMqTarget};
use crate::queue::redis::{Redis, RedisTarget};
use crate::queue::smq::{Smq, SmqTarget};
use crate::queue::sqs::{Sqs, SqsTarget};
use crate::{EgressPolicy, Error, HttpClient, HttpTarget, Report, Request, Server, tls};

/// One way out.
pub trait Backend: Send + Sync {
    /// What the configuration says of a receiver of this kind, checked.
    type Target: fmt::Debug + Send + Sync;

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

/// Where an endpoint's events go.
#[derive(Debug, Clone)]
pub enum Target {
    Http(HttpTarget),
    Nats(NatsTarget),
    RabbitMq(RabbitMqTarget),
    Redis(RedisTarget),
    Smq(SmqTarget),
    Sqs(SqsTarget),
}

impl Target {
    /// The endpoint's `kind`, as the configuration names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Nats(_) => "nats",
            Self::RabbitMq(_) => "rabbitmq",
            Self::Redis(_) => "redis",
            Self::Smq(_) => "smq",
            Self::Sqs(_) => "sqs",
        }
    }

    /// What a person recognises the receiver by: its address as it was configured, and what it holds there.
    pub fn address(&self) -> String {
        match self {
            Self::Http(target) => target.configured_url.clone(),
            Self::Nats(target) => format!("{} {}", list(&target.servers), target.subject.as_str()),
            Self::RabbitMq(target) => {
                format!("{} {} {}", target.server, target.exchange, target.routing_key.as_str())
            }
            Self::Redis(target) => format!("{} {}", target.server, target.stream.as_str()),
            Self::Smq(target) => format!("{} {}", target.url.origin().ascii_serialization(), target.queue),
            Self::Sqs(target) => target.url.to_string(),
        }
    }
}

/// All ways out under one egress policy. Clones share connections; another policy needs another one of these, so that no
/// connection outlives the policy that allowed it.
#[derive(Debug, Clone)]
pub struct Outlets {
    ways: Arc<Ways>,
}

#[derive(Debug)]
struct Ways {
    http: HttpClient,
    nats: Nats,
    rabbitmq: RabbitMq,
    redis: Redis,
    smq: Smq,
    sqs: Sqs,
}

impl Outlets {
    /// Trusts the certificate authorities of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; on a
    /// machine that has none, Mozilla's list.
    pub fn new(policy: EgressPolicy) -> Result<Self, Error> {
        let network = Network::new(policy, tls::system_roots())?;
        let http = HttpClient::over(network.clone())?;
        let ways = Ways {
            nats: Nats::over(network.clone()),
            rabbitmq: RabbitMq::over(network.clone()),
            redis: Redis::over(network),
            smq: Smq::over(http.clone()),
            sqs: Sqs::over(http.clone()),
            http,
        };
        Ok(Self { ways: Arc::new(ways) })
    }

    /// Makes one attempt.
    pub async fn send(&self, target: &Target, request: Request<'_>, now: Timestamp) -> Report {
        match target {
            Target::Http(target) => self.ways.http.send(target, request, now).await,
            Target::Nats(target) => self.ways.nats.send(target, request, now).await,
            Target::RabbitMq(target) => self.ways.rabbitmq.send(target, request, now).await,
            Target::Redis(target) => self.ways.redis.send(target, request, now).await,
            Target::Smq(target) => self.ways.smq.send(target, request, now).await,
            Target::Sqs(target) => self.ways.sqs.send(target, request, now).await,
        }
    }

    /// Lets all connections go.
    pub async fn close(&self) {
        let Ways { http, nats, rabbitmq, redis, smq, sqs } = &*self.ways;
        http.close().await;
        nats.close().await;
        rabbitmq.close().await;
        redis.close().await;
        smq.close().await;
        sqs.close().await;
    }
}

fn list(servers: &[Server]) -> String {
    servers.iter().map(Server::to_string).collect::<Vec<_>>().join(",")
}
