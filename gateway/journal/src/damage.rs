//! Damage: what the journal was found not to hold any more, although it was written and answered.
//!
//! A record of damage outlives restarts. It counts at `/readyz` and `/metrics` until an operator has acknowledged it.

use async_trait::async_trait;
use hookweir_model::{EndpointId, EventId, TenantId, Timestamp};

use crate::{Error, Seq};

/// What was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DamageKind {
    /// The write-ahead log: commits that were answered are missing, or were restored from what was left of them.
    Log,
    /// A page of the main file, or what its pages say together.
    File,
    /// An event's stored bytes.
    Event,
    /// A delivery: its row, its shaped request, or its place among those that wait.
    Delivery,
    /// A message of a queue.
    Message,
    /// An uploaded plugin.
    Blob,
}

impl DamageKind {
    pub const ALL: [Self; 6] =
        [Self::Log, Self::File, Self::Event, Self::Delivery, Self::Message, Self::Blob];

    /// The name in tables, JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::File => "file",
            Self::Event => "event",
            Self::Delivery => "delivery",
            Self::Message => "message",
            Self::Blob => "blob",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Damage of one place. What is not known of it is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub kind: DamageKind,
    /// The first and the last of the events concerned, by number. Events of the range may be whole.
    pub events: Option<(Seq, Seq)>,
    pub tenant: Option<TenantId>,
    pub endpoint: Option<EndpointId>,
    pub event: Option<EventId>,
    /// What was found and what follows from it, as a sentence for operators. It holds no data of an event.
    pub what: String,
    pub found: Timestamp,
}

impl Damage {
    /// Damage that was found now, and of which no more is known.
    pub fn new(kind: DamageKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            events: None,
            tenant: None,
            endpoint: None,
            event: None,
            what: what.into(),
            found: Timestamp::now(),
        }
    }
}

/// A record of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamageRecord {
    /// Later records have higher numbers.
    pub number: u64,
    pub damage: Damage,
    /// When an operator acknowledged it.
    pub acknowledged: Option<Timestamp>,
}

/// All damage that nobody has acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DamageSummary {
    pub records: u64,
    /// How many event numbers lie in the ranges of these records, an event counted for each.
    pub events: u64,
    /// The lowest and the highest number of these ranges.
    pub range: Option<(Seq, Seq)>,
    /// The newest record.
    pub newest: Option<Damage>,
}

/// How many records are kept at most. Where there is no room, the oldest acknowledged ones make it; where there are none
/// of these either, no more are kept.
pub const MAX_DAMAGE_RECORDS: u64 = 10_000;

/// What is known of damage. All that is said of [`Journal`](crate::Journal) holds here.
#[async_trait]
pub trait Damages: Send + Sync {
    /// Keeps records, durably, and answers how many are new: what has a record that nobody has acknowledged yet (of the
    /// same kind, events, tenant, endpoint and event) gets no second one. At most [`MAX_DAMAGE_RECORDS`] are kept.
    async fn record_damage(&self, found: Vec<Damage>) -> Result<u64, Error>;

    /// Up to `limit` records with lower numbers than `before`, acknowledged ones among them, newest first.
    async fn damage(&self, before: Option<u64>, limit: usize) -> Result<Vec<DamageRecord>, Error>;

    /// Marks all records with numbers up to `number` as acknowledged, durably, and answers how many were not before.
    async fn acknowledge_damage(&self, number: u64, at: Timestamp) -> Result<u64, Error>;

    /// What nobody has acknowledged yet. It costs no read.
    fn damage_summary(&self) -> DamageSummary;
}
