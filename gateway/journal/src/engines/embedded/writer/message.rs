//! Queues: putting messages in, handing them out, and what consumers say of them.
//!
//! Only the rows that change are touched here. What a message says is written once and read back by the side that
//! reads, so that a large body does not hold up the writer.

use hookweir_model::Timestamp;
use rusqlite::OptionalExtension as _;

use super::clock;
use super::op::Job;
use super::statements::Statements;
use super::tally::Tally;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::message::MessageRecord;
use crate::{Answered, Error, Old, Receipt, Redrive, Verdict};

/// How many messages one [`Take`] makes dead letters at most: then it answers with what it has.
const BURIED: usize = 1000;

const WAITING: u8 = 0;
const HELD: u8 = 1;
const DEAD: u8 = 2;

type Verdicts = Vec<(Receipt, Verdict)>;

/// An operation on the queue that is a lane.
#[derive(Debug)]
pub(in crate::engines::embedded) enum MessageOp {
    Put(Job<(i64, Vec<MessageRecord>), Vec<u64>>),
    Take(Job<Take, Taken>),
    Answer(Job<(i64, Verdicts), Vec<Answered>>),
    Redrive(Job<(i64, Redrive, Timestamp), u64>),
    Expire(Job<(i64, Old, usize), u64>),
    /// Makes a dead letter of a message whose stored bytes are damaged.
    Bury(Job<(i64, u64), ()>),
}

/// See [`Receive`](crate::Receive).
#[derive(Debug)]
pub(in crate::engines::embedded) struct Take {
    pub(in crate::engines::embedded) lane: i64,
    pub(in crate::engines::embedded) now: Timestamp,
    pub(in crate::engines::embedded) until: Timestamp,
    pub(in crate::engines::embedded) limit: usize,
    pub(in crate::engines::embedded) bytes: usize,
    pub(in crate::engines::embedded) max_receives: Option<u32>,
    pub(in crate::engines::embedded) token: [u8; 16],
}

#[derive(Debug)]
pub(in crate::engines::embedded) struct Taken {
    pub(in crate::engines::embedded) numbers: Vec<u64>,
    pub(in crate::engines::embedded) next: Option<Timestamp>,
}

impl MessageOp {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Put(job) => job.input.1.len(),
            Self::Take(job) => job.input.limit,
            Self::Answer(job) => job.input.1.len(),
            Self::Expire(job) => job.input.2,
            Self::Redrive(_) | Self::Bury(_) => 1,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put(job) => job.input.1.iter().map(MessageRecord::size).sum(),
            _ => 256 * self.weight(),
        }
    }

    /// What adds to the disk is refused first. What takes from it goes on as long as it can.
    pub(super) fn may_be_refused(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    /// Whether it may leave room behind.
    pub(super) fn removes(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Expire(_))
    }

    pub(super) fn finish(self) {
        match self {
            Self::Put(job) => job.finish(),
            Self::Take(job) => job.finish(),
            Self::Answer(job) => job.finish(),
            Self::Redrive(job) => job.finish(),
            Self::Expire(job) => job.finish(),
            Self::Bury(job) => job.finish(),
        }
    }

    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Put(job) => job.fail(error),
            Self::Take(job) => job.fail(error),
            Self::Answer(job) => job.fail(error),
            Self::Redrive(job) => job.fail(error),
            Self::Expire(job) => job.fail(error),
            Self::Bury(job) => job.fail(error),
        }
    }

    pub(super) fn apply(&mut self, statements: &mut Statements<'_>, tally: &mut Tally) -> Result<(), Fault> {
        match self {
            Self::Put(job) => {
                let (lane, messages) = &job.input;
                let put = messages.iter().map(|message| put(statements, tally, *lane, message));
                job.outcome = Some(Ok(put.collect::<Result<_, _>>()?));
            }
            Self::Take(job) => job.outcome = Some(Ok(take(statements, tally, &job.input)?)),
            Self::Answer(job) => {
                let (lane, verdicts) = &job.input;
                let answered = verdicts
                    .iter()
                    .map(|(receipt, verdict)| answer(statements, tally, *lane, receipt, *verdict));
                job.outcome = Some(Ok(answered.collect::<Result<_, _>>()?));
            }
            Self::Redrive(job) => {
                let (lane, which, now) = &job.input;
                job.outcome = Some(Ok(redrive(statements, tally, *lane, which, *now)?));
            }
            Self::Expire(job) => {
                let (lane, old, budget) = job.input;
                job.outcome = Some(Ok(expire(statements, tally, lane, old, budget)?));
            }
            Self::Bury(job) => {
                let (lane, number) = job.input;
                bury(statements, tally, lane, sql(number))?;
                job.outcome = Some(Ok(()));
            }
        }
        Ok(())
    }
}

/// A number as SQLite keeps it; numbers beyond its range were never given.
fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Puts one message into a queue.
pub(super) fn put(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    record: &MessageRecord,
) -> Result<u64, Fault> {
    let content = &record.new.content;
    let number = statements.put_content.insert(rusqlite::params![
        record.crc,
        content.id.as_str(),
        content.event_type.as_str(),
        content.source,
        content.subject,
        content.time,
        content.shaped.content_type,
        record.headers,
        &content.shaped.body[..],
    ])?;
    let size = i64::try_from(content.shaped.body.len()).unwrap_or(i64::MAX);
    let (visible, enqueued) = (record.new.visible.as_millis(), record.new.enqueued.as_millis());
    statements.put_message.execute((lane, number, WAITING, visible, enqueued, size))?;
    tally.messages(lane, 1, 0);
    Ok(number.unsigned_abs())
}

struct Candidate {
    number: i64,
    receives: u32,
    size: usize,
}

fn take(statements: &mut Statements<'_>, tally: &mut Tally, ask: &Take) -> Result<Taken, Fault> {
    let Take { lane, now, until, limit, bytes, max_receives, token } = ask;
    let (mut numbers, mut taken_bytes, mut buried) = (Vec::new(), 0_usize, 0);
    'parts: while numbers.len() < *limit && buried < BURIED {
        let wanted = i64::try_from(limit - numbers.len()).unwrap_or(i64::MAX);
        // Read first, changed afterwards: the changes move rows about in the index that is read.
        let candidates = statements.visible.query_map((lane, now.as_millis(), wanted), |row| {
            let size: i64 = row.get(2)?;
            Ok(Candidate {
                number: row.get(0)?,
                receives: row.get(1)?,
                size: usize::try_from(size).unwrap_or(0),
            })
        })?;
        let candidates: Vec<Candidate> = candidates.collect::<Result<_, _>>()?;
        if candidates.is_empty() {
            break;
        }
        for Candidate { number, receives, size } in candidates {
            if max_receives.is_some_and(|max| receives >= max) {
                bury(statements, tally, *lane, number)?;
                buried += 1;
                continue;
            }
            taken_bytes = taken_bytes.saturating_add(size);
            if taken_bytes > *bytes && !numbers.is_empty() {
                break 'parts;
            }
            let until = until.as_millis().max(now.as_millis().saturating_add(1));
            statements.take_message.execute((lane, number, HELD, until, now.as_millis(), token))?;
            numbers.push(number.unsigned_abs());
        }
    }
    let next: Option<i64> = statements.next_visible.query_row((lane,), |row| row.get(0)).optional()?;
    Ok(Taken { numbers, next: next.map(Timestamp::from_millis) })
}

fn bury(statements: &mut Statements<'_>, tally: &mut Tally, lane: i64, number: i64) -> Result<(), Fault> {
    if statements.bury_message.execute((lane, number, DEAD))? > 0 {
        tally.messages(lane, -1, 1);
    }
    Ok(())
}

fn answer(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    receipt: &Receipt,
    verdict: Verdict,
) -> Result<Answered, Fault> {
    let number = sql(receipt.number);
    let found = statements.held_message.query_row((lane, number), |row| {
        Ok((row.get::<_, u8>(0)?, row.get::<_, Option<[u8; 16]>>(1)?, row.get::<_, u32>(2)?))
    });
    let Some((state, token, receives)) = found.optional()? else { return Ok(Answered::Gone) };
    // Each guess takes a turn of this thread, beside which the time of the comparison does not show.
    if state != HELD || token != Some(receipt.token) {
        return Ok(Answered::Stale);
    }
    match verdict {
        Verdict::Ack => {
            remove(statements, lane, number)?;
            tally.messages(lane, -1, 0);
        }
        Verdict::Nack { max_receives: Some(max), .. } if receives >= max => {
            bury(statements, tally, lane, number)?;
            return Ok(Answered::Dead);
        }
        Verdict::Nack { visible, .. } => {
            statements.give_back.execute((lane, number, WAITING, visible.as_millis(), 0))?;
        }
        Verdict::Return { now } => {
            statements.give_back.execute((lane, number, WAITING, now.as_millis(), 1))?;
        }
        Verdict::Extend { until } => {
            statements.extend_message.execute((lane, number, until.as_millis()))?;
        }
    }
    Ok(Answered::Done)
}

fn remove(statements: &mut Statements<'_>, lane: i64, number: i64) -> Result<(), Fault> {
    statements.drop_message.execute((lane, number))?;
    statements.drop_content.execute((number,))?;
    Ok(())
}

fn redrive(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    which: &Redrive,
    now: Timestamp,
) -> Result<u64, Fault> {
    let numbers: Vec<i64> = match which {
        Redrive::Oldest(limit) => {
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            statements.oldest_dead.query_map((lane, limit), |row| row.get(0))?.collect::<Result<_, _>>()?
        }
        Redrive::Numbers(numbers) => numbers.iter().map(|number| sql(*number)).collect(),
    };
    let mut again = 0;
    for number in numbers {
        if statements.revive.execute((lane, number, WAITING, now.as_millis()))? > 0 {
            tally.messages(lane, 1, -1);
            again += 1;
        }
    }
    Ok(again)
}

fn expire(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    old: Old,
    budget: usize,
) -> Result<u64, Fault> {
    let last = clock::last_message(statements, old)?;
    let budget = i64::try_from(budget).unwrap_or(i64::MAX);
    let oldest = statements
        .oldest_messages
        .query_map((lane, budget), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u8>(1)?)))?;
    let oldest: Vec<(i64, u8)> = oldest.collect::<Result<_, _>>()?;
    let mut removed = 0;
    for (number, state) in oldest.into_iter().take_while(|(number, _)| *number <= last) {
        remove(statements, lane, number)?;
        let (alive, dead) = if state == DEAD { (0, -1) } else { (-1, 0) };
        tally.messages(lane, alive, dead);
        removed += 1;
    }
    Ok(removed)
}
