//! Recording attempts and next states.

use hookweir_model::{Attempt, Epoch, Outcome, Status};

use super::statements::Statements;
use super::tally::Tally;
use super::{message, seq_to_sql};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::message::MessageRecord;
use crate::engines::embedded::record::ShapedRecord;
use crate::{Error, Next, Settled, Settlement};

/// A settlement that is ready to be bound.
#[derive(Debug)]
pub(in crate::engines::embedded) struct SettleRecord {
    /// `None` where the journal has never heard of the endpoint.
    lane: Option<i64>,
    seq: i64,
    epoch: Epoch,
    attempt: Option<AttemptRecord>,
    status: Status,
    /// Of a pending delivery, else 0.
    due: i64,
    reason: Option<String>,
    shaped: Option<ShapedRecord>,
    /// What goes into the lane's queue with it.
    message: Option<MessageRecord>,
}

#[derive(Debug)]
struct AttemptRecord {
    attempt: Attempt,
    /// JSON; `None` where none ran.
    plugins: Option<String>,
}

impl SettleRecord {
    pub(in crate::engines::embedded) fn new(
        lane: Option<i64>,
        settlement: Settlement,
    ) -> Result<Self, Error> {
        let Settlement { endpoint: _, seq, epoch, attempt, next } = settlement;
        let mut queued = None;
        let (status, due, reason, shaped) = match next {
            Next::Final { status, reason } => (status, 0, reason, None),
            Next::Queued(message) => {
                queued = Some(MessageRecord::new(*message));
                (Status::Delivered, 0, None, None)
            }
            // 0 stands for "at once".
            Next::RetryAt { due, shaped, reason } => {
                (Status::Pending, due.as_millis().max(1), reason, shaped)
            }
        };
        Ok(Self {
            lane,
            seq: seq_to_sql(seq),
            epoch,
            attempt: attempt.map(AttemptRecord::new).transpose()?,
            status,
            due,
            reason,
            shaped: shaped.map(ShapedRecord::new),
            message: queued,
        })
    }

    pub(super) fn size(&self) -> usize {
        let body = self.shaped.as_ref().map_or(0, |record| record.shaped.body.len());
        let answer = self.attempt.as_ref().and_then(|record| record.attempt.answer.as_ref());
        let message = self.message.as_ref().map_or(0, MessageRecord::size);
        256 + body + message + answer.map_or(0, |answer| answer.body.len())
    }
}

impl AttemptRecord {
    fn new(attempt: Attempt) -> Result<Self, Error> {
        let plugins = match attempt.plugins.as_slice() {
            [] => None,
            calls => Some(serde_json::to_string(calls).map_err(|error| Error::Failed(error.to_string()))?),
        };
        Ok(Self { attempt, plugins })
    }
}

/// Settles one delivery under the present `epoch`.
pub(super) fn settle(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    present: Epoch,
    record: &SettleRecord,
) -> Result<Settled, Fault> {
    if record.epoch != present {
        return Ok(Settled::Stale);
    }
    let Some(lane) = record.lane else { return Ok(Settled::Repeated) };
    let SettleRecord { seq, status, due, reason, .. } = record;
    let changed = match &record.attempt {
        Some(AttemptRecord { attempt, .. }) => {
            statements.settle_attempt.execute((lane, seq, status.code(), due, attempt.number, reason))?
        }
        None => statements.settle_without.execute((lane, seq, status.code(), due, reason))?,
    };
    if changed == 0 {
        return Ok(Settled::Repeated);
    }
    if let Some(AttemptRecord { attempt, plugins }) = &record.attempt {
        statements.insert_attempt.execute(rusqlite::params![
            lane,
            seq,
            attempt.number,
            attempt.started.as_millis(),
            i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX),
            outcome_code(attempt.outcome),
            attempt.reason,
            attempt.answer.as_ref().and_then(|answer| answer.status),
            attempt.answer.as_ref().map(|answer| answer.body.as_str()).filter(|body| !body.is_empty()),
            plugins,
        ])?;
    }
    if let Some(ShapedRecord { shaped, headers, crc }) = &record.shaped {
        statements.keep_shaped.execute(rusqlite::params![
            lane,
            seq,
            shaped.content_type,
            headers,
            crc,
            &shaped.body[..]
        ])?;
    }
    if let Some(message) = &record.message {
        message::put(statements, tally, lane, message)?;
    }
    // What a first attempt sent was never kept: there was no failure before it.
    let is_first = record.attempt.as_ref().is_some_and(|record| record.attempt.number == 1);
    if *status == Status::Delivered && !is_first {
        statements.drop_shaped.execute((lane, seq))?;
    }
    tally.remove(lane, Status::Pending);
    tally.add(lane, *status);
    Ok(Settled::Applied)
}

/// Ends a delivery that can't be made, since what is stored for it is damaged.
pub(super) fn quarantine(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    seq: i64,
    reason: &str,
) -> Result<(), Fault> {
    let failed = Status::Failed;
    if statements.settle_without.execute((lane, seq, failed.code(), 0, reason))? > 0 {
        tally.remove(lane, Status::Pending);
        tally.add(lane, failed);
    }
    Ok(())
}

/// The number that stands for an outcome in the journal. Never reuse one.
const fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::Retry => 1,
        Outcome::Rejected => 2,
        Outcome::Blocked => 3,
        Outcome::Unknown => 4,
    }
}

pub(in crate::engines::embedded) fn outcome_from_code(code: u8) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|outcome| outcome_code(*outcome) == code)
}
