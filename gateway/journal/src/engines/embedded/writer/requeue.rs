//! Sending deliveries again.

use hookweir_model::{Status, Timestamp};
use rusqlite::OptionalExtension as _;

use super::op::{EventName, minute};
use super::statements::Statements;
use super::tally::Tally;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{bit, block};
use crate::engines::embedded::record::{self, DeliveryNumbers};
use crate::{Error, REMOVED};

/// How many deliveries are recovered in one group: a large recovery then holds nobody up for long.
const PART: u32 = 1000;

/// The statuses that a recovery takes up; of those that were cancelled, only those whose endpoint was removed.
pub(in crate::engines::embedded) const LOST: [Status; 3] =
    [Status::Exhausted, Status::Failed, Status::Cancelled];

/// A [`Selection`](crate::Selection) in numbers.
#[derive(Debug)]
pub(in crate::engines::embedded) enum Requeue {
    Retry { event: EventName, lane: i64 },
    Replay { event: EventName, lanes: Vec<i64> },
    Recover(Recover),
    Waiting(Waiting),
}

#[derive(Debug)]
pub(in crate::engines::embedded) struct Recover {
    lane: i64,
    since: Timestamp,
    done: Progress,
    /// Where it stands once the group is committed; dropped if the group is not.
    next: Option<Progress>,
}

#[derive(Debug)]
pub(in crate::engines::embedded) struct Waiting {
    lane: i64,
    /// How many are still to be made due; not known before the first part. Those that begin to wait meanwhile are not among
    /// them, so that it comes to an end.
    left: Option<u64>,
    again: u64,
    /// How many the group made due, once it is committed; dropped if it is not.
    next: Option<Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    left: u64,
    again: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Counts through [`LOST`].
    status: usize,
    after: i64,
    again: u64,
}

impl Requeue {
    pub(in crate::engines::embedded) fn recover(lane: i64, since: Timestamp) -> Self {
        Self::Recover(Recover { lane, since, done: Progress::default(), next: None })
    }

    pub(in crate::engines::embedded) fn waiting(lane: i64) -> Self {
        Self::Waiting(Waiting { lane, left: None, again: 0, next: None })
    }

    /// Takes the committed part as done; says whether all is.
    pub(super) fn advance(&mut self) -> bool {
        match self {
            Self::Retry { .. } | Self::Replay { .. } => true,
            Self::Recover(recover) => {
                if let Some(next) = recover.next.take() {
                    recover.done = next;
                }
                recover.done.status >= LOST.len()
            }
            Self::Waiting(waiting) => {
                if let Some(Part { left, again }) = waiting.next.take() {
                    (waiting.left, waiting.again) = (Some(left), again);
                }
                waiting.left == Some(0)
            }
        }
    }
}

/// Does the work, or the next part of it.
pub(super) fn requeue(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    last: i64,
    input: &mut Requeue,
) -> Result<Result<u64, Error>, Fault> {
    match input {
        Requeue::Retry { event, lane } => retry(statements, tally, event, *lane),
        Requeue::Replay { event, lanes } => replay(statements, tally, event, lanes),
        Requeue::Recover(recover) => recover_part(statements, tally, last, recover).map(Ok),
        Requeue::Waiting(waiting) => waiting_part(statements, waiting).map(Ok),
    }
}

fn retry(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    event: &EventName,
    lane: i64,
) -> Result<Result<u64, Error>, Fault> {
    let found: Option<i64> =
        statements.seq_of_event.query_row((event.tenant, event.id.as_str()), |row| row.get(0)).optional()?;
    let Some(seq) = found else { return Ok(Err(Error::NotFound("delivery"))) };
    let is_there = send_again(statements, tally, lane, seq)?;
    Ok(if is_there { Ok(1) } else { Err(Error::NotFound("delivery")) })
}

fn replay(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    event: &EventName,
    to: &[i64],
) -> Result<Result<u64, Error>, Fault> {
    let Some((seq, lanes)) = find(statements, event)? else { return Ok(Err(Error::NotFound("event"))) };
    let mut lanes = record::lanes(lanes.as_deref())?;
    let before = lanes.len();
    for lane in to {
        if send_again(statements, tally, *lane, seq)? {
            statements.drop_shaped.execute((lane, seq))?;
        } else {
            let size: i64 = statements.size_of_event.query_row((seq,), |row| row.get(0))?;
            statements.insert_fresh.execute((lane, seq, size))?;
            statements.be_present.execute((block(seq), lane, bit(seq)))?;
            tally.add(*lane, Status::Pending, size);
            lanes.push(*lane);
        }
    }
    if lanes.len() > before {
        let lanes = record::lanes_text(&lanes);
        let place = record::place_crc(seq, event.tenant, lanes.as_deref());
        statements.set_lanes.execute((seq, lanes, place))?;
    }
    Ok(Ok(to.len() as u64))
}

fn recover_part(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    last: i64,
    recover: &mut Recover,
) -> Result<u64, Fault> {
    let mut progress = recover.done;
    if let Some(status) = LOST.get(progress.status) {
        let first: Option<i64> =
            statements.first_since.query_row((minute(recover.since),), |row| row.get(0))?;
        let after = progress.after.max(first.unwrap_or(last + 1) - 1);
        let bounds = (
            recover.lane,
            status.code(),
            after,
            recover.since.as_millis(),
            PART,
            Status::Cancelled.code(),
            REMOVED,
        );
        let part: Vec<i64> =
            statements.lost.query_map(bounds, |row| row.get(0))?.collect::<Result<_, _>>()?;
        for seq in &part {
            send_again(statements, tally, recover.lane, *seq)?;
        }
        progress.again += part.len() as u64;
        progress = match part.last() {
            Some(seq) if part.len() == PART as usize => Progress { after: *seq, ..progress },
            _ => Progress { after: 0, status: progress.status + 1, ..progress },
        };
    }
    recover.next = Some(progress);
    Ok(progress.again)
}

fn waiting_part(statements: &mut Statements<'_>, waiting: &mut Waiting) -> Result<u64, Fault> {
    let Waiting { lane, left, again, .. } = *waiting;
    let left = match left {
        Some(left) => left,
        None => statements.count_waiting.query_row((lane,), |row| row.get::<_, i64>(0))?.unsigned_abs(),
    };
    let part = left.min(PART.into());
    // Read first, changed afterwards: the changes move rows about in the index that is read.
    let found =
        statements.waiting.query_map((lane, part.cast_signed()), |row| Ok(DeliveryNumbers::read(row)))?;
    let found: Vec<Option<DeliveryNumbers>> = found.collect::<Result<_, _>>()?;
    let made = found.len() as u64;
    // One that is damaged is ended when its lane reads it.
    for numbers in found.into_iter().flatten() {
        let at_once = DeliveryNumbers { due: 0, ..numbers };
        statements.hasten.execute((lane, at_once.seq, at_once.crc()))?;
    }
    let again = again + made;
    // Fewer than there should be: some were settled meanwhile.
    waiting.next = Some(Part { left: if made < part { 0 } else { left - part }, again });
    Ok(again)
}

fn find(statements: &mut Statements<'_>, event: &EventName) -> Result<Option<(i64, Option<String>)>, Fault> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let found = statements.seq_of_event.query_row((event.tenant, event.id.as_str()), read).optional()?;
    let Some((seq, lanes, place)) = found else { return Ok(None) };
    let lanes: Option<String> = lanes;
    if !record::is_in_place(seq, event.tenant, lanes.as_deref(), place) {
        return Err(Fault::damaged("the list of an event's lanes"));
    }
    Ok(Some((seq, lanes)))
}

/// Makes a delivery pending and due at once; says whether there is one.
fn send_again(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    lane: i64,
    seq: i64,
) -> Result<bool, Fault> {
    let Some((numbers, status)) = numbers(statements, lane, seq)? else { return Ok(false) };
    let again = DeliveryNumbers { status: Status::Pending.code(), due: 0, base: numbers.attempts, ..numbers };
    statements.send_again.execute((lane, seq, again.crc()))?;
    tally.remove(lane, status, numbers.size);
    tally.add(lane, Status::Pending, numbers.size);
    Ok(true)
}

/// A delivery as it stands, whether or not it was ever tried.
pub(super) fn numbers(
    statements: &mut Statements<'_>,
    lane: i64,
    seq: i64,
) -> Result<Option<(DeliveryNumbers, Status)>, Fault> {
    let read = |row: &rusqlite::Row<'_>| {
        let numbers = DeliveryNumbers::read(row);
        Ok(numbers.and_then(|numbers| Some((numbers, Status::from_code(numbers.status)?))))
    };
    match statements.numbers.query_row((lane, seq), read).optional()? {
        None => Ok(None),
        Some(None) => Err(Fault::damaged(format!("delivery {seq} of lane {lane}"))),
        Some(whole) => Ok(whole),
    }
}
