//! The queues that consumers fetch from, between the journal that holds their messages and the faces in `accept` that
//! speak for them.
//!
//! The journal decides who gets which message; this adds what needs no disk: consumers that wait for a message, in the
//! order in which they came, and are woken when there is one. Nobody asks the journal again and again. A message that
//! was handed out to a consumer that has hung up meanwhile is given back at once.

mod line;
mod receipt;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hookweir_journal::{
    Answered, Content, Error, Journal, Look, Looked, Message, NewMessage, QueueStats, Receipt, Receive,
    Received, Redrive, Verdict,
};
use hookweir_model::{EndpointKey, Event, Shaped, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::line::Line;
pub(crate) use self::receipt::{receipt_from_text, receipt_text};
use crate::clock::Clock;
use crate::config::Pull;
use crate::listen::{Over, Share};
use crate::numbers::Numbers;
use crate::to_the_end::ToTheEnd;

/// Consumers that wait at a time, of all queues. Each holds a connection, of which senders need most.
const WAITING: usize = 4000;
/// Where answers that nobody reads have taken most of the memory, one may be as small as this.
const LEAST_BYTES: usize = 64 << 10;
/// An answer counts twice while it is made: as what is read, and as what is made of it.
pub(crate) const WHILE_MADE: usize = 2;
/// How long a consumer that does not wait for messages waits for such memory all the same: others take theirs for as long as
/// they read.
const PATIENCE_FOR_ROOM: Duration = Duration::from_secs(1);
/// Dead letters put back in one step.
const REDRIVEN: usize = 1000;

/// All queues of this process.
#[derive(Debug)]
pub(crate) struct Queues {
    journal: Arc<dyn Journal>,
    /// Outside of here every message's number is the one that its tenant sees, and its times are of the wall clock.
    numbers: Arc<Numbers>,
    clock: Arc<Clock>,
    lines: Mutex<HashMap<EndpointKey, Arc<Line>>>,
    waiting: Semaphore,
    /// Nobody waits any longer.
    stop: CancellationToken,
    /// Cancelled when the journal can't be relied on any more.
    broken: CancellationToken,
}

/// What a consumer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub limit: usize,
    /// Bytes of body, all messages together; one is answered whatever its size.
    pub bytes: usize,
    pub wait: Duration,
    /// How long the messages are hidden.
    pub hidden: Duration,
}

/// Why messages were not looked at.
#[derive(Debug)]
pub(crate) enum Refused {
    Journal(Error),
    /// There is no room to hold them for their consumer.
    NoRoom(Over),
}

/// Why a look came to nothing, and the room that it takes where there was too little.
#[derive(Debug)]
struct Short {
    refused: Refused,
    needed: usize,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Journal(error)
    }
}

impl From<Over> for Refused {
    fn from(over: Over) -> Self {
        Self::NoRoom(over)
    }
}

/// Messages that were received, with the receipts for them. Dropped before [`Batch::hand_over`], they are given back as
/// if nobody had received them, which nobody has.
#[derive(Debug)]
pub(crate) struct Batch {
    queues: Arc<Queues>,
    queue: EndpointKey,
    token: [u8; 16],
    messages: Vec<Message>,
}

impl Batch {
    /// Bytes of all bodies.
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.content.shaped.body.len()).sum()
    }

    /// The messages with their receipts.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Receipt, &Message)> {
        let token = self.token;
        self.messages.iter().map(move |message| (Receipt { number: message.number, token }, message))
    }

    /// Its consumer is there to take them, and has an answer with them.
    pub(crate) fn hand_over(mut self) {
        self.messages.clear();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let (queues, queue) = (Arc::clone(&self.queues), self.queue.clone());
        let verdict = Verdict::Return { now: self.queues.clock.now() };
        let receipt = |message: &Message| (Receipt { number: message.number, token: self.token }, verdict);
        let verdicts = self.messages.iter().map(receipt).collect();
        tokio::spawn(async move {
            if let Err(error) = queues.answer(&queue, verdicts).await {
                // They are visible again when their time is over.
                warn!(
                    target: "hookweir::queue",
                    %queue,
                    %error,
                    "failed to give messages back that their consumer did not wait for"
                );
            }
        });
    }
}

/// The message that an event becomes. `visible` is of the gateway's own time.
pub(crate) fn message(event: &Event, shaped: Shaped, visible: Timestamp) -> NewMessage {
    let content = Content {
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        source: event.source.clone(),
        subject: event.subject.clone(),
        time: event.time.clone(),
        shaped,
    };
    NewMessage { content, enqueued: Timestamp::now(), visible }
}

impl Queues {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        numbers: Arc<Numbers>,
        clock: Arc<Clock>,
        stop: CancellationToken,
        broken: CancellationToken,
    ) -> Arc<Self> {
        let (lines, waiting) = (Mutex::default(), Semaphore::new(WAITING));
        Arc::new(Self { journal, numbers, clock, lines, waiting, stop, broken })
    }

    fn line(&self, queue: &EndpointKey) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Line::new(Arc::clone(&self.clock)));
        Arc::clone(lines.entry(queue.clone()).or_insert_with(new))
    }

    /// The gateway's own time, by which messages are visible.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The machine has slept, and timers with it: those that count are reset.
    pub(crate) fn woken(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.values().for_each(Line::woken_late);
    }

    /// A moment of the gateway's own time as the wall clock shows it.
    pub(crate) fn wall(&self, time: Timestamp) -> Timestamp {
        self.clock.wall(time)
    }

    /// How many messages a queue holds, and when the oldest of them came.
    pub(crate) async fn stats(&self, queue: &EndpointKey) -> Result<(QueueStats, Option<Timestamp>), Error> {
        let stats = self.journal.queue_stats(queue, self.clock.now()).await?;
        Ok((stats, stats.oldest.map(|oldest| self.clock.came(oldest))))
    }

    /// A message has come into this queue.
    pub(crate) fn arrived(&self, queue: &EndpointKey) {
        self.line(queue).expect(self.clock.now());
    }

    /// How many consumers wait at a queue.
    pub(crate) fn waiting(&self, queue: &EndpointKey) -> usize {
        self.line(queue).waiting()
    }

    /// Receives messages, and waits for one if there is none. None at all are answered when the wait is over, the
    /// gateway stops, or too many wait already. `room`, which is empty, is made as large as the answer may take.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        queue: &EndpointKey,
        settings: &Pull,
        wanted: Wanted,
        room: &mut Share,
    ) -> Result<Option<Batch>, Refused> {
        let line = self.line(queue);
        let begun = Instant::now();
        let deadline = begun + wanted.wait;
        let patience = deadline.max(begun + PATIENCE_FOR_ROOM);
        loop {
            // In line before the look, so that what comes after the look is not missed.
            let woken = line.woken();
            tokio::pin!(woken);
            woken.as_mut().enable();
            match self.take_into(room, &line, queue, settings, wanted).await {
                Ok(batch) if batch.messages.is_empty() => {}
                Ok(batch) => return Ok(Some(batch)),
                Err(Short { refused, needed }) => {
                    room.shrink_to(0);
                    if matches!(refused, Refused::NoRoom(_)) && self.finds_room(room, needed, patience).await
                    {
                        continue;
                    }
                    // It may have been woken for a message that another can take.
                    line.expect(self.clock.now());
                    return Err(refused);
                }
            }
            room.shrink_to(0);
            let Ok(_place) = self.waiting.try_acquire() else { return Ok(None) };
            let Ok(_place_in_line) = line.place() else { return Ok(None) };
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(deadline) => return Ok(None),
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    /// Waits until others have read their answers, and takes what is needed of the memory that they had. Says false where
    /// that takes too long.
    async fn finds_room(&self, room: &mut Share, needed: usize, patience: Instant) -> bool {
        tokio::select! {
            () = room.wait(needed) => true,
            () = tokio::time::sleep_until(patience) => false,
            () = self.stop.cancelled() => false,
        }
    }

    /// Looks once, for no more than there is room for. What turns out to be larger goes back into its queue. Where `room` is
    /// not empty, it was waited for.
    async fn take_into(
        self: &Arc<Self>,
        room: &mut Share,
        line: &Arc<Line>,
        queue: &EndpointKey,
        settings: &Pull,
        wanted: Wanted,
    ) -> Result<Batch, Short> {
        let (waited, most) = (room.bytes(), WHILE_MADE * wanted.bytes);
        let least = if waited == 0 { WHILE_MADE * LEAST_BYTES } else { 0 };
        let short = |over| Short { refused: Refused::NoRoom(over), needed: least };
        room.take_part(least, most.saturating_sub(waited)).map_err(short)?;
        let bytes = (room.bytes() / WHILE_MADE).min(wanted.bytes);
        let batch = self.take(line, queue, settings, Wanted { bytes, ..wanted }).await;
        let batch = batch.map_err(|error| Short { refused: Refused::Journal(error), needed: 0 })?;
        let needed = WHILE_MADE * batch.bytes();
        let short = |over| Short { refused: Refused::NoRoom(over), needed };
        room.grow(needed.saturating_sub(room.bytes())).map_err(short)?;
        Ok(batch)
    }

    /// Looks once. It goes on if its caller does not: what it finds then is given back.
    async fn take(
        self: &Arc<Self>,
        line: &Arc<Line>,
        queue: &EndpointKey,
        settings: &Pull,
        wanted: Wanted,
    ) -> Result<Batch, Error> {
        let mut token = [0; 16];
        getrandom::fill(&mut token)
            .map_err(|error| Error::Failed(format!("the system gives no random bytes: {error}")))?;
        let now = self.clock.now();
        let ask = Receive {
            queue: queue.clone(),
            now,
            until: now.after(wanted.hidden),
            limit: wanted.limit,
            bytes: wanted.bytes,
            max_receives: settings.max_receives,
            token,
        };
        let (queues, line, queue) = (Arc::clone(self), Arc::clone(line), queue.clone());
        let look = tokio::spawn(async move {
            let received = queues.checked(queues.journal.receive(ask).await)?;
            let Received { mut messages, next } = received;
            queues.hide(&queue, &mut messages);
            // Whoever looks sees to the next one, so that one message wakes one consumer and not all.
            if let Some(next) = next {
                line.expect(next);
            }
            Ok(Batch { queues, queue, token, messages })
        });
        look.await.unwrap_or_else(|error| Err(Error::Failed(format!("a receive was broken off: {error}"))))
    }

    /// Looks at messages, within the bytes that there is room for, and changes nothing. `room`, which is empty, is made as
    /// large as the answer may take.
    pub(crate) async fn look(
        &self,
        queue: &EndpointKey,
        look: Look,
        wanted: (usize, usize),
        room: &mut Share,
    ) -> Result<Looked, Refused> {
        let hidden = self.numbers.of(&queue.tenant);
        let look = match look {
            // Before the first there is none.
            Look::Dead { after } if after > 0 => Look::Dead { after: hidden.reveal(after) },
            look => look,
        };
        let (limit, bytes) = wanted;
        let bytes = room.take(WHILE_MADE * LEAST_BYTES, WHILE_MADE * bytes)? / WHILE_MADE;
        let mut looked = self.journal.messages(queue, look, limit, bytes).await?;
        // One message is answered whatever its size, as far as there is room for it.
        let size: usize = looked.messages.iter().map(|message| message.content.shaped.body.len()).sum();
        room.grow((WHILE_MADE * size).saturating_sub(room.bytes()))?;
        self.hide(queue, &mut looked.messages);
        looked.next = looked.next.map(|number| hidden.hide(number));
        Ok(looked)
    }

    fn hide(&self, queue: &EndpointKey, messages: &mut [Message]) {
        let hidden = self.numbers.of(&queue.tenant);
        for message in messages {
            message.number = hidden.hide(message.number);
            message.visible = self.clock.wall(message.visible);
            message.first_received = message.first_received.map(|time| self.clock.wall(time));
        }
    }

    /// Answers for received messages. It goes to its end if its caller does not wait.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        queue: &EndpointKey,
        verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<Vec<Answered>, Error> {
        let (queues, queue) = (Arc::clone(self), queue.clone());
        ToTheEnd::new(async move { queues.answer_here(&queue, verdicts).await }).await
    }

    async fn answer_here(
        &self,
        queue: &EndpointKey,
        mut verdicts: Vec<(Receipt, Verdict)>,
    ) -> Result<Vec<Answered>, Error> {
        let hidden = self.numbers.of(&queue.tenant);
        verdicts.iter_mut().for_each(|(receipt, _)| receipt.number = hidden.reveal(receipt.number));
        let visible: Vec<Option<Timestamp>> = verdicts
            .iter()
            .map(|(_, verdict)| match verdict {
                Verdict::Ack => None,
                Verdict::Nack { visible: at, .. }
                | Verdict::Extend { until: at }
                | Verdict::Return { now: at } => Some(*at),
            })
            .collect();
        let answered = self.checked(self.journal.answer(queue, verdicts).await)?;
        let line = self.line(queue);
        for (visible, answered) in visible.into_iter().zip(&answered) {
            if let (Some(visible), Answered::Done) = (visible, answered) {
                line.expect(visible);
            }
        }
        Ok(answered)
    }

    /// Puts messages into a queue from outside; answers their numbers. It goes to its end if its caller does not wait.
    pub(crate) async fn put(
        self: &Arc<Self>,
        queue: &EndpointKey,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<u64>, Error> {
        let (queues, queue) = (Arc::clone(self), queue.clone());
        ToTheEnd::new(async move {
            let visible: Vec<Timestamp> = messages.iter().map(|message| message.visible).collect();
            let numbers = queues.checked(queues.journal.enqueue(&queue, messages).await)?;
            let line = queues.line(&queue);
            visible.into_iter().for_each(|visible| line.expect(visible));
            let hidden = queues.numbers.of(&queue.tenant);
            Ok(numbers.into_iter().map(|number| hidden.hide(number)).collect())
        })
        .await
    }

    /// Puts dead letters back: these, or all that there are now. It goes to its end if its caller does not wait.
    pub(crate) async fn redrive(
        self: &Arc<Self>,
        queue: &EndpointKey,
        numbers: Option<Vec<u64>>,
    ) -> Result<u64, Error> {
        let (queues, queue) = (Arc::clone(self), queue.clone());
        ToTheEnd::new(async move { queues.redrive_here(&queue, numbers).await }).await
    }

    async fn redrive_here(&self, queue: &EndpointKey, numbers: Option<Vec<u64>>) -> Result<u64, Error> {
        let mut redriven = 0;
        let done = self.redrive_counting(queue, numbers, &mut redriven).await;
        if redriven > 0 {
            // Also where a later part failed: those before it are in the queue.
            self.arrived(queue);
        }
        done.map(|()| redriven)
    }

    async fn redrive_counting(
        &self,
        queue: &EndpointKey,
        numbers: Option<Vec<u64>>,
        redriven: &mut u64,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let step = |which| async move { self.checked(self.journal.redrive(queue, which, now).await) };
        match numbers {
            Some(numbers) => {
                let hidden = self.numbers.of(&queue.tenant);
                let numbers = numbers.into_iter().map(|number| hidden.reveal(number)).collect();
                *redriven = step(Redrive::Numbers(numbers)).await?;
            }
            None => loop {
                let again = step(Redrive::Oldest(REDRIVEN)).await?;
                *redriven += again;
                if again < REDRIVEN as u64 || self.stop.is_cancelled() {
                    break;
                }
            },
        }
        Ok(())
    }

    fn checked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            if matches!(error, Error::Unknown(_)) {
                self.broken.cancel();
            }
        })
    }
}
