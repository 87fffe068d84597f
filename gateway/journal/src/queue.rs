//! Queues in the journal: messages that wait until a consumer fetches them.
//!
//! A message is put there by the settlement that ends its delivery ([`Next::Queued`](crate::Next::Queued)) or by
//! [`Queues::enqueue`], and from then on it lives by itself: it holds all that it says, so the event that it came from
//! may go. It is *visible* from its time on. A consumer that receives it makes it invisible until a later time and
//! holds a [`Receipt`] for it; if that time passes without an answer, it is visible again. What was received too often
//! is a *dead letter*: kept, and never received until it is put back.
//!
//! Times are the caller's, as for deliveries. Nothing here waits for a message: whoever wants to be woken is told when
//! the next one becomes visible ([`Received::next`]).

use async_trait::async_trait;
use hookweir_model::{EndpointKey, EventId, EventType, Shaped, Timestamp};

use crate::{Error, Old, Oldest};

/// What a message says; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The id of the event that it was made from.
    pub id: EventId,
    pub event_type: EventType,
    pub source: String,
    pub subject: Option<String>,
    pub time: String,
    pub shaped: Shaped,
}

/// A message to put into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub content: Content,
    /// By the wall clock, for people: its retention counts by [`Old`].
    pub enqueued: Timestamp,
    /// When it can first be received.
    pub visible: Timestamp,
}

/// A message of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Rises with each message of the journal and is never given twice.
    pub number: u64,
    pub content: Content,
    pub enqueued: Timestamp,
    /// From when on it can be received; for a dead letter, when it would have been.
    pub visible: Timestamp,
    /// How often it was received since it was put there, or put back.
    pub receives: u32,
    pub first_received: Option<Timestamp>,
}

/// The right to answer for one message that was received. It ends when the message is received again, put back or
/// answered for good: then nobody else can be harmed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    pub number: u64,
    /// The caller's random bytes of that [`Receive`].
    pub token: [u8; 16],
}

/// Asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    pub queue: EndpointKey,
    pub now: Timestamp,
    /// They are invisible before this time.
    pub until: Timestamp,
    /// How many at most, and of how many bytes of body together; one is answered whatever its size.
    pub limit: usize,
    pub bytes: usize,
    /// A message that was received this often already is not answered: it is made a dead letter.
    pub max_receives: Option<u32>,
    /// Fresh random bytes: nobody who does not know them can answer for what is received.
    pub token: [u8; 16],
}

/// What a [`Receive`] brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Received {
    /// Those visible longest first.
    pub messages: Vec<Message>,
    /// When the next message becomes visible, counting those just received; it may lie in the past. `None` where the
    /// queue holds no message but dead letters.
    pub next: Option<Timestamp>,
}

/// What a consumer says of a message that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with: the message is removed.
    Ack,
    /// It was not done: visible again from then on, or a dead letter if it was received this often.
    Nack { visible: Timestamp, max_receives: Option<u32> },
    /// It takes longer, or less long: invisible until then. The receipt stays good.
    Extend { until: Timestamp },
    /// No consumer ever saw it: it is as if it had not been received.
    Return { now: Timestamp },
}

/// What became of one [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    Done,
    /// Done, and the message is a dead letter now.
    Dead,
    /// The message is there, but the receipt is no longer good for it: nothing was changed.
    Stale,
    /// The queue has no such message (any more).
    Gone,
}

/// Which messages to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Those that could be received now, in the order in which they would be.
    Visible { now: Timestamp },
    /// Dead letters with higher numbers than this, by number.
    Dead { after: u64 },
}

/// What a look at messages found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    pub messages: Vec<Message>,
    /// The last number that was looked at, where a bound ended the look: there may be more messages.
    pub next: Option<u64>,
}

/// How many messages a queue holds, and how they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    pub visible: u64,
    /// Received, unanswered, and invisible still.
    pub in_flight: u64,
    /// Invisible without having been received: put there or given back for later.
    pub delayed: u64,
    pub dead: u64,
    /// The oldest message that is no dead letter.
    pub oldest: Option<Oldest>,
}

/// Which dead letters to put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrive {
    /// The oldest, this many at most.
    Oldest(usize),
    /// Those of these that are dead letters.
    Numbers(Vec<u64>),
}

/// What must survive of queues. All that is said of [`Journal`](crate::Journal) holds here: **every change is durable
/// when it returns**, and one sync serves all that wait.
///
/// A queue is named by its endpoint. It is there as soon as it is named, and empty.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Puts messages into a queue, all or none, and answers their numbers. Refused for want of room, as an append is.
    async fn enqueue(&self, queue: &EndpointKey, messages: Vec<NewMessage>) -> Result<Vec<u64>, Error>;

    /// Takes the messages that are visible at `now`, by (visible, number), and makes them invisible. No message is
    /// answered to two callers while it is invisible. Its cost does not grow with the length of the queue.
    ///
    /// A message whose stored bytes are damaged is not answered: it is made a dead letter and logged.
    async fn receive(&self, ask: Receive) -> Result<Received, Error>;

    /// Answers for messages that were received, each on its own. The answers stand in the order of the verdicts.
    async fn answer(
        &self,
        queue: &EndpointKey,
        verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<Vec<Answered>, Error>;

    /// Looks at up to `limit` messages with up to `bytes` of body together, one whatever its size, and changes nothing.
    /// What is beyond these bounds is not read. Those that are damaged are left out.
    async fn messages(
        &self,
        queue: &EndpointKey,
        look: Look,
        limit: usize,
        bytes: usize,
    ) -> Result<Looked, Error>;

    /// Its cost grows with the number of messages that are not visible, not with those that are.
    async fn queue_stats(&self, queue: &EndpointKey, now: Timestamp) -> Result<QueueStats, Error>;

    /// Puts dead letters back as if they had never been received, visible from `now` on; answers how many.
    async fn redrive(&self, queue: &EndpointKey, which: Redrive, now: Timestamp) -> Result<u64, Error>;

    /// The queues that hold messages, by key.
    async fn queues(&self) -> Result<Vec<EndpointKey>, Error>;

    /// Removes messages that are old, dead letters and received ones among them, by number; at most `budget`. Answers
    /// how many.
    async fn expire_messages(&self, queue: &EndpointKey, old: Old, budget: usize) -> Result<u64, Error>;
}
