//! `kind = "kafka"`: records for a topic of Kafka, or another broker that speaks its protocol.
//!
//! Delivered means that the partition's leader has acknowledged the record with its offset, and that all replicas that are
//! in sync have it (`acks = all`). How many these must be is the topic's own setting (`min.insync.replicas`). The producer
//! is not an idempotent one, since such a memory ends with the gateway: a record may be there twice, under the same header
//! `webhook-id`, and in the same partition.

mod answer;
mod call;
mod cluster;
mod login;
mod partition;
mod produce;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{Outcome, TenantId, Timestamp};
use secrecy::SecretString;
use tokio::time::Instant;

use self::cluster::{Asker, Cluster, Refused};
use self::produce::Entry;
use super::gather::{Bounds, Ended, Gather};
use super::{Fault, Progress, SERVER_PATIENCE, Template, attempt, fingerprint, last_fault};
use crate::{Backend, HttpClient, InForce, Report, Request, Server};

/// Records of one request, and their bytes: a broker takes a megabyte where it is not told otherwise.
const MOST_BATCH: usize = 500;
const MOST_BATCH_BYTES: usize = 900 << 10;
/// Requests to one partition under way at a time: with one, records keep their order.
const REQUESTS: usize = 1;

/// A topic, and how its brokers are met.
#[derive(Debug, Clone)]
pub struct KafkaTarget {
    /// Of one cluster: the first that answers names the others. Never empty.
    pub servers: Vec<Server>,
    pub login: Option<KafkaLogin>,
    pub topic: Template,
    /// Records with the same key go to the same partition. Absent: those with the same id do.
    pub key: Option<Template>,
    /// The whole attempt.
    pub timeout: Duration,
}

/// Who the gateway is to the brokers.
#[derive(Debug, Clone)]
pub struct KafkaLogin {
    pub mechanism: SaslMechanism,
    pub user: SecretString,
    pub password: SecretString,
}

/// How a password is shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// The way out to Kafka.
#[derive(Debug)]
pub(crate) struct Kafka {
    cluster: Cluster,
    gather: Gather<Key, Entry>,
}

/// Tenant, cluster and login, topic, partition, and the time that a request may take.
type Key = (TenantId, Vec<Server>, [u8; 32], String, i32, Duration);

impl Kafka {
    pub(crate) fn over(http: &HttpClient) -> Self {
        let bounds = Bounds { messages: MOST_BATCH, bytes: MOST_BATCH_BYTES, requests: REQUESTS };
        Self { cluster: Cluster::over(http.network().clone()), gather: Gather::new(bounds) }
    }

    async fn publish(
        &self,
        target: &KafkaTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let name = target.topic.fill(&request);
        let key = target.key.as_ref().map(|key| Bytes::from(key.fill(&request)));
        let asker = Asker { tenant: request.tenant, target, deadline: progress.deadline() };
        let topic = self.cluster.topic(asker, &name).await?;
        let chooser = key.as_deref().unwrap_or(request.event.as_str().as_bytes());
        let partition = partition::of(chooser, topic.leaders.len());
        let entry = Entry::new(&request, key, Timestamp::now());
        let size = entry.size();
        let tenant = request.tenant.clone();
        let servers = target.servers.clone();
        let key = (tenant.clone(), servers, login_id(target), name.clone(), partition, target.timeout);
        let post = || {
            let place =
                Place { cluster: self.cluster.clone(), tenant, target: target.clone(), name, partition };
            let place = Arc::new(place);
            move |entries: Vec<Entry>, in_force: InForce| post(Arc::clone(&place), entries, in_force)
        };
        progress.hand_over()?;
        self.gather.send(&key, entry, size, request.in_force, post).await
    }
}

impl Backend for Kafka {
    type Target = KafkaTarget;

    const KIND: &'static str = "kafka";

    fn address(target: &KafkaTarget) -> String {
        let servers: Vec<String> = target.servers.iter().map(Server::to_string).collect();
        format!("{} {}", servers.join(","), target.topic.as_str())
    }

    async fn send(&self, target: &KafkaTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| {
            self.publish(target, request, progress).await
        })
        .await
    }

    async fn close(&self) {
        self.cluster.clear();
    }
}

/// A partition, and who sends to it.
struct Place {
    cluster: Cluster,
    tenant: TenantId,
    target: KafkaTarget,
    name: String,
    partition: i32,
}

impl Place {
    async fn produce(&self, entries: &[Entry], in_force: &InForce) -> Result<i64, Refused> {
        let deadline = Instant::now() + self.target.timeout;
        let asker = Asker { tenant: &self.tenant, target: &self.target, deadline };
        self.cluster.produce(asker, &self.name, self.partition, entries, in_force).await
    }
}

/// Sends records to a partition. Who leads it may have changed since that was learnt: that is tried once more at once.
async fn post(place: Arc<Place>, entries: Vec<Entry>, in_force: InForce) -> Vec<Ended> {
    let mut ends = place.produce(&entries, &in_force).await;
    if matches!(&ends, Err(refused) if refused.is_stale) {
        ends = place.produce(&entries, &in_force).await;
    }
    let told = |offset| told(place.partition, offset);
    match ends {
        Ok(first) => (first..).take(entries.len()).map(|offset| Ok(told(offset))).collect(),
        // One record may have made the whole request too large: each is sent by itself.
        Err(refused) if refused.fault.outcome == Outcome::Rejected && entries.len() > 1 => {
            let mut ends = Vec::with_capacity(entries.len());
            for entry in &entries {
                let end = place.produce(std::slice::from_ref(entry), &in_force).await;
                ends.push(end.map(told).map_err(|refused| refused.fault));
            }
            ends
        }
        Err(refused) => vec![Err(refused.fault); entries.len()],
    }
}

fn told(partition: i32, offset: i64) -> String {
    format!("partition {partition}, offset {offset}")
}

fn login_id(target: &KafkaTarget) -> [u8; 32] {
    match &target.login {
        None => fingerprint("nobody", &[]),
        Some(KafkaLogin { mechanism, user, password }) => fingerprint(mechanism.name(), &[user, password]),
    }
}
