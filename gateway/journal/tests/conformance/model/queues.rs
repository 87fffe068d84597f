//! Random operations on queues. Messages have numbers of each journal's own: they are told apart by the order in which
//! they were received.

use std::sync::Arc;

use fastrand::Rng;
use hookweir_journal::{
    Answered, Journal, Look, Message, NewMessage, Old, QueueStats, Receipt, Receive, Redrive, Verdict,
};
use hookweir_model::{EndpointKey, Timestamp};

use super::{Answer, SPAN, lane, maybe, moment, name, old};
use crate::cases::queues::message;
use crate::sample::{NOON, at};

/// An operation. Receipts are named by how many were given since.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(EndpointKey, Vec<NewMessage>),
    Receive(Receive),
    Answer(EndpointKey, Vec<(usize, Verdict)>),
    Look(EndpointKey, Look, usize),
    Stats(EndpointKey, Timestamp),
    Redrive(EndpointKey, Result<usize, Vec<usize>>, Timestamp),
    Expire(EndpointKey, Old, usize),
    Queues,
}

#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Count(u64),
    Messages(Vec<Message>, Option<Timestamp>),
    Answered(Vec<Answered>),
    Stats(QueueStats),
    Queues(Vec<EndpointKey>),
}

pub(super) fn new_message(rng: &mut Rng) -> NewMessage {
    let body = "x".repeat(rng.usize(..20));
    let mut new = message(&name(rng), &body);
    new.enqueued = at(NOON + rng.i64(0..SPAN) / 4);
    new.visible = at(NOON + rng.i64(0..SPAN) / 4);
    new
}

pub(super) fn draw(rng: &mut Rng, number: u64) -> Step {
    let queue = lane(rng);
    match rng.u32(..20) {
        0..5 => Step::Put(queue, (0..rng.usize(1..4)).map(|_| new_message(rng)).collect()),
        5..11 => {
            let now = moment(rng);
            Step::Receive(Receive {
                queue,
                now,
                until: at(now.as_millis() + rng.i64(0..SPAN / 8)),
                limit: rng.usize(..4),
                bytes: rng.usize(..60),
                max_receives: maybe(rng, |rng| rng.u32(1..4)),
                token: [rng.u8(..); 16],
            })
        }
        11..15 => {
            Step::Answer(queue, (0..rng.usize(1..4)).map(|_| (rng.usize(..30), verdict(rng))).collect())
        }
        15 => {
            let look = match rng.bool() {
                true => Look::Visible { now: moment(rng) },
                false => Look::Dead { after: 0 },
            };
            Step::Look(queue, look, rng.usize(..9))
        }
        16 => Step::Stats(queue, moment(rng)),
        17 => {
            let which = match rng.bool() {
                true => Ok(rng.usize(..4)),
                false => Err((0..rng.usize(..4)).map(|_| rng.usize(..30)).collect()),
            };
            Step::Redrive(queue, which, moment(rng))
        }
        18 => Step::Expire(queue, old(rng, number), rng.usize(..4)),
        _ => Step::Queues,
    }
}

fn verdict(rng: &mut Rng) -> Verdict {
    match rng.u32(..8) {
        0..4 => Verdict::Ack,
        4..6 => Verdict::Nack { visible: moment(rng), max_receives: maybe(rng, |rng| rng.u32(1..3)) },
        6 => Verdict::Extend { until: moment(rng) },
        _ => Verdict::Return { now: moment(rng) },
    }
}

/// Receipts in the order in which a side gave them, with the queue of each.
pub(super) type Receipts = Vec<(EndpointKey, Receipt)>;

fn receipt(receipts: &Receipts, since: usize) -> (Option<EndpointKey>, Receipt) {
    match receipts.len().checked_sub(since + 1).and_then(|place| receipts.get(place)) {
        Some((queue, receipt)) => (Some(queue.clone()), *receipt),
        None => (None, Receipt { number: u64::MAX, token: [0; 16] }),
    }
}

pub(super) async fn run(journal: &Arc<dyn Journal>, receipts: &mut Receipts, step: Step) -> Answer {
    let unnumbered = |messages: Vec<Message>| -> Vec<Message> {
        messages.into_iter().map(|message| Message { number: 0, ..message }).collect()
    };
    let said = match step {
        Step::Put(queue, messages) => {
            Said::Count(journal.enqueue(&queue, messages).await.unwrap().len() as u64)
        }
        Step::Receive(ask) => {
            let (queue, token) = (ask.queue.clone(), ask.token);
            let received = journal.receive(ask).await.unwrap();
            for message in &received.messages {
                receipts.push((queue.clone(), Receipt { number: message.number, token }));
            }
            Said::Messages(unnumbered(received.messages), received.next)
        }
        Step::Answer(queue, verdicts) => {
            // Mostly in the queue that the first of them is from.
            let first = verdicts.first().and_then(|(since, _)| receipt(receipts, *since).0);
            let verdicts = verdicts.into_iter().map(|(since, verdict)| (receipt(receipts, since).1, verdict));
            Said::Answered(journal.answer(&first.unwrap_or(queue), verdicts.collect()).await.unwrap())
        }
        Step::Look(queue, look, limit) => Said::Messages(
            unnumbered(journal.messages(&queue, look, limit, usize::MAX).await.unwrap().messages),
            None,
        ),
        Step::Stats(queue, now) => Said::Stats(journal.queue_stats(&queue, now).await.unwrap()),
        Step::Redrive(queue, which, now) => {
            let which = match which {
                Ok(limit) => Redrive::Oldest(limit),
                Err(places) => Redrive::Numbers(
                    places.into_iter().map(|since| receipt(receipts, since).1.number).collect(),
                ),
            };
            Said::Count(journal.redrive(&queue, which, now).await.unwrap())
        }
        Step::Expire(queue, old, budget) => {
            Said::Count(journal.expire_messages(&queue, old, budget).await.unwrap())
        }
        Step::Queues => Said::Queues(journal.queues().await.unwrap()),
    };
    Answer::Queue(said)
}
