//! Queues: names become numbers, changes go to the writer, and what messages say is read after the sync.

use async_trait::async_trait;
use hookweir_model::{EndpointKey, Timestamp};
use rusqlite::Connection;

use super::message::MessageRecord;
use super::read::{self, read};
use super::writer::{Job, MessageOp, Op, Take};
use super::{Embedded, Shared};
use crate::{
    Answered, Error, Look, Looked, NewMessage, Old, QueueStats, Queues, Receipt, Receive, Received, Redrive,
    Verdict,
};

impl Shared {
    fn queue(&self, queue: &EndpointKey) -> Option<i64> {
        self.names(|names| names.lane_of(queue))
    }
}

#[async_trait]
impl Queues for Embedded {
    async fn enqueue(&self, queue: &EndpointKey, messages: Vec<NewMessage>) -> Result<Vec<u64>, Error> {
        self.shared.door.admit()?;
        let lane = self.lane(queue).await?;
        let records = messages.into_iter().map(MessageRecord::new).collect();
        self.ask((lane, records), |job| Op::Message(MessageOp::Put(job))).await
    }

    async fn receive(&self, ask: Receive) -> Result<Received, Error> {
        let Receive { queue, now, until, limit, bytes, max_receives, token } = ask;
        let Some(lane) = self.shared.queue(&queue) else { return Ok(Received::default()) };
        let take = Take { lane, now, until, limit, bytes, max_receives, token };
        let taken = self.ask(take, |job| Op::Message(MessageOp::Take(job))).await?;
        if taken.numbers.is_empty() {
            return Ok(Received { messages: Vec::new(), next: taken.next });
        }
        let numbers = taken.numbers;
        let found = read(&self.shared, move |connection| read::messages(connection, lane, &numbers)).await?;
        for number in found.damaged {
            self.shared.counters.damaged();
            tracing::error!(
                target: "hookweir::journal",
                %queue,
                number,
                "a message is a dead letter now, since its stored bytes are damaged"
            );
            // Not waited for: while the disk is full it may take long. Undone, it is found again when it is received.
            let (job, _) = Job::new((lane, number));
            let _ = self.shared.inbox.push(Op::Message(MessageOp::Bury(job)));
        }
        Ok(Received { messages: found.messages, next: taken.next })
    }

    async fn answer(
        &self,
        queue: &EndpointKey,
        verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<Vec<Answered>, Error> {
        let Some(lane) = self.shared.queue(queue) else { return Ok(vec![Answered::Gone; verdicts.len()]) };
        self.ask((lane, verdicts), |job| Op::Message(MessageOp::Answer(job))).await
    }

    async fn messages(
        &self,
        queue: &EndpointKey,
        look: Look,
        limit: usize,
        bytes: usize,
    ) -> Result<Looked, Error> {
        let Some(lane) = self.shared.queue(queue) else { return Ok(Looked::default()) };
        let look = move |connection: &Connection| read::look(connection, lane, look, limit, bytes);
        let (found, next) = read(&self.shared, look).await?;
        for number in found.damaged {
            tracing::error!(
                target: "hookweir::journal",
                %queue,
                number,
                "a message's stored bytes are damaged"
            );
        }
        Ok(Looked { messages: found.messages, next })
    }

    async fn queue_stats(&self, queue: &EndpointKey, now: Timestamp) -> Result<QueueStats, Error> {
        let Some(lane) = self.shared.queue(queue) else { return Ok(QueueStats::default()) };
        read(&self.shared, move |connection| read::queue_stats(connection, lane, now)).await
    }

    async fn redrive(&self, queue: &EndpointKey, which: Redrive, now: Timestamp) -> Result<u64, Error> {
        let Some(lane) = self.shared.queue(queue) else { return Ok(0) };
        self.ask((lane, which, now), |job| Op::Message(MessageOp::Redrive(job))).await
    }

    async fn queues(&self) -> Result<Vec<EndpointKey>, Error> {
        let lanes = read(&self.shared, read::queues).await?;
        let mut keys: Vec<EndpointKey> =
            self.shared.names(|names| lanes.iter().filter_map(|lane| names.key(*lane).cloned()).collect());
        keys.sort();
        Ok(keys)
    }

    async fn expire_messages(&self, queue: &EndpointKey, old: Old, budget: usize) -> Result<u64, Error> {
        let Some(lane) = self.shared.queue(queue) else { return Ok(0) };
        self.ask((lane, old, budget), |job| Op::Message(MessageOp::Expire(job))).await
    }
}
