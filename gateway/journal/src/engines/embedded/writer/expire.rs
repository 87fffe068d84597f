//! Removing events whose time is over.

use std::collections::BTreeSet;

use hookweir_model::Status;

use super::clock;
use super::requeue::numbers;
use super::statements::Statements;
use super::sweep::{Step, Sweep, Sweeps};
use super::tally::Tally;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record;
use crate::{Expired, Old};

/// How many numbers one group goes over, how many events it removes, and how many bytes of data they may have: a large
/// expiry then holds nobody up for long.
const LOOKED_AT: u16 = 4096;
const REMOVED: u64 = 512;
const REMOVED_BYTES: u64 = 16 << 20;

/// Which events may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engines::embedded) enum Which {
    /// All that have ended.
    Ended,
    /// Those that have ended well: of which no delivery could be recovered.
    EndedWell,
}

/// One call of [`Journal::expire`](crate::Journal::expire), or a removal that makes room.
#[derive(Debug)]
pub(in crate::engines::embedded) struct Expire {
    which: Which,
    old: Old,
    budget: u64,
    /// About how many bytes are wanted; more are not removed for it.
    wanted: u64,
    done: Progress,
    /// Where it stands once the group is committed; dropped if the group is not.
    next: Option<(Progress, Step)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// How far those behind the walk were looked at by this call.
    behind: i64,
    removed: u64,
    bytes: u64,
    more: bool,
    is_over: bool,
}

struct Candidate {
    seq: i64,
    tenant: i64,
    key: Option<String>,
    lanes: Option<String>,
    size: i64,
    place: Option<i32>,
}

/// What is to be done with an event that was looked at.
enum Judged {
    Removed,
    /// Another is to be removed than the call may.
    Beyond,
    /// A delivery of it is pending, or it is not this call's business.
    Stays,
}

impl Expire {
    pub(in crate::engines::embedded) fn new(old: Old, budget: usize) -> Self {
        let (done, wanted) = (Progress::default(), u64::MAX);
        Self { which: Which::Ended, old, budget: budget as u64, wanted, done, next: None }
    }

    /// Removes events of any age until they had about so many bytes, in one part.
    pub(super) fn for_room(which: Which, wanted: u64) -> Self {
        Self { which, old: Old::All, budget: REMOVED, wanted, done: Progress::default(), next: None }
    }

    pub(super) fn is_for_room(&self) -> bool {
        self.wanted != u64::MAX
    }

    /// What the committed part has come to, and of which walk.
    pub(super) fn step(&self) -> Option<(Which, &Step)> {
        self.next.as_ref().map(|(_, step)| (self.which, step))
    }

    /// Events that were removed, and whether it has seen all that there is; once it is committed.
    pub(super) fn came_to(&self) -> (u64, bool) {
        self.next.as_ref().map_or((0, false), |(progress, _)| (progress.removed, progress.is_over))
    }

    /// Takes the committed part as done; says whether all is.
    pub(super) fn advance(&mut self) -> bool {
        if let Some((next, _)) = self.next.take() {
            self.done = next;
        }
        self.done.is_over
    }
}

/// Does the next part of the work. `last` is the number given last.
pub(super) fn expire(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    sweeps: &Sweeps,
    last: i64,
    input: &mut Expire,
) -> Result<Expired, Fault> {
    let sweep = sweeps.of(input.which);
    let bound = clock::last_event(statements, input.old, last)?;
    let mut part = Part { statements, tally, input, progress: input.done, removed: 0, bytes: 0 };
    let mut step = Step { to: sweep.to(), ..Step::default() };
    part.run(sweep, bound, &mut step)?;
    let progress = part.progress;
    if progress.removed > 0 && (progress.is_over || input.is_for_room()) {
        // Numbers must not be given twice, not even when the newest event is gone at the next start.
        statements.put_meta.execute(("seq", last))?;
        statements.delete_spans.execute((last,))?;
        statements.delete_present.execute((last,))?;
    }
    input.next = Some((progress, step));
    Ok(Expired { events: progress.removed, more: progress.more })
}

/// One group's part of a call.
struct Part<'a, 'c> {
    statements: &'a mut Statements<'c>,
    tally: &'a mut Tally,
    input: &'a Expire,
    progress: Progress,
    /// Events that this part removed, and the bytes of their data.
    removed: u64,
    bytes: u64,
}

impl Part<'_, '_> {
    /// First what lies behind the walk, then the walk goes on.
    fn run(&mut self, sweep: &Sweep, bound: i64, step: &mut Step) -> Result<(), Fault> {
        for (count, seq) in sweep.behind(self.progress.behind, bound.min(sweep.to())).enumerate() {
            if self.is_full() || count >= usize::from(LOOKED_AT) {
                return Ok(());
            }
            match self.read(seq, seq)?.first().map(|old| self.judge(old)).transpose()? {
                None | Some(Judged::Removed | Judged::Stays) => step.done.push(seq),
                Some(Judged::Beyond) => return Ok(()),
            }
            self.progress.behind = seq;
        }
        let first: Option<i64> = self.statements.next_event.query_row((step.to,), |row| row.get(0))?;
        let Some(first) = first.filter(|first| *first <= bound) else {
            self.progress.is_over = true;
            return Ok(());
        };
        let end = bound.min(first.saturating_add(i64::from(LOOKED_AT) - 1));
        for (from, to) in self.not_pending(first, end)? {
            for old in self.read(from, to)? {
                if self.is_full() {
                    return Ok(());
                }
                match self.judge(&old)? {
                    Judged::Removed | Judged::Stays => {}
                    Judged::Beyond => return Ok(()),
                }
                step.to = old.seq;
            }
        }
        step.to = end;
        self.progress.is_over = end == bound;
        Ok(())
    }

    /// Whether another group must go on.
    fn is_full(&self) -> bool {
        self.removed >= REMOVED || self.bytes >= REMOVED_BYTES
    }

    fn judge(&mut self, old: &Candidate) -> Result<Judged, Fault> {
        let Some(ended) = ended(self.statements, old)? else { return Ok(Judged::Stays) };
        let is_lost = |status: &Status| matches!(status, Status::Exhausted | Status::Failed);
        if self.input.which == Which::EndedWell && ended.iter().any(|(_, status)| is_lost(status)) {
            return Ok(Judged::Stays);
        }
        if self.progress.removed >= self.input.budget || self.progress.bytes >= self.input.wanted {
            self.progress.more = true;
            self.progress.is_over = true;
            return Ok(Judged::Beyond);
        }
        remove(self.statements, self.tally, old, &ended)?;
        let bytes = old.size.unsigned_abs();
        self.removed += 1;
        self.bytes += bytes;
        self.progress.removed += 1;
        self.progress.bytes += bytes;
        Ok(Judged::Removed)
    }

    fn read(&mut self, from: i64, to: i64) -> Result<Vec<Candidate>, Fault> {
        let rows = self.statements.old_events.query_map((from, to), |row| {
            Ok(Candidate {
                seq: row.get(0)?,
                tenant: row.get(1)?,
                key: row.get(2)?,
                lanes: row.get(3)?,
                size: row.get(4)?,
                place: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The stretches of numbers from `first` to `end` without those that have a pending delivery. An event's own row
    /// is large, and is not read for that.
    fn not_pending(&mut self, first: i64, end: i64) -> Result<Vec<(i64, i64)>, Fault> {
        let mut pending = BTreeSet::new();
        for seq in self.statements.tried_pending.query_map((first, end), |row| row.get::<_, i64>(0))? {
            pending.insert(seq?);
        }
        let lanes = self.statements.lanes_pending.query_map((), |row| row.get(0))?;
        for lane in lanes.collect::<Result<Vec<i64>, _>>()? {
            for seq in self.statements.fresh_of.query_map((lane, first, end), |row| row.get::<_, i64>(0))? {
                pending.insert(seq?);
            }
        }
        Ok(stretches(first, end, &pending))
    }
}

/// What is left of `first` to `end` without `gaps`.
fn stretches(first: i64, end: i64, gaps: &BTreeSet<i64>) -> Vec<(i64, i64)> {
    let mut stretches = Vec::new();
    let mut from = first;
    for gap in gaps {
        if from < *gap {
            stretches.push((from, gap - 1));
        }
        from = gap + 1;
    }
    if from <= end {
        stretches.push((from, end));
    }
    stretches
}

/// The lanes and statuses of an event's deliveries if all are final. An event whose deliveries can't be told stays:
/// one of them might be pending.
fn ended(statements: &mut Statements<'_>, old: &Candidate) -> Result<Option<Vec<(i64, Status)>>, Fault> {
    let is_in_place = record::is_in_place(old.seq, old.tenant, old.lanes.as_deref(), old.place);
    let Some(lanes) = record::lanes(old.lanes.as_deref()).ok().filter(|_| is_in_place) else {
        tracing::error!(
            target: "hookweir::journal",
            seq = old.seq,
            "an event is kept beyond its time: the list of its deliveries is damaged"
        );
        return Ok(None);
    };
    let mut ended = Vec::with_capacity(lanes.len());
    for lane in lanes {
        match numbers(statements, lane, old.seq) {
            Ok(Some((_, status))) if status != Status::Pending => ended.push((lane, status)),
            Ok(Some(_)) => return Ok(None),
            Ok(None) | Err(Fault::Damaged(_)) => {
                tracing::error!(
                    target: "hookweir::journal",
                    seq = old.seq,
                    lane,
                    "an event is kept beyond its time: a delivery of it is missing or damaged"
                );
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(Some(ended))
}

fn remove(
    statements: &mut Statements<'_>,
    tally: &mut Tally,
    old: &Candidate,
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
        statements.delete_key.execute((old.tenant, key, old.seq))?;
    }
    statements.delete_further_keys.execute((old.seq,))?;
    statements.forget_further_keys.execute((old.seq,))?;
    statements.delete_event.execute((old.seq,))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_leave_the_gaps_out() {
        for (gaps, wanted) in [
            (&[][..], &[(1, 9)][..]),
            (&[1, 2, 9], &[(3, 8)]),
            (&[4, 6], &[(1, 3), (5, 5), (7, 9)]),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]),
        ] {
            assert_eq!(stretches(1, 9, &gaps.iter().copied().collect()), wanted, "{gaps:?}");
        }
    }
}
