//! Recording attempts and next states.

use hookweir_model::{Attempt, Epoch, Outcome, PluginCall, Status};

use rusqlite::OptionalExtension as _;

use super::statements::Statements;
use super::tally::Tally;
use super::{message, seq_to_sql};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::message::MessageRecord;
use crate::engines::embedded::record::ShapedRecord;
use crate::{Error, Next, Settled, Settlement};

/// How much text of an attempt a delivery's row may hold: lists read these rows.
const TEXT_OF_A_DELIVERY: usize = 512;

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
    /// Of the plugins that ran without an attempt, as JSON; `None` where none did.
    calls: Option<String>,
    /// What goes into the lane's queue with it.
    message: Option<MessageRecord>,
}

#[derive(Debug)]
struct AttemptRecord {
    attempt: Attempt,
    /// JSON; `None` where none ran.
    plugins: Option<String>,
    /// JSON.
    exchange: Option<String>,
}

impl SettleRecord {
    pub(in crate::engines::embedded) fn new(
        lane: Option<i64>,
        settlement: Settlement,
    ) -> Result<Self, Error> {
        let Settlement { endpoint: _, seq, epoch, attempt, next, made } = settlement;
        let mut queued = None;
        let (status, due, reason) = match next {
            Next::Final { status, reason } => (status, 0, reason),
            Next::Queued(message) => {
                queued = Some(MessageRecord::new(*message));
                (Status::Delivered, 0, None)
            }
            // 0 stands for "at once".
            Next::RetryAt { due, reason } => (Status::Pending, due.as_millis().max(1), reason),
        };
        Ok(Self {
            lane,
            seq: seq_to_sql(seq),
            epoch,
            attempt: attempt.map(AttemptRecord::new).transpose()?,
            status,
            due,
            reason,
            shaped: made.shaped.map(ShapedRecord::new),
            calls: calls_text(&made.calls)?,
            message: queued,
        })
    }

    pub(super) fn size(&self) -> usize {
        let body = self.shaped.as_ref().map_or(0, |record| record.shaped.body.len());
        let attempt = self.attempt.as_ref().map_or(0, AttemptRecord::text_size);
        let message = self.message.as_ref().map_or(0, MessageRecord::size);
        256 + body + message + attempt
    }
}

impl SettleRecord {
    /// Makes the row of a delivery that was never tried before, with its attempt if that has room there; says whether
    /// it had.
    fn insert(&self, statements: &mut Statements<'_>, lane: i64, size: i64) -> Result<bool, Fault> {
        let Self { seq, status, due, reason, .. } = self;
        let attempts = self.attempt.as_ref().map_or(0, |record| record.attempt.number);
        let within = self.attempt.as_ref().filter(|record| record.fits_the_delivery());
        let [started, duration] = within.map_or([None, None], |record| record.times().map(Some));
        statements.insert_delivery.execute(rusqlite::params![
            lane,
            seq,
            size,
            status.code(),
            due,
            attempts,
            reason,
            started,
            duration,
            within.and_then(AttemptRecord::answer),
            within.and_then(AttemptRecord::body),
            within.and_then(|record| record.plugins.as_deref()),
            self.calls,
        ])?;
        Ok(within.is_some())
    }

    /// Changes the row of a delivery that is pending and has not had this attempt; says whether there was one.
    fn update(&self, statements: &mut Statements<'_>, lane: i64) -> Result<bool, Fault> {
        let Self { seq, status, due, reason, calls, .. } = self;
        let changed = match &self.attempt {
            Some(AttemptRecord { attempt, .. }) => {
                statements.settle_attempt.execute((lane, seq, status.code(), due, attempt.number, reason))?
            }
            None => statements.settle_without.execute((lane, seq, status.code(), due, reason, calls))?,
        };
        Ok(changed > 0)
    }
}

impl AttemptRecord {
    fn new(attempt: Attempt) -> Result<Self, Error> {
        let plugins = calls_text(&attempt.plugins)?;
        let exchange = attempt.exchange.as_ref().map(json).transpose()?;
        Ok(Self { attempt, plugins, exchange })
    }

    /// Whether it may lie in its delivery's row: a first attempt that delivered, as most do, with little to say.
    fn fits_the_delivery(&self) -> bool {
        let Attempt { number, outcome, reason, .. } = &self.attempt;
        let is_short = self.exchange.is_none() && self.text_size() <= TEXT_OF_A_DELIVERY;
        *number == 1 && *outcome == Outcome::Delivered && reason.is_none() && is_short
    }

    fn text_size(&self) -> usize {
        let texts = [self.body(), self.plugins.as_deref(), self.exchange.as_deref()];
        texts.into_iter().flatten().map(str::len).sum()
    }

    fn insert(&self, statements: &mut Statements<'_>, lane: i64, seq: i64) -> Result<(), Fault> {
        let [started, duration] = self.times();
        statements.insert_attempt.execute(rusqlite::params![
            lane,
            seq,
            self.attempt.number,
            started,
            duration,
            outcome_code(self.attempt.outcome),
            self.attempt.reason,
            self.answer(),
            self.body(),
            self.plugins,
            self.exchange,
        ])?;
        Ok(())
    }

    /// When it began, and how long it took.
    fn times(&self) -> [i64; 2] {
        let duration = i64::try_from(self.attempt.duration_ms).unwrap_or(i64::MAX);
        [self.attempt.started.as_millis(), duration]
    }

    /// The answer's status.
    fn answer(&self) -> Option<u16> {
        self.attempt.answer.as_ref().and_then(|answer| answer.status)
    }

    fn body(&self) -> Option<&str> {
        self.attempt.answer.as_ref().map(|answer| answer.body.as_str()).filter(|body| !body.is_empty())
    }
}

fn calls_text(calls: &[PluginCall]) -> Result<Option<String>, Error> {
    if calls.is_empty() { Ok(None) } else { json(&calls).map(Some) }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Failed(error.to_string()))
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
    let SettleRecord { seq, status, .. } = record;
    let attempt = record.attempt.as_ref();
    let fresh: Option<i64> = statements.size_of_fresh.query_row((lane, seq), |row| row.get(0)).optional()?;
    let (size, has_row) = if let Some(size) = fresh {
        statements.drop_fresh.execute((lane, seq))?;
        (size, record.insert(statements, lane, size)?)
    } else if record.update(statements, lane)? {
        (statements.size_of_delivery.query_row((lane, seq), |row| row.get(0))?, false)
    } else {
        return Ok(Settled::Repeated);
    };
    if let Some(attempt) = attempt.filter(|_| !has_row) {
        attempt.insert(statements, lane, *seq)?;
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
    tally.remove(lane, Status::Pending, size);
    tally.add(lane, *status, size);
    if *status != Status::Pending {
        tally.ended(*seq);
    }
    Ok(Settled::Applied)
}

/// Ends a delivery that can't be made, since what is stored for it is damaged.
pub(super) fn quarantine(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    present: Epoch,
    (lane, seq): (i64, i64),
    reason: &str,
) -> Result<(), Fault> {
    let record = SettleRecord {
        lane: Some(lane),
        seq,
        epoch: present,
        attempt: None,
        status: Status::Failed,
        due: 0,
        reason: Some(reason.to_owned()),
        shaped: None,
        calls: None,
        message: None,
    };
    settle(statements, tally, present, &record)?;
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
