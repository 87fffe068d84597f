//! Queues in maps.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hookweir_model::{EndpointKey, Timestamp};

use super::Memory;
use crate::{
    Answered, Error, Look, Looked, Message, NewMessage, Old, Oldest, QueueStats, Queues, Receipt, Receive,
    Received, Redrive, Verdict,
};

#[derive(Default)]
pub(super) struct State {
    last: u64,
    queues: BTreeMap<EndpointKey, BTreeMap<u64, Row>>,
}

struct Row {
    message: Message,
    state: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Waiting,
    Held([u8; 16]),
    Dead,
}

impl Row {
    fn is_visible(&self, now: Timestamp) -> bool {
        self.state != Place::Dead && self.message.visible <= now
    }
}

impl State {
    pub(super) fn put(&mut self, queue: &EndpointKey, new: NewMessage) -> u64 {
        self.last += 1;
        let NewMessage { content, enqueued, visible } = new;
        let message =
            Message { number: self.last, content, enqueued, visible, receives: 0, first_received: None };
        let row = Row { message, state: Place::Waiting };
        self.queues.entry(queue.clone()).or_default().insert(self.last, row);
        self.last
    }

    /// The number given last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The numbers of the messages that are visible, in their order.
    fn visible(&self, queue: &EndpointKey, now: Timestamp) -> Vec<u64> {
        let rows = self.queues.get(queue).into_iter().flat_map(BTreeMap::values);
        let mut found: Vec<(Timestamp, u64)> = rows
            .filter(|row| row.is_visible(now))
            .map(|row| (row.message.visible, row.message.number))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, number)| number).collect()
    }

    fn receive(&mut self, ask: &Receive) -> Received {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for number in self.visible(&ask.queue, ask.now) {
            if messages.len() == ask.limit {
                break;
            }
            let row = self.queues.get_mut(&ask.queue).and_then(|rows| rows.get_mut(&number));
            let Some(row) = row else { continue };
            if ask.max_receives.is_some_and(|max| row.message.receives >= max) {
                row.state = Place::Dead;
                continue;
            }
            bytes += row.message.content.shaped.body.len();
            if bytes > ask.bytes && !messages.is_empty() {
                break;
            }
            row.message.receives += 1;
            row.message.first_received.get_or_insert(ask.now);
            row.message.visible = ask.until.max(Timestamp::from_millis(ask.now.as_millis() + 1));
            row.state = Place::Held(ask.token);
            messages.push(row.message.clone());
        }
        let rows = self.queues.get(&ask.queue).into_iter().flat_map(BTreeMap::values);
        let next = rows.filter(|row| row.state != Place::Dead).map(|row| row.message.visible).min();
        Received { messages, next }
    }

    fn answer(&mut self, queue: &EndpointKey, receipt: Receipt, verdict: Verdict) -> Answered {
        let Some(rows) = self.queues.get_mut(queue) else { return Answered::Gone };
        let Some(row) = rows.get_mut(&receipt.number) else { return Answered::Gone };
        if row.state != Place::Held(receipt.token) {
            return Answered::Stale;
        }
        match verdict {
            Verdict::Ack => {
                rows.remove(&receipt.number);
            }
            Verdict::Nack { max_receives: Some(max), .. } if row.message.receives >= max => {
                row.state = Place::Dead;
                return Answered::Dead;
            }
            Verdict::Nack { visible, .. } => {
                row.state = Place::Waiting;
                row.message.visible = visible;
            }
            Verdict::Return { now } => {
                row.state = Place::Waiting;
                row.message.visible = now;
                row.message.receives -= 1;
            }
            Verdict::Extend { until } => row.message.visible = until,
        }
        Answered::Done
    }

    fn messages(&self, queue: &EndpointKey, look: Look, limit: usize, bytes: usize) -> Looked {
        let Some(rows) = self.queues.get(queue) else { return Looked::default() };
        let numbers: Vec<u64> = match look {
            Look::Visible { now } => self.visible(queue, now),
            Look::Dead { after } => rows
                .iter()
                .filter(|(number, row)| row.state == Place::Dead && **number > after)
                .map(|(number, _)| *number)
                .collect(),
        };
        let mut looked = Looked::default();
        let (mut last, mut room) = (None, bytes);
        for row in numbers.iter().take(limit).filter_map(|number| rows.get(number)) {
            let size = row.message.content.shaped.body.len();
            if size > room && last.is_some() {
                looked.next = last;
                return looked;
            }
            room = room.saturating_sub(size);
            looked.messages.push(row.message.clone());
            last = Some(row.message.number);
        }
        looked.next = last.filter(|_| numbers.len() >= limit);
        looked
    }

    /// `age` tells the age of a message by its number and the time when it was put there.
    fn stats(
        &self,
        queue: &EndpointKey,
        now: Timestamp,
        age: impl Fn(u64, Timestamp) -> Oldest,
    ) -> QueueStats {
        let mut stats = QueueStats::default();
        for row in self.queues.get(queue).into_iter().flat_map(BTreeMap::values) {
            match row.state {
                Place::Dead => stats.dead += 1,
                _ if row.is_visible(now) => stats.visible += 1,
                Place::Held(_) => stats.in_flight += 1,
                Place::Waiting => stats.delayed += 1,
            }
            if row.state != Place::Dead {
                stats.oldest.get_or_insert_with(|| age(row.message.number, row.message.enqueued));
            }
        }
        stats
    }

    fn redrive(&mut self, queue: &EndpointKey, which: &Redrive, now: Timestamp) -> u64 {
        let Some(rows) = self.queues.get_mut(queue) else { return 0 };
        let limit = match which {
            Redrive::Oldest(limit) => *limit,
            Redrive::Numbers(numbers) => numbers.len(),
        };
        let is_meant = |number: &u64| match which {
            Redrive::Oldest(_) => true,
            Redrive::Numbers(numbers) => numbers.contains(number),
        };
        let dead = rows.iter_mut().filter(|(number, row)| row.state == Place::Dead && is_meant(number));
        let mut again = 0;
        for (_, row) in dead.take(limit) {
            row.state = Place::Waiting;
            row.message.visible = now;
            row.message.receives = 0;
            row.message.first_received = None;
            again += 1;
        }
        again
    }

    fn expire(&mut self, queue: &EndpointKey, last: u64, budget: usize) -> u64 {
        let Some(rows) = self.queues.get_mut(queue) else { return 0 };
        let old: Vec<u64> = rows.range(..=last).take(budget).map(|(number, _)| *number).collect();
        old.iter().for_each(|number| drop(rows.remove(number)));
        old.len() as u64
    }
}

#[async_trait]
impl Queues for Memory {
    async fn enqueue(&self, queue: &EndpointKey, messages: Vec<NewMessage>) -> Result<Vec<u64>, Error> {
        let mut inner = self.open()?;
        Ok(messages.into_iter().map(|message| inner.queues.put(queue, message)).collect())
    }

    async fn receive(&self, ask: Receive) -> Result<Received, Error> {
        Ok(self.open()?.queues.receive(&ask))
    }

    async fn answer(
        &self,
        queue: &EndpointKey,
        verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<Vec<Answered>, Error> {
        let mut inner = self.open()?;
        let mut answer = |(receipt, verdict)| inner.queues.answer(queue, receipt, verdict);
        Ok(verdicts.into_iter().map(&mut answer).collect())
    }

    async fn messages(
        &self,
        queue: &EndpointKey,
        look: Look,
        limit: usize,
        bytes: usize,
    ) -> Result<Looked, Error> {
        Ok(self.open()?.queues.messages(queue, look, limit, bytes))
    }

    async fn queue_stats(&self, queue: &EndpointKey, now: Timestamp) -> Result<QueueStats, Error> {
        let inner = self.open()?;
        Ok(inner.queues.stats(queue, now, |number, at| inner.clock.oldest_message(number, at)))
    }

    async fn redrive(&self, queue: &EndpointKey, which: Redrive, now: Timestamp) -> Result<u64, Error> {
        Ok(self.open()?.queues.redrive(queue, &which, now))
    }

    async fn queues(&self) -> Result<Vec<EndpointKey>, Error> {
        let inner = self.open()?;
        let held = inner.queues.queues.iter().filter(|(_, rows)| !rows.is_empty());
        Ok(held.map(|(key, _)| key.clone()).collect())
    }

    async fn expire_messages(&self, queue: &EndpointKey, old: Old, budget: usize) -> Result<u64, Error> {
        let mut inner = self.open()?;
        let (_, last) = inner.clock.last(old);
        Ok(inner.queues.expire(queue, last, budget))
    }
}
