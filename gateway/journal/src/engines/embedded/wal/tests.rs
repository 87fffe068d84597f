//! Logs that SQLite wrote, with and without harm.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::{Connection, config::DbConfig};
use tempfile::TempDir;

use super::examine::{Examined, Loss, examine};
use super::mark::{Found, Mark, Slot, mark_path, read};
use super::scan::{FRAME, HEADER, PAGE};

/// The number of the journals of these tests.
const JOURNAL: i64 = 7;
const ROWS: i64 = 120;

/// A journal in small: rows that transactions change, and an event for each transaction.
struct Sample {
    directory: TempDir,
    connection: Connection,
    mark: Option<Mark>,
    /// What all rows say after each transaction, from the first on.
    states: Vec<Vec<i64>>,
    /// How many frames the log has after each transaction of this generation.
    ends: Vec<usize>,
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("journal.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE event (seq INTEGER PRIMARY KEY);
                 CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
                 CREATE TABLE row (id INTEGER PRIMARY KEY, value INTEGER, filling TEXT);",
            )
            .unwrap();
        connection.execute("INSERT INTO meta VALUES ('journal', ?1)", (JOURNAL,)).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let mark = Some(Mark::open(directory.path(), JOURNAL).unwrap());
        let mut sample = Self { directory, connection, mark, states: Vec::new(), ends: Vec::new() };
        sample.commit((0..ROWS).collect());
        sample.move_all();
        sample
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Frames of the present generation.
    fn frames(&self) -> usize {
        let seen: i64 =
            self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap();
        usize::try_from(seen).unwrap()
    }

    /// One transaction that changes these rows. It is answered where `mark` is there.
    fn commit(&mut self, rows: Vec<i64>) {
        let number = i64::try_from(self.states.len()).unwrap() + 1;
        let mut state = self.states.last().cloned().unwrap_or_else(|| vec![0; ROWS as usize]);
        self.connection.execute_batch("BEGIN").unwrap();
        for row in rows {
            let filling = "x".repeat(700);
            let sql = "INSERT INTO row VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value";
            self.connection.execute(sql, (row, number, filling)).unwrap();
            state[row as usize] = number;
        }
        self.connection.execute("INSERT INTO event VALUES (?1)", (number,)).unwrap();
        self.connection.execute_batch("COMMIT").unwrap();
        self.states.push(state);
        let frames = self.frames();
        if self.ends.last().is_some_and(|last| *last > frames) {
            self.ends.clear();
        }
        self.ends.push(frames);
        if let Some(mark) = &mut self.mark {
            mark.committed(frames as u32, number, 1);
        }
    }

    fn commits(&mut self, rng: &mut fastrand::Rng, count: usize) {
        for _ in 0..count {
            let rows = (0..rng.usize(1..6)).map(|_| rng.i64(0..ROWS)).collect();
            self.commit(rows);
        }
    }

    /// Moves all of the log to the main file; the next commit begins it anew.
    fn move_all(&mut self) {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let frames = self.frames();
        if let Some(mark) = &mut self.mark {
            mark.moved(frames as u32);
        }
    }

    /// What a kill leaves, in a directory of its own.
    fn killed(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }
}

/// Where a frame begins.
fn place(frame: usize) -> u64 {
    (HEADER + frame * (FRAME + PAGE)) as u64
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn cut(path: &Path, to: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap();
}

/// The newest transaction that the journal shows, whose rows must all be as it left them.
fn state(directory: &Path, sample: &Sample) -> Result<usize, String> {
    let connection = Connection::open(directory.join("journal.db")).unwrap();
    let all = || -> rusqlite::Result<(String, i64, Vec<i64>)> {
        let check = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let last = connection.query_row("SELECT max(seq) FROM event", [], |row| row.get(0))?;
        let mut rows = connection.prepare("SELECT value FROM row ORDER BY id")?;
        let rows = rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok((check, last, rows))
    };
    let (check, last, rows) = all().map_err(|error| error.to_string())?;
    if check != "ok" {
        return Err(check);
    }
    let number = usize::try_from(last).unwrap();
    if sample.states[number - 1] == rows { Ok(number) } else { Err(format!("a mixture at {number}")) }
}

/// Looks, repairs, and says what was found and which transaction is the last one then.
fn restore(directory: &Path, sample: &Sample) -> (Option<Loss>, Result<usize, String>) {
    let examined: Examined = examine(directory).unwrap();
    let loss = examined.loss();
    if loss.is_some() {
        examined.repair().unwrap();
        assert_eq!(examine_again(directory), None, "a repaired log is whole");
    }
    (loss, state(directory, sample))
}

/// Without the mark, which still speaks of the old log.
fn examine_again(directory: &Path) -> Option<Loss> {
    let mark = fs::read(mark_path(directory)).ok();
    let _ = fs::remove_file(mark_path(directory));
    let loss = examine(directory).unwrap().loss();
    mark.into_iter().for_each(|bytes| fs::write(mark_path(directory), bytes).unwrap());
    loss
}

#[test]
fn what_was_answered_is_missed_and_a_torn_end_is_not() {
    let mut sample = Sample::new();
    // The third transaction changes rows that no later one does, all over the table.
    for rows in [vec![1], vec![2], vec![3, 40, 80], vec![5], vec![6]] {
        sample.commit(rows);
    }
    let slot_of_all = fs::read(mark_path(sample.path())).unwrap();
    sample.mark = None;
    sample.commit(vec![70, 110]);
    let all = sample.states.len();
    let ends = sample.ends.clone();
    let (end, answered) = (ends[5], ends[4]);
    type Harm<'a> = Box<dyn Fn(&Path) + 'a>;
    let garbage = [0xa5; 512];
    let wal = |directory: &Path| directory.join("journal.db-wal");
    let in_frame = |frame: usize| -> Harm<'_> {
        Box::new(move |directory| overwrite(&wal(directory), place(frame) + 1024, &garbage))
    };
    let cases: Vec<(&str, Harm<'_>, Option<bool>, usize)> = vec![
        ("nothing", Box::new(|_| {}), None, all),
        ("the last transaction is torn", in_frame(end - 1), None, all - 1),
        (
            "the log ends in the last transaction",
            Box::new(|directory| cut(&wal(directory), place(end - 1) + 9)),
            None,
            all - 1,
        ),
        (
            "the last transaction is gone",
            Box::new(|directory| cut(&wal(directory), place(answered))),
            None,
            all - 1,
        ),
        (
            "zeros at the end",
            Box::new(|directory| {
                overwrite(&wal(directory), place(answered), &vec![0; (end - answered) * (FRAME + PAGE)]);
            }),
            None,
            all - 1,
        ),
        ("a frame that was answered", in_frame(ends[2] - 1), Some(true), all - 4),
        (
            "its header",
            Box::new(|directory| overwrite(&wal(directory), place(ends[2] - 1), &garbage[..24])),
            Some(true),
            all - 4,
        ),
        (
            "the log ends too soon",
            Box::new(|directory| cut(&wal(directory), place(ends[2]) + 100)),
            Some(true),
            all - 3,
        ),
        (
            "zeros in its second half",
            Box::new(|directory| {
                overwrite(&wal(directory), place(ends[1]), &vec![0; (end - ends[1]) * (FRAME + PAGE)]);
            }),
            Some(true),
            all - 4,
        ),
        (
            "the log's header and first frame",
            Box::new(|directory| overwrite(&wal(directory), 0, &garbage)),
            Some(true),
            all - 6,
        ),
        (
            "the log's header alone",
            Box::new(|directory| overwrite(&wal(directory), 8, &garbage[..4])),
            Some(false),
            all,
        ),
        ("the log is empty", Box::new(|directory| cut(&wal(directory), 0)), Some(true), all - 6),
        (
            "the log is gone",
            Box::new(|directory| fs::remove_file(wal(directory)).unwrap()),
            Some(true),
            all - 6,
        ),
        (
            "the shared memory is garbage",
            Box::new(|directory| fs::write(directory.join("journal.db-shm"), vec![0xa5; 32768]).unwrap()),
            None,
            all,
        ),
    ];
    for (name, harm, is_lost, last) in cases {
        let copy = sample.killed();
        fs::write(mark_path(copy.path()), &slot_of_all).unwrap();
        harm(copy.path());
        let (loss, found) = restore(copy.path(), &sample);
        assert_eq!((loss.as_ref().map(|loss| loss.is_lost), found), (is_lost, Ok(last)), "{name}: {loss:?}");
        let answered = all - 1;
        let wanted = (last < answered).then_some((last as u64 + 1, answered as u64));
        assert_eq!(loss.and_then(|loss| loss.events), wanted, "{name}");
    }
}

#[test]
fn without_a_mark_a_synced_transaction_is_told_by_the_next() {
    let mut sample = Sample::new();
    for rows in [vec![1], vec![50], vec![99]] {
        sample.commit(rows);
    }
    let ends = sample.ends.clone();
    // The row's page comes last in each transaction, and no other one holds it.
    for (end, is_lost, last) in [(ends[0], true, 1), (ends[1], true, 2), (ends[2], false, 3)] {
        let frame = end - 1;
        for mark in [None, Some(&[0xa5; 8192][..])] {
            let copy = sample.killed();
            match mark {
                Some(bytes) => fs::write(mark_path(copy.path()), bytes).unwrap(),
                None => fs::remove_file(mark_path(copy.path())).unwrap(),
            }
            overwrite(&copy.path().join("journal.db-wal"), place(frame) + 24, &[0xa5; 512]);
            assert_eq!(examine(copy.path()).unwrap().note.is_some(), mark.is_some());
            let (loss, found) = restore(copy.path(), &sample);
            assert_eq!((loss.is_some(), found), (is_lost, Ok(last)), "frame {frame}: {loss:?}");
        }
    }
}

#[test]
fn what_a_later_frame_or_the_main_file_has_is_not_lost() {
    let mut sample = Sample::new();
    sample.commit(vec![1]);
    sample.commit(vec![1]);
    sample.commit(vec![1]);
    let frames = sample.frames();
    let harm = |sample: &Sample, frame| {
        let copy = sample.killed();
        overwrite(&copy.path().join("journal.db-wal"), place(frame) + 512, &[0xa5; 512]);
        restore(copy.path(), sample)
    };
    for frame in 0..sample.ends[1] {
        let (loss, found) = harm(&sample, frame);
        assert_eq!(
            (loss.map(|loss| loss.is_lost), found),
            (Some(false), Ok(sample.states.len())),
            "frame {frame}"
        );
    }
    sample.move_all();
    for frame in 0..frames {
        let (loss, found) = harm(&sample, frame);
        assert_eq!(
            (loss.map(|loss| loss.is_lost), found),
            (Some(false), Ok(sample.states.len())),
            "frame {frame}"
        );
    }
}

#[test]
fn a_log_of_another_time_is_told() {
    let mut sample = Sample::new();
    sample.commit(vec![1, 40, 80]);
    let before = sample.killed();
    sample.commit(vec![2]);
    sample.move_all();
    sample.commit(vec![3]);
    // The mark of before: a power cut may leave it. The log was begun anew since.
    let copy = sample.killed();
    fs::copy(mark_path(before.path()), mark_path(copy.path())).unwrap();
    assert_eq!(restore(copy.path(), &sample), (None, Ok(4)));
    // The log of before: its pages must not cover those that the main file has since. SQLite would take it, and so find
    // the number before.
    let copy = sample.killed();
    fs::copy(before.path().join("journal.db-wal"), copy.path().join("journal.db-wal")).unwrap();
    let (loss, found) = restore(copy.path(), &sample);
    assert_eq!((loss.map(|loss| (loss.is_lost, loss.events)), found), (Some((true, Some((3, 4)))), Ok(3)));
    // Another program has moved all to the main file, as SQLite's shell does when it is closed.
    let copy = sample.killed();
    let shell = Connection::open(copy.path().join("journal.db")).unwrap();
    shell.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(shell);
    assert_eq!(restore(copy.path(), &sample), (None, Ok(4)));
    // Another journal's mark.
    let copy = sample.killed();
    let Found::Slot(slot) = read(copy.path()).unwrap() else { panic!("a mark") };
    let mut other = Slot { journal: 8, last: 99, ..slot };
    other.end.salts = [1, 2];
    fs::write(mark_path(copy.path()), other.write()).unwrap();
    assert!(examine(copy.path()).unwrap().note.is_some_and(|note| note.contains("another journal")));
    assert_eq!(restore(copy.path(), &sample), (None, Ok(4)));
    // One slot of the mark is torn: the other one is a commit older.
    let copy = sample.killed();
    let newest = if slot.count % 2 == 1 { 4096 } else { 0 };
    overwrite(&mark_path(copy.path()), newest + 40, &[0xa5; 8]);
    assert_eq!(restore(copy.path(), &sample), (None, Ok(4)));
    // The main file is gone, and the mark knows that there was one.
    let copy = sample.killed();
    fs::remove_file(copy.path().join("journal.db")).unwrap();
    let loss = examine(copy.path()).unwrap().loss().unwrap();
    assert_eq!((loss.is_lost, loss.events), (true, Some((1, 4))));
}

#[test]
fn any_damaged_place_leaves_a_whole_state_and_says_what_is_gone() {
    for seed in 0..if std::env::var_os("HOOKWEIR_LONG").is_some() { 2000 } else { 60 } {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sample = Sample::new();
        let (first, second) = (rng.usize(0..6), rng.usize(1..12));
        sample.commits(&mut rng, first);
        if rng.bool() {
            sample.move_all();
        }
        sample.commits(&mut rng, second);
        let copy = sample.killed();
        let is_marked = rng.u8(0..4) != 0;
        if !is_marked {
            fs::remove_file(mark_path(copy.path())).unwrap();
        }
        let wal = copy.path().join("journal.db-wal");
        let length = fs::metadata(&wal).unwrap().len();
        let mut garbage = vec![0; 512];
        (0..512).for_each(|at| garbage[at] = rng.u8(..));
        let kind = rng.u8(0..4);
        match kind {
            0 => cut(&wal, rng.u64(0..length)),
            1 => overwrite(&wal, rng.u64(0..length / 512) * 512, &vec![0; 512]),
            2 => overwrite(&wal, rng.u64(0..length), &[rng.u8(..)]),
            _ => overwrite(&wal, rng.u64(0..length / 512) * 512, &garbage),
        }
        let (loss, found) = restore(copy.path(), &sample);
        let last = sample.states.len();
        let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}, {loss:?}"));
        if is_marked {
            assert_eq!(
                loss.as_ref().is_some_and(|loss| loss.is_lost),
                found < last,
                "seed {seed}: {found} of {last}, {loss:?}"
            );
            let wanted = (found < last).then_some((found as u64 + 1, last as u64));
            assert_eq!(loss.and_then(|loss| loss.events), wanted, "seed {seed}");
        } else if loss.is_none() && kind != 0 {
            // Without a mark, a log that was cut short can't be told from a whole one.
            // A frame whose header is damaged does not tell whether it was the last one of its transaction.
            assert!(found + 2 >= last, "seed {seed}: {found} of {last}");
        }
    }
}
