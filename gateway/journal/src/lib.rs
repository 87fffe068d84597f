//! What must survive: the journal's contract, its engines, and (under `tests/conformance`) the suite that holds every
//! engine to the contract.
//!
//! Accept appends here before it answers, dispatch reads here what is due and settles here what became of it. This
//! crate never dials out, never reads the configuration and never decides when an attempt is due.

mod clock;
mod contract;
mod damage;
pub mod engines;
mod queue;

pub use clock::{KeptClock, Old, Oldest};
pub use contract::{
    Amount, Appended, Counts, Cursor, DeliveryFilter, Due, DueDelivery, Error, EventFilter, Expired,
    FURTHER_KEYS, Health, Journal, LaneBacklog, LaneHead, Lease, Made, NewEvent, Next, Page, REMOVED,
    Selection, Seq, Settled, Settlement, StoredEvent,
};
pub use damage::{Damage, DamageKind, DamageRecord, DamageSummary, Damages, MAX_DAMAGE_RECORDS};
pub use queue::{
    Answered, Content, Look, Looked, Message, NewMessage, QueueStats, Queues, Receipt, Receive, Received,
    Redrive, Verdict,
};
