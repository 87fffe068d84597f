//! What the writer is asked to do. An operation keeps its input until its group is committed, so that it can be
//! applied again after a group that failed for a neighbour's sake.

use bytes::Bytes;
use hookweir_model::{Digest, EndpointKey, Epoch, EventId, Timestamp};
use tokio::sync::oneshot;

use super::expire::Expire;
use super::mend::Finding;
use super::message::MessageOp;
use super::plugin::PluginRecord;
use super::requeue::Requeue;
use super::settle::SettleRecord;
use crate::engines::embedded::damage;
use crate::engines::embedded::directory::Entry;
use crate::engines::embedded::record::EventRecord;
use crate::{Appended, Error, Expired, KeptClock, Settled};

/// An operation with someone who waits for its answer.
#[derive(Debug)]
pub(in crate::engines::embedded) struct Job<I, T> {
    pub(super) input: I,
    /// Set when it is applied; becomes the answer when the group is committed.
    pub(super) outcome: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<I, T> Job<I, T> {
    pub(in crate::engines::embedded) fn new(input: I) -> (Self, oneshot::Receiver<Result<T, Error>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { input, outcome: None, answer }, receiver)
    }

    /// Answers what was applied. Nobody may be listening any more: the write stands all the same.
    pub(super) fn finish(self) {
        if let Some(outcome) = self.outcome {
            let _ = self.answer.send(outcome);
        }
    }

    pub(super) fn fail(self, error: Error) {
        let _ = self.answer.send(Err(error));
    }
}

#[derive(Debug)]
pub(in crate::engines::embedded) enum Op {
    Append(Job<Vec<EventRecord>, Vec<Appended>>),
    Settle(Job<Vec<SettleRecord>, Vec<Settled>>),
    /// Gives numbers to names.
    Register(Job<Vec<Name>, Vec<Entry>>),
    Requeue(Job<Requeue, u64>),
    Expire(Job<Expire, Expired>),
    Clock(Job<KeptClock, ()>),
    /// Keeps an endpoint's state, as JSON.
    State(Job<(i64, String), ()>),
    Blob(Job<(Digest, Bytes), ()>),
    Plugin(Job<PluginRecord, ()>),
    Message(MessageOp),
    /// Keeps records of damage, or marks them as acknowledged.
    Damage(Job<damage::Change, u64>),
    /// Raises the epoch for a new owner.
    Epoch(Job<(), Epoch>),
    /// Ends what damage has made undeliverable, and records it. A delivery that is held in quarantine is released by it.
    Mend(Job<Vec<Finding>, ()>),
    /// The file has a damaged page.
    Rebuild,
    /// Runs a statement on the writer's connection, as only a test may.
    #[cfg(test)]
    Execute(Job<String, ()>),
}

/// A name to be kept: a tenant's, and an endpoint's with it.
#[derive(Debug)]
pub(in crate::engines::embedded) enum Name {
    Tenant(hookweir_model::TenantId),
    Lane(EndpointKey),
}

/// Names a delivery by the event's id, as operators do.
#[derive(Debug)]
pub(in crate::engines::embedded) struct EventName {
    pub(in crate::engines::embedded) tenant: i64,
    pub(in crate::engines::embedded) id: EventId,
}

/// How an operation goes on after its group is committed.
pub(super) enum After {
    Answered,
    /// It does its work in parts, so as not to hold up the others: the next part goes with the next group.
    Continue(Op),
}

impl Op {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Append(job) => job.input.len(),
            Self::Settle(job) => job.input.len(),
            Self::Message(op) => op.weight(),
            _ => 1,
        }
    }

    /// About how many bytes it writes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append(job) => job.input.iter().map(EventRecord::size).sum(),
            Self::Settle(job) => job.input.iter().map(SettleRecord::size).sum(),
            Self::Blob(job) => job.input.1.len(),
            Self::Message(op) => op.size(),
            _ => 256,
        }
    }

    pub(super) fn may_be_refused(&self) -> bool {
        match self {
            Self::Append(_) | Self::Blob(_) => true,
            Self::Message(op) => op.may_be_refused(),
            _ => false,
        }
    }

    /// Whether it is kept, and tried until there is room, where others are answered with an error.
    pub(super) fn waits_for_room(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::Mend(_))
    }

    /// Whether it makes room, in parts that nobody waits for: each is judged anew.
    pub(super) fn is_for_room(&self) -> bool {
        matches!(self, Self::Expire(job) if job.input.is_for_room())
    }

    /// After the commit of its group.
    pub(super) fn committed(mut self) -> After {
        let is_done = match &mut self {
            Self::Requeue(job) => job.input.advance(),
            Self::Expire(job) => job.input.advance(),
            _ => true,
        };
        if !is_done {
            return After::Continue(self);
        }
        match self {
            Self::Append(job) => job.finish(),
            Self::Settle(job) => job.finish(),
            Self::Register(job) => job.finish(),
            Self::Requeue(job) => job.finish(),
            Self::Expire(job) => job.finish(),
            Self::Clock(job) => job.finish(),
            Self::State(job) => job.finish(),
            Self::Blob(job) => job.finish(),
            Self::Plugin(job) => job.finish(),
            Self::Message(op) => op.finish(),
            Self::Damage(job) => job.finish(),
            Self::Epoch(job) => job.finish(),
            Self::Mend(job) => job.finish(),
            Self::Rebuild => {}
            #[cfg(test)]
            Self::Execute(job) => job.finish(),
        }
        After::Answered
    }

    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Append(job) => job.fail(error),
            Self::Settle(job) => job.fail(error),
            Self::Register(job) => job.fail(error),
            Self::Requeue(job) => job.fail(error),
            Self::Expire(job) => job.fail(error),
            Self::Clock(job) => job.fail(error),
            Self::State(job) => job.fail(error),
            Self::Blob(job) => job.fail(error),
            Self::Plugin(job) => job.fail(error),
            Self::Message(op) => op.fail(error),
            Self::Damage(job) => job.fail(error),
            Self::Epoch(job) => job.fail(error),
            Self::Mend(job) => {
                tracing::error!(
                    target: "hookweir::journal",
                    "damage found in the journal could not be recorded: {error}"
                );
                job.fail(error);
            }
            Self::Rebuild => {}
            #[cfg(test)]
            Self::Execute(job) => job.fail(error),
        }
    }
}

/// The minute of a time, the key of a span.
pub(in crate::engines::embedded) fn minute(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(60_000)
}
