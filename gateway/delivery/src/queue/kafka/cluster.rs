//! The brokers of a cluster, and what they say of their topics: whom to ask, and what is known already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookweir_model::TenantId;
use tokio::time::Instant;
use url::Host;

use super::answer::{self, Leader};
use super::produce::{self, Entry};
use super::talk::{Question, ask, greet, turned_away};
use super::{Fault, KafkaTarget, SERVER_PATIENCE, call, last_fault, login_id};
use crate::dial::race;
use crate::network::Network;
use crate::queue::pool::{Pool, Pooled};
use crate::queue::wire::{Line, Wire};
use crate::{InForce, Server};

/// How long it is believed who leads a topic's partitions.
const METADATA_AGE: Duration = Duration::from_secs(300);

/// Why a request was not taken, and whether that may be since its partition is led by another broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) fault: Fault,
    pub(super) is_stale: bool,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, is_stale: false }
    }
}

/// The brokers, and what they say of their topics.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    network: Network,
    lines: Arc<Pool<LineKey, Line<Question>>>,
    topics: Arc<Pool<TopicKey, Arc<Topic>>>,
}

/// A broker and who we are to it.
type LineKey = (TenantId, Server, [u8; 32]);
/// A cluster, who we are to it, and a topic's name.
type TopicKey = (TenantId, Vec<Server>, [u8; 32], String);

/// On whose behalf a cluster is asked, and until when it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) target: &'a KafkaTarget,
    pub(super) deadline: Instant,
}

/// Who leads the partitions of a topic, in their order.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) leaders: Vec<Option<Server>>,
    learnt: Instant,
    is_stale: AtomicBool,
}

impl Pooled for Arc<Topic> {
    fn is_usable(&self) -> bool {
        !self.is_stale.load(Ordering::Relaxed) && self.learnt.elapsed() < METADATA_AGE
    }
}

impl Cluster {
    pub(super) fn over(network: Network) -> Self {
        Self { network, lines: Arc::new(Pool::new()), topics: Arc::new(Pool::new()) }
    }

    pub(super) fn clear(&self) {
        self.lines.clear();
        self.topics.clear();
    }

    /// The connection to a broker.
    async fn line(&self, asker: Asker<'_>, server: &Server) -> Result<Line<Question>, Fault> {
        let Asker { tenant, target, deadline } = asker;
        let key = (tenant.clone(), server.clone(), login_id(target));
        let connect = async || {
            let mut wire = Wire::new(self.network.connect(server, deadline).await?.stream);
            let talk = greet(&mut wire, target.login.as_ref()).await?;
            Ok(Line::open(wire, talk))
        };
        self.lines.get(&key, connect).await
    }

    /// What is known of a topic, or what the first broker that answers says of it: one that is silent for a while does not
    /// use the time of the others up.
    pub(super) async fn topic(&self, asker: Asker<'_>, name: &str) -> Result<Arc<Topic>, Fault> {
        let Asker { tenant, target, deadline } = asker;
        let key = (tenant.clone(), target.servers.clone(), login_id(target), name.to_owned());
        let learn = async || {
            let learn = |server: Server| {
                let (cluster, tenant, target) = (self.clone(), tenant.clone(), target.clone());
                let name = name.to_owned();
                async move {
                    let asker = Asker { tenant: &tenant, target: &target, deadline };
                    cluster.learn(asker, &server, &name).await
                }
            };
            let learnt = race(target.servers.clone(), SERVER_PATIENCE, deadline, learn).await;
            learnt.map(Arc::new).map_err(last_fault)
        };
        self.topics.get(&key, learn).await
    }

    async fn learn(&self, asker: Asker<'_>, server: &Server, name: &str) -> Result<Topic, Fault> {
        let line = self.line(asker, server).await?;
        // Nothing is stored by this, so that an answer that does not come leaves nothing unknown.
        let answer =
            ask(&line, call::metadata(name)?, &InForce::always()).await.map_err(|_| turned_away())?;
        let leaders = answer::metadata(answer, name)?;
        let leaders = leaders.into_iter().map(|leader| leader.and_then(|leader| beside(server, &leader)));
        Ok(Topic { leaders: leaders.collect(), learnt: Instant::now(), is_stale: AtomicBool::new(false) })
    }

    /// Sends records to the leader of a partition; answers the offset of the first.
    pub(super) async fn produce(
        &self,
        asker: Asker<'_>,
        name: &str,
        partition: i32,
        entries: &[Entry],
        in_force: &InForce,
    ) -> Result<i64, Refused> {
        let topic = self.topic(asker, name).await?;
        let ended = async {
            let leader = usize::try_from(partition).ok().and_then(|place| topic.leaders.get(place));
            let Some(leader) = leader.and_then(Option::as_ref) else {
                return Err(Refused {
                    fault: Fault::retry(format!("partition {partition} of the topic has no leader now")),
                    is_stale: true,
                });
            };
            let line = self.line(asker, leader).await.map_err(|fault| Refused {
                is_stale: true,
                fault: Fault {
                    reason: format!("{leader}, which leads the partition: {}", fault.reason),
                    ..fault
                },
            })?;
            let timeout = asker.target.timeout;
            let question = call::produce(name, partition, produce::batch(entries)?, timeout)?;
            let answer = ask(&line, question, in_force).await?;
            answer::produce(answer, name, partition)?.map_err(|code| produce::refusal(code, name))
        };
        let ended = ended.await;
        if matches!(&ended, Err(refused) if refused.is_stale) {
            topic.is_stale.store(true, Ordering::Relaxed);
        }
        ended
    }
}

/// The address that a broker gives of another one. It speaks TLS as the one that was asked does, with the same trust; the
/// egress policy judges it when it is dialled.
fn beside(asked: &Server, leader: &Leader) -> Option<Server> {
    let host = Host::parse(&leader.host).ok()?;
    Some(Server { host, port: leader.port, tls: asked.tls.clone() })
}
