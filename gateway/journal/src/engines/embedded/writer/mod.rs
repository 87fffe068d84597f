//! The one thread that writes.
//!
//! It waits for a first call, takes all that has gathered up to a bound, writes it in one transaction, commits, and
//! only then answers. There is no timer: while one commit's sync runs, the next group gathers by itself, so a lone
//! call waits for one sync and a thousand share one.
//!
//! Four kinds of failure are kept apart (see [`Fault`]). Without room, appends are answered with an error, while
//! settlements are kept and tried again until they fit. A fault of one call must not be its neighbours': the group is
//! tried again call by call. After an I/O error nobody can say what is on disk: all who wait hear so, and nothing is
//! written any more. A page that makes no sense costs nobody's call: the file is rebuilt (`rebuild`), and then the group
//! is tried again.

mod append;
mod clock;
mod expire;
mod inbox;
mod log;
mod mend;
mod message;
mod names;
mod op;
mod plugin;
mod present;
mod rebuild;
mod requeue;
mod run;
mod settle;
mod statements;
mod sweep;
mod tally;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir_model::{Epoch, Timestamp};
use rusqlite::Connection;

pub(super) use self::expire::Expire;
pub(super) use self::inbox::Inbox;
pub(super) use self::mend::{DAMAGED_EVENT, Finding, LOST_DELIVERY};
pub(super) use self::message::{MessageOp, Take};
pub(super) use self::op::{EventName, Job, Name, Op, minute};
pub(super) use self::plugin::PluginRecord;
pub(super) use self::rebuild::record as record_rebuilding;
pub(super) use self::requeue::{LOST, Requeue};
pub(super) use self::run::{Start, run};
pub(super) use self::settle::{SettleRecord, outcome_from_code};

use self::expire::Which;
use self::inbox::Wait;
use self::log::Log;
pub(super) use self::log::{count_frames, move_pages};
use self::mend::Mender;
use self::op::After;
use self::present::Present;
use self::statements::Statements;
use self::sweep::Sweeps;
use self::tally::Tally;
use super::Shared;
use super::damage;
use super::door::{Room, Space, judge_room};
use super::fault::Fault;
use super::options::Disk;
use super::wal::Mark;
use crate::{Error, Seq};

/// How often room is looked for while there is none.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(250);

/// How often it is looked whether a reader still holds up the log, which a reader of this process says by itself when it
/// ends; others can't.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(60);

/// While there is room, it is measured again when this much was written, ...
const ROOM_BYTES: usize = 256 << 10;
/// ... or after this time: others may fill the disk too.
const ROOM_TIME: Duration = Duration::from_millis(50);

/// How many groups of finished events are removed before events are written again: where little room is left, and where
/// there is none.
const PARTS_OF_LITTLE: usize = 1;
const PARTS_OF_NONE: usize = 16;

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    statements: Statements<'a>,
    log: Log,
    mark: Mark,
    tally: Tally,
    present: Present,
    sweeps: Sweeps,
    /// Whether it was said that finished events give way before their time.
    has_warned: bool,
    last: i64,
    /// Calls that wait for room, and parts of calls that go on.
    kept: Vec<Op>,
    poisoned: Option<String>,
    /// When a write last found no room.
    full_since: Option<Instant>,
    /// When room was last measured, and what was written since.
    looked: Option<Instant>,
    written: usize,
    /// Events were removed since the file was last looked at for space to give back.
    may_shrink: bool,
    /// Pages were given back since the log was last moved for it.
    has_shrunk: bool,
    /// Why the file is to be rebuilt, before anything else is written.
    rebuild: Option<String>,
}

impl Writer<'_> {
    fn serve(&mut self) {
        self.look_for_room();
        let mut is_open = true;
        while is_open {
            self.rebuild = self.shared.repair.begin(Instant::now());
            if self.rebuild.is_some() {
                return;
            }
            let mut group = Vec::new();
            is_open = self.shared.inbox.take(self.wait(), &mut group);
            let goes_on = self.kept.iter().any(|op| !op.waits_for_room());
            let is_idle = group.is_empty() && !goes_on;
            // What was kept came first. A settlement must not overtake another of its delivery.
            let fresh = std::mem::replace(&mut group, std::mem::take(&mut self.kept));
            group.extend(fresh);
            if group.is_empty() {
                self.look_for_room();
            } else {
                self.write_all(group);
            }
            if is_idle && self.poisoned.is_none() && (self.may_shrink || self.has_shrunk) {
                self.shrink();
            }
            self.look_at_log();
            // A call that works in parts is finished before the end; one that waits for room gets a last try.
            is_open |= self.kept.iter().any(|op| !op.waits_for_room());
        }
        let kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            self.write_all(kept);
        }
        if !self.kept.is_empty() {
            tracing::error!(
                target: "hookweir::journal",
                calls = self.kept.len(),
                "the journal closes without room for these settlements"
            );
        }
    }

    fn wait(&self) -> Wait {
        if self.kept.iter().any(|op| !op.waits_for_room()) || self.may_shrink {
            Wait::No
        } else if !self.kept.is_empty() || self.shared.door.lacks_room() || self.shared.repair.is_wanted() {
            Wait::For(LOOK_FOR_ROOM)
        } else if self.has_shrunk {
            Wait::For(LOOK_FOR_OTHERS)
        } else {
            Wait::Forever
        }
    }

    /// Writes a group and answers it; what has to wait is kept.
    fn write_all(&mut self, mut group: Vec<Op>) {
        if let Some(why) = &self.poisoned {
            group.into_iter().for_each(|op| op.fail(Error::Unknown(why.clone())));
            return;
        }
        match self.write(&mut group) {
            Ok(()) => {
                // Before the answers: whoever has one, and sends more, meets the room that is left.
                self.written += group.iter().map(Op::size).sum::<usize>();
                let is_recent = self.looked.is_some_and(|looked| looked.elapsed() < ROOM_TIME);
                if self.written >= ROOM_BYTES || !is_recent || self.shared.door.lacks_room() {
                    self.look_for_room();
                }
                // Before the answers: what is answered must be known to be missing where a damaged log has lost it.
                self.note();
                for op in group {
                    self.committed(op);
                }
                match self.log.look(self.connection) {
                    Ok(Some(moved)) => self.mark.moved(moved),
                    Ok(None) => {}
                    Err(fault) => self.at_failed_sync(fault),
                }
            }
            Err(Fault::Full) => self.without_room(group),
            Err(Fault::Corrupt(why)) => self.at_damage(group, &why),
            Err(Fault::Locked) => {
                let (kept, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(Op::waits_for_room);
                self.kept.extend(kept);
                refused.into_iter().for_each(|op| op.fail(Error::Busy));
            }
            Err(Fault::Io(why)) => {
                self.poison(&why);
                let why = self.poisoned.clone().unwrap_or_default();
                group.into_iter().for_each(|op| op.fail(Error::Unknown(why.clone())));
            }
            Err(fault) if group.len() == 1 => {
                group.into_iter().for_each(|op| op.fail(fault.clone().of_write()));
            }
            Err(_) => group.into_iter().for_each(|op| self.write_all(vec![op])),
        }
    }

    /// Keeps the group until the file is rebuilt. Where that can't be done now, each call is tried by itself, and those
    /// that fail are refused; settlements wait.
    fn at_damage(&mut self, group: Vec<Op>, why: &str) {
        self.shared.repair.want(why);
        if self.shared.repair.may_begin(Instant::now()) {
            self.kept.extend(group);
        } else if group.len() > 1 {
            group.into_iter().for_each(|op| self.write_all(vec![op]));
        } else {
            for op in group {
                if op.waits_for_room() {
                    self.kept.push(op);
                } else {
                    op.fail(Error::Corrupt(why.to_owned()));
                }
            }
        }
    }

    /// Refuses appends and keeps settlements. Other calls are tried without them: an expiry makes the very room that
    /// a settlement waits for.
    fn without_room(&mut self, group: Vec<Op>) {
        self.full_since = Some(Instant::now());
        self.shared.door.room(Err("the disk of `journal.path` is full".to_owned()));
        let is_alone = group.len() == 1;
        for op in group {
            if op.waits_for_room() {
                self.kept.push(op);
            } else if is_alone || op.may_be_refused() {
                op.fail(Fault::Full.of_write());
            } else {
                self.write_all(vec![op]);
            }
        }
    }

    fn committed(&mut self, op: Op) {
        match &op {
            Op::Mend(job) => {
                for finding in &job.input {
                    if let Finding::Delivery { lane, seq, .. } = finding {
                        self.shared.quarantine.release(*lane, *seq);
                    }
                }
                self.shared.damage.refresh(self.connection);
            }
            // Names are made known before anyone is told that they are kept.
            Op::Register(job) => {
                if let Some(Ok(entries)) = &job.outcome {
                    self.shared.learn(entries);
                }
            }
            Op::Epoch(job) => {
                if let Some(Ok(epoch)) = &job.outcome {
                    self.shared.set_epoch(*epoch);
                }
            }
            Op::Damage(_) => self.shared.damage.refresh(self.connection),
            Op::Expire(job) => {
                self.may_shrink = true;
                if let Some((which, step)) = job.input.step() {
                    self.sweeps.apply(which, step);
                }
            }
            Op::Message(op) => self.may_shrink |= op.removes(),
            _ => {}
        }
        if let After::Continue(op) = op.committed() {
            self.kept.push(op);
        }
    }

    /// One transaction: all of the group or nothing.
    fn write(&mut self, group: &mut [Op]) -> Result<(), Fault> {
        self.statements.begin.execute([])?;
        let last = self.last;
        let written = self.apply_all(group).and_then(|()| self.commit(group.len()));
        if written.is_ok() {
            self.tally.all_ended().iter().for_each(|seq| self.sweeps.ended(*seq));
            // Before the answers: whoever has one finds it counted.
            self.shared.names(|names| {
                let tenant_of = |lane| names.key(lane).map(|key| key.tenant.clone());
                let changes = self.tally.pending_bytes();
                self.shared.backlog.change(changes.filter_map(|(lane, by)| Some((tenant_of(lane)?, by))));
            });
        }
        if written.is_err() {
            self.last = last;
            self.present.clear();
            // SQLite has ended the transaction itself after some errors.
            if !self.connection.is_autocommit() {
                // Without it the connection is stuck in a transaction that nobody can tell the state of.
                self.statements.rollback.execute([]).map_err(|error| Fault::Io(error.to_string()))?;
            }
        }
        written
    }

    fn apply_all(&mut self, group: &mut [Op]) -> Result<(), Fault> {
        self.tally.clear();
        for op in group {
            self.apply(op)?;
        }
        self.tally.write(&mut self.statements)
    }

    fn commit(&mut self, calls: usize) -> Result<(), Fault> {
        let started = Instant::now();
        self.statements.commit.execute([])?;
        // A sync that failed in a pass over the log may have lost what this commit's own sync then took for written.
        self.log.hear()?;
        self.shared.counters.committed(calls, started.elapsed());
        Ok(())
    }

    fn apply(&mut self, op: &mut Op) -> Result<(), Fault> {
        let Self { statements, tally, present, sweeps, last, .. } = self;
        match op {
            Op::Append(job) => {
                let appended =
                    job.input.iter().map(|record| append::append(statements, tally, present, last, record));
                job.outcome = Some(Ok(appended.collect::<Result<_, _>>()?));
            }
            Op::Settle(job) => {
                let epoch = self.shared.epoch();
                let settled = job.input.iter().map(|record| settle::settle(statements, tally, epoch, record));
                job.outcome = Some(Ok(settled.collect::<Result<_, _>>()?));
            }
            Op::Register(job) => job.outcome = Some(Ok(names::register(statements, &job.input)?)),
            Op::Requeue(job) => {
                job.outcome = Some(requeue::requeue(statements, tally, *last, &mut job.input)?);
            }
            Op::Expire(job) => {
                job.outcome = Some(Ok(expire::expire(statements, tally, sweeps, *last, &mut job.input)?));
            }
            Op::Clock(job) => job.outcome = Some(Ok(clock::keep(statements, *last, &job.input)?)),
            Op::State(job) => {
                let (lane, state) = &job.input;
                statements.put_state.execute((lane, state))?;
                job.outcome = Some(Ok(()));
            }
            Op::Blob(job) => {
                let (digest, bytes) = &job.input;
                statements.put_blob.execute((digest.as_bytes(), &bytes[..]))?;
                job.outcome = Some(Ok(()));
            }
            Op::Plugin(job) => job.outcome = Some(plugin::keep(statements, &job.input)?),
            Op::Message(op) => op.apply(statements, tally)?,
            Op::Damage(job) => job.outcome = Some(Ok(damage::change(self.connection, &job.input)?)),
            Op::Epoch(job) => {
                let epoch = Epoch(self.shared.epoch().0 + 1);
                statements.put_meta.execute(("epoch", epoch.0.cast_signed()))?;
                job.outcome = Some(Ok(epoch));
            }
            Op::Mend(job) => {
                let (connection, shared) = (self.connection, self.shared);
                let mut mender = Mender { statements, tally, connection, shared };
                for finding in &job.input {
                    mender.mend(finding)?;
                }
                job.outcome = Some(Ok(()));
            }
            // It has only woken the writer.
            Op::Rebuild => {}
            #[cfg(test)]
            Op::Execute(job) => {
                self.connection.execute_batch(&job.input)?;
                job.outcome = Some(Ok(()));
            }
        }
        Ok(())
    }

    fn look_for_room(&mut self) {
        // The file system may report room that SQLite was just refused. Appends stay out for a moment, so that they
        // are not all let in to fail.
        if self.full_since.is_some_and(|since| since.elapsed() < LOOK_FOR_ROOM) {
            return;
        }
        self.full_since = None;
        let room = match self.give_way() {
            Ok(room) => room,
            // Without room for the removal itself; what waits for room waits.
            Err(Fault::Full) => Room::None(0, "the disk of `journal.path` is full".to_owned()),
            Err(Fault::Io(why)) => return self.poison(&why),
            Err(fault) => {
                tracing::warn!(
                    target: "hookweir::journal",
                    "finished events could not be removed to make room: {}",
                    fault.of_write()
                );
                self.judge_room()
            }
        };
        self.looked = Some(Instant::now());
        self.written = 0;
        self.shared.door.room(match room {
            Room::Enough | Room::Little(_) => Ok(()),
            Room::None(_, why) => Err(why),
        });
    }

    fn judge_room(&mut self) -> Room {
        let (pages, free) = self.pages().unwrap_or((0, 0));
        let space = Space {
            used: pages.saturating_sub(free) * PAGE,
            unused: free * PAGE,
            free: Disk::under(&self.shared.path).map(|disk| disk.free),
        };
        judge_room(&self.shared.options, space)
    }

    /// Removes finished events before their retention where there is little room left, and says what room there is then.
    /// First those go that have ended well; where there is none at all, the others too. What is pending stays.
    fn give_way(&mut self) -> Result<Room, Fault> {
        let mut parts = 0;
        for which in [Which::EndedWell, Which::Ended] {
            loop {
                let room = self.judge_room();
                let (wanted, most) = match (&room, which) {
                    (Room::Enough, _) | (Room::Little(_), Which::Ended) => return Ok(room),
                    (Room::Little(wanted), Which::EndedWell) => (*wanted, PARTS_OF_LITTLE),
                    (Room::None(wanted, _), _) => (*wanted, PARTS_OF_NONE),
                };
                if parts >= most || self.poisoned.is_some() {
                    return Ok(room);
                }
                parts += 1;
                if self.remove(which, wanted)? == (0, true) {
                    break;
                }
            }
        }
        Ok(self.judge_room())
    }

    /// Removes some finished events; says how many, and whether there were no more.
    fn remove(&mut self, which: Which, wanted: u64) -> Result<(u64, bool), Fault> {
        // Nobody waits for the answer.
        let (job, _) = Job::new(Expire::for_room(which, wanted));
        let mut group = [Op::Expire(job)];
        self.write(&mut group)?;
        let [op] = group;
        let came_to = match &op {
            Op::Expire(job) => job.input.came_to(),
            _ => (0, true),
        };
        self.committed(op);
        self.kept.retain(|op| !op.is_for_room());
        self.log.look(self.connection)?;
        self.shared.counters.removed_early(came_to.0);
        if came_to.0 > 0 && !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                target: "hookweir::journal",
                "the oldest finished events are removed before their retention, since there is little room: see \
                 `journal.max_size` and `journal.reserve`"
            );
        }
        Ok(came_to)
    }

    /// The log could not be moved to the main file for a failed write or sync.
    fn at_failed_sync(&mut self, fault: Fault) {
        match fault {
            Fault::Io(why) => self.poison(&why),
            other => tracing::warn!(
                target: "hookweir::journal",
                "the journal's log is kept: {}",
                other.of_write()
            ),
        }
    }

    fn poison(&mut self, why: &str) {
        let why = format!("a write to the journal failed: {why}");
        self.shared.door.poison(why.clone());
        self.poisoned = Some(why);
    }

    /// The pages of the file, and those of them that hold nothing.
    fn pages(&mut self) -> Result<(u64, u64), Fault> {
        let pages: i64 = self.statements.page_count.query_row([], |row| row.get(0))?;
        let free: i64 = self.statements.free_pages.query_row([], |row| row.get(0))?;
        Ok((pages.unsigned_abs(), free.unsigned_abs()))
    }

    /// Gives a slice of unused pages back to the disk while there is nothing else to do, as long as they are more
    /// than an eighth of the file: fewer are soon used again.
    fn shrink(&mut self) {
        match self.shrink_once() {
            Ok(goes_on) => self.may_shrink = goes_on,
            Err(Fault::Io(why)) => self.poison(&why),
            Err(fault) => {
                self.may_shrink = false;
                tracing::warn!(
                    target: "hookweir::journal",
                    "the journal's file was not made smaller: {}",
                    fault.of_write()
                );
            }
        }
    }

    /// Says whether there is more to give back.
    fn shrink_once(&mut self) -> Result<bool, Fault> {
        let (pages, free) = self.pages()?;
        if free < LEAST_UNUSED || free * 8 <= pages {
            // The file is cut when all of the log was moved to it; what a reader holds up is tried again when that ends.
            // It is asked to say so before the log is moved: after that, its end might be missed.
            self.shared.readers.await_end();
            self.has_shrunk = self.has_shrunk && !self.log.move_all(self.connection)?;
            return Ok(false);
        }
        self.has_shrunk = true;
        let mut rows = self.statements.vacuum.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        self.log.look(self.connection)?;
        Ok(true)
    }

    fn look_at_log(&self) {
        if self.shared.check.is_running() && self.shared.wal_bytes() > self.shared.options.wal_during_check()
        {
            self.shared.check.give_up();
        }
    }

    /// Notes in the mark what the last commit left.
    fn note(&mut self) {
        if let Some(frames) = self.log.frames() {
            self.mark.committed(frames, self.last, Timestamp::now().as_millis());
        }
    }

    fn leave_in_order(&mut self) {
        if let Err(fault) = self.empty_log() {
            let error = fault.of_write();
            tracing::warn!(
                target: "hookweir::journal",
                "the journal was not closed in order, and will be checked at the next start: {error}"
            );
        }
    }

    fn empty_log(&mut self) -> Result<(), Fault> {
        let epoch = self.shared.epoch().0.cast_signed();
        self.statements.put_meta.execute(("clean", epoch))?;
        self.statements.put_meta.execute(("seq", self.last))?;
        // On disk before the log is gone: a mark from before would miss what was in it.
        self.note();
        self.mark.sync().map_err(|error| Fault::Io(error.to_string()))?;
        let is_busy: bool =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !is_busy {
            self.mark.emptied();
            self.mark.sync().map_err(|error| Fault::Io(error.to_string()))?;
        }
        Ok(())
    }
}

/// Unused pages that are not worth the work.
const LEAST_UNUSED: u64 = 256;

/// SQLite's page size, which the schema leaves at its default.
const PAGE: u64 = 4096;

/// The number given last, from what the file holds.
pub(super) fn last_given(connection: &Connection) -> Result<i64, Fault> {
    let sql = "SELECT max(coalesce((SELECT max(seq) FROM event), 0), \
               coalesce((SELECT value FROM meta WHERE name = 'seq' AND typeof(value) = 'integer'), 0))";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// A number of ours as SQLite keeps it; numbers beyond its range were never given.
pub(super) fn seq_to_sql(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(super) fn wal_path(directory: &Path) -> std::path::PathBuf {
    directory.join("journal.db-wal")
}
