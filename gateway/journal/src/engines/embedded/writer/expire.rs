//! Removing events whose time is over.

use hookweir_model::{Status, Timestamp};

use super::op::minute;
use super::requeue::status_of;
use super::statements::Statements;
use super::tally::Tally;
use crate::Expired;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record;

/// How many events are looked at in one group, and how many of them removed: a large expiry then holds nobody up for
/// long. Looking is much cheaper than removing.
const LOOKED_AT: u32 = 2048;
const REMOVED: u64 = 512;

/// One call of [`Journal::expire`](crate::Journal::expire).
#[derive(Debug)]
pub(in crate::engines::embedded) struct Expire {
    before: Timestamp,
    budget: u64,
    done: Progress,
    /// Where it stands once the group is committed; dropped if the group is not.
    next: Option<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    after: i64,
    removed: u64,
    more: bool,
    is_over: bool,
}

struct Old {
    seq: i64,
    tenant: i64,
    received: i64,
    key: Option<String>,
    lanes: Option<String>,
}

impl Expire {
    pub(in crate::engines::embedded) fn new(before: Timestamp, budget: usize) -> Self {
        Self { before, budget: budget as u64, done: Progress::default(), next: None }
    }

    /// Takes the committed part as done; says whether all is.
    pub(super) fn advance(&mut self) -> bool {
        if let Some(next) = self.next.take() {
            self.done = next;
        }
        self.done.is_over
    }
}

/// Does the next part of the work. `last` is the number given last.
pub(super) fn expire(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    last: i64,
    input: &mut Expire,
) -> Result<Expired, Fault> {
    let mut progress = input.done;
    let bound: Option<i64> = statements.last_until.query_row((minute(input.before),), |row| row.get(0))?;
    let part = read_part(statements, progress.after, bound.unwrap_or(0))?;
    progress.is_over = part.len() < LOOKED_AT as usize;
    let stop_at = input.budget.min(progress.removed + REMOVED);
    for old in part {
        if old.received >= input.before.as_millis() {
            progress.after = old.seq;
            continue;
        }
        let Some(ended) = ended(statements, &old)? else {
            progress.after = old.seq;
            continue;
        };
        if progress.removed == stop_at {
            // Found one more than this part may remove: the next part, or the next call, begins with it.
            progress.more = progress.removed == input.budget;
            progress.is_over = progress.more;
            break;
        }
        remove(statements, tally, &old, &ended)?;
        progress.removed += 1;
        progress.after = old.seq;
    }
    if progress.is_over && progress.removed > 0 {
        // Numbers must not be given twice, not even when the newest event is gone at the next start.
        statements.put_meta.execute(("seq", last))?;
        statements.delete_spans.execute((last,))?;
        statements.delete_present.execute((last,))?;
    }
    input.next = Some(progress);
    Ok(Expired { events: progress.removed, more: progress.more })
}

fn read_part(statements: &mut Statements<'_>, after: i64, bound: i64) -> Result<Vec<Old>, Fault> {
    let rows = statements.oldest.query_map((after, bound, LOOKED_AT), |row| {
        Ok(Old {
            seq: row.get(0)?,
            tenant: row.get(1)?,
            received: row.get(2)?,
            key: row.get(3)?,
            lanes: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The lanes and statuses of an event's deliveries if all are final. An event whose deliveries can't be told stays:
/// one of them might be pending.
fn ended(statements: &mut Statements<'_>, old: &Old) -> Result<Option<Vec<(i64, Status)>>, Fault> {
    let Ok(lanes) = record::lanes(old.lanes.as_deref()) else {
        tracing::error!(
            seq = old.seq,
            "an event is kept beyond its time: the list of its deliveries is damaged"
        );
        return Ok(None);
    };
    let mut ended = Vec::with_capacity(lanes.len());
    for lane in lanes {
        match status_of(statements, lane, old.seq)? {
            Some((status, _)) if status != Status::Pending => ended.push((lane, status)),
            Some(_) => return Ok(None),
            None => {
                tracing::error!(
                    seq = old.seq,
                    lane,
                    "an event is kept beyond its time: a delivery of it is missing"
                );
                return Ok(None);
            }
        }
    }
    Ok(Some(ended))
}

fn remove(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    old: &Old,
    deliveries: &[(i64, Status)],
) -> Result<(), Fault> {
    for (lane, status) in deliveries {
        statements.delete_delivery.execute((lane, old.seq))?;
        statements.delete_attempts.execute((lane, old.seq))?;
        statements.drop_shaped.execute((lane, old.seq))?;
        // None of them is pending, so that they have no bytes that wait.
        tally.remove(*lane, *status, 0);
    }
    if let Some(key) = &old.key {
        statements.delete_key.execute((old.tenant, key))?;
    }
    statements.delete_event.execute((old.seq,))?;
    Ok(())
}
