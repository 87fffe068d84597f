//! Recording attempts and next states.

use hookweir_model::{Attempt, Epoch, Outcome, PluginCall, Status};

use rusqlite::OptionalExtension as _;

use super::statements::Statements;
use super::tally::Tally;
use super::{message, seq_to_sql};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::message::MessageRecord;
use crate::engines::embedded::record::{self, DeliveryNumbers, ShapedRecord};
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
        let (status, due) = (status.code(), *due);
        let numbers = DeliveryNumbers { seq: *seq, lane, size, status, due, attempts, base: 0 };
        statements.insert_delivery.execute(rusqlite::params![
            lane,
            seq,
            size,
            status,
            due,
            attempts,
            reason,
            started,
            duration,
            within.and_then(AttemptRecord::answer),
            within.and_then(AttemptRecord::body),
            within.and_then(|record| record.plugins.as_deref()),
            self.calls,
            numbers.crc(),
        ])?;
        Ok(within.is_some())
    }

    /// Whether it changes a delivery that stands so: one that is pending and has not had this attempt.
    fn changes(&self, present: &DeliveryNumbers) -> bool {
        let is_new = |record: &AttemptRecord| present.attempts < record.attempt.number;
        present.status == Status::Pending.code() && self.attempt.as_ref().is_none_or(is_new)
    }

    fn update(&self, statements: &mut Statements<'_>, present: &DeliveryNumbers) -> Result<(), Fault> {
        let attempts = self.attempt.as_ref().map_or(present.attempts, |record| record.attempt.number);
        let next = DeliveryNumbers { status: self.status.code(), due: self.due, attempts, ..*present };
        let DeliveryNumbers { seq, lane, status, due, .. } = next;
        // The plugins of an attempt are its own.
        let calls = if self.attempt.is_some() { &None } else { &self.calls };
        statements.settle_delivery.execute((
            lane,
            seq,
            status,
            due,
            attempts,
            &self.reason,
            calls,
            next.crc(),
        ))?;
        Ok(())
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
    let seq = record.seq;
    let has_row = match stands(statements, lane, seq)? {
        Stands::Fresh(size) => {
            statements.drop_fresh.execute((lane, seq))?;
            tally.remove(lane, Status::Pending, size);
            tally.add(lane, record.status, size);
            record.insert(statements, lane, size)?
        }
        Stands::Tried(numbers) if record.changes(&numbers) => {
            record.update(statements, &numbers)?;
            tally.remove(lane, Status::Pending, numbers.size);
            tally.add(lane, record.status, numbers.size);
            false
        }
        Stands::Tried(_) => return Ok(Settled::Repeated),
        Stands::Damaged => {
            statements.delete_delivery.execute((lane, seq))?;
            put_back(statements, tally, lane, record)?
        }
        // Its event may be gone with it, since its time was over. Else the row was lost, and what is known of it now is
        // this settlement.
        Stands::Nowhere if is_listed(statements, lane, seq)? => put_back(statements, tally, lane, record)?,
        Stands::Nowhere => return Ok(Settled::Repeated),
    };
    if let Some(attempt) = record.attempt.as_ref().filter(|_| !has_row) {
        attempt.insert(statements, lane, seq)?;
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
    if record.status != Status::Pending {
        tally.ended(seq);
    }
    Ok(Settled::Applied)
}

/// How the journal has a delivery.
pub(super) enum Stands {
    /// Never tried; with the size of its event's data.
    Fresh(i64),
    Tried(DeliveryNumbers),
    Damaged,
    Nowhere,
}

pub(super) fn stands(statements: &mut Statements<'_>, lane: i64, seq: i64) -> Result<Stands, Fault> {
    let fresh = statements.size_of_fresh.query_row((lane, seq), |row| Ok(row.get(0).ok())).optional()?;
    match fresh {
        Some(Some(size)) => return Ok(Stands::Fresh(size)),
        Some(None) => {
            // A row of three numbers: where one is none, it can't be used. It is made anew as one that was tried.
            statements.drop_fresh.execute((lane, seq))?;
            return Ok(Stands::Damaged);
        }
        None => {}
    }
    let read = |row: &rusqlite::Row<'_>| Ok(DeliveryNumbers::read(row));
    let tried = statements.numbers_of_delivery.query_row((lane, seq), read).optional()?;
    Ok(match tried {
        Some(Some(numbers)) => Stands::Tried(numbers),
        Some(None) => Stands::Damaged,
        None => Stands::Nowhere,
    })
}

/// Whether the event of this number has a delivery to the lane.
fn is_listed(statements: &mut Statements<'_>, lane: i64, seq: i64) -> Result<bool, Fault> {
    let read = |row: &rusqlite::Row<'_>| Ok(row.get::<_, Option<String>>(1).ok().flatten());
    let lanes = statements.place_of_event.query_row((seq,), read).optional()?.flatten();
    Ok(record::lanes(lanes.as_deref()).is_ok_and(|lanes| lanes.contains(&lane)))
}

/// Makes the row of a delivery whose own was lost. What it counted as is not known: the sweep counts again.
pub(super) fn put_back(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    record: &SettleRecord,
) -> Result<bool, Fault> {
    let size: Option<i64> = statements.size_of_event.query_row((record.seq,), |row| row.get(0)).optional()?;
    let size = size.unwrap_or(0);
    tally.add(lane, record.status, size);
    record.insert(statements, lane, size)
}

/// The end of a delivery that can't be made, since what is stored for it is damaged.
pub(super) fn failure(present: Epoch, lane: i64, seq: i64, reason: &str) -> SettleRecord {
    SettleRecord {
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
    }
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
