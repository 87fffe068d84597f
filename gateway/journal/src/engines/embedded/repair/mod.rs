//! A new file in place of one with damaged pages, made of all rows that can still be read.
//!
//! The new file is written beside the old one and takes its place by a rename, so that a crash at any moment leaves one
//! of them whole. What was damaged is kept, once, for those who want to look into it.

mod copy;
mod node;
mod pages;
mod state;
mod walk;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use self::copy::Copied;
use self::pages::Pages;
pub(super) use self::state::State;
use self::walk::{Harm, Roots, Walk};
use super::fault::Fault;
use super::options::Disk;
use super::schema;

/// Where the trees begin, kept beside the file: the page that tells may be damaged too.
const ROOTS: &str = "journal.roots";

/// A file in the making; complete; and the damaged one with its log, of which the last is kept.
const MAKING: &str = "journal.db.making";
const MADE: &str = "journal.db.made";
const DAMAGED: &str = "journal.db.damaged";

/// What a rebuilding found and what it brought along.
#[derive(Debug)]
pub(super) struct Report {
    harm: Harm,
    copied: Copied,
    /// Ranges of numbers between those that are there, in which events may be missing.
    pub(super) gaps: Vec<(i64, i64)>,
}

/// The version from which on the tables have the columns that are read here.
const FIRST_OF_THESE: u32 = 4;

/// How many gaps are told at most.
const GAPS: usize = 100;

impl Report {
    /// What was found and what follows from it, as a sentence for operators.
    pub(super) fn sentence(&self) -> String {
        let mut by_table: BTreeMap<&str, usize> = BTreeMap::new();
        for (table, _) in &self.harm.pages {
            *by_table.entry(*table).or_default() += 1;
        }
        let pages: Vec<String> = by_table.iter().map(|(table, count)| format!("{table}: {count}")).collect();
        let pages = if pages.is_empty() { "none".to_owned() } else { pages.join(", ") };
        let Copied { rows, refused, bare_events } = self.copied;
        format!(
            "the journal's file was rebuilt from the {rows} rows that could be read; damaged pages: {pages}; rows that \
             could not be used: {}; events of which only a name or number is left: {bare_events}; the damaged file is \
             kept as {DAMAGED}",
            refused + self.harm.cells as u64
        )
    }
}

/// Keeps where the trees begin, as the whole file says.
pub(super) fn keep_roots(directory: &Path, connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0")?;
    let roots = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let roots: BTreeMap<String, u32> = roots.collect::<Result<_, _>>()?;
    let text = serde_json::to_string(&roots).map_err(|error| Fault::Other(error.to_string()))?;
    let path = directory.join(ROOTS);
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let kept = fs::write(directory.join("journal.roots.making"), &text)
        .and_then(|()| fs::rename(directory.join("journal.roots.making"), &path));
    // A full disk is no reason not to open. It is tried again at the next start.
    if let Err(error) = kept {
        tracing::warn!(target: "hookweir::journal", "{} was not written: {error}", path.display());
    }
    Ok(())
}

fn roots(directory: &Path, walk: &mut Walk<'_>) -> Result<Roots, Fault> {
    let found = walk.roots()?;
    let kept = fs::read_to_string(directory.join(ROOTS)).ok();
    let kept: Roots = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut roots = kept;
    for (name, root) in found {
        // Both agree unless one is damaged, and the map of parents knows the roots.
        if walk.is_root(root) || !roots.contains_key(&name) {
            roots.insert(name, root);
        }
    }
    Ok(roots)
}

/// Whether the file is a journal of this version, damaged or not, and none of something else.
pub(super) fn is_ours(directory: &Path) -> bool {
    let Ok(pages) = Pages::open(directory) else { return false };
    let head = pages.read(1).unwrap_or_default();
    let is_sqlite = head.starts_with(b"SQLite format 3\0");
    let version = pages::u32_at(&head, 60);
    if is_sqlite && version.is_some_and(|version| (1..FIRST_OF_THESE).contains(&version)) {
        // Its tables are others, and nothing here reads them.
        return false;
    }
    is_sqlite || directory.join(ROOTS).is_file()
}

/// Makes a new file of what can be read and puts it in the place of the damaged one. Nobody may have the file open.
/// `look` is asked now and then whether to go on.
pub(super) fn rebuild(directory: &Path, look: &dyn Fn() -> Result<(), Fault>) -> Result<Report, Fault> {
    let size = |name: &str| fs::metadata(directory.join(name)).map_or(0, |file| file.len());
    let needed = size("journal.db") + size("journal.db-wal");
    if Disk::under(directory).is_some_and(|disk| disk.free < needed) {
        return Err(Fault::Other(format!(
            "the journal in {} is damaged, and to rebuild it {needed} bytes must be free on its disk: make room there",
            directory.display()
        )));
    }
    let making = directory.join(MAKING);
    remove(&making)?;
    let pages = Pages::open(directory).map_err(|error| failed(directory, &error))?;
    let mut walk = Walk::new(&pages);
    let roots = roots(directory, &mut walk)?;
    let new = Connection::open(&making)?;
    new.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;",
    )?;
    schema::migrate(&new)?;
    let copied = copy::copy(&mut walk, &roots, &new, look)?;
    let harm = std::mem::take(&mut walk.harm);
    if copied.rows == 0 {
        return Err(Fault::Corrupt(format!("nothing in the journal in {} can be read", directory.display())));
    }
    let lost_events = harm.pages.iter().any(|(table, _)| *table == "event") || harm.cells > 0;
    let gaps = if lost_events { gaps(&new)? } else { Vec::new() };
    drop(new);
    let durable = File::open(&making).and_then(|file| file.sync_all());
    durable
        .and_then(|()| fs::rename(&making, directory.join(MADE)))
        // Its name is on disk before the log of the damaged file, which nothing else holds, is put aside.
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| failed(directory, &error))?;
    finish(directory)?;
    Ok(Report { harm, copied, gaps })
}

/// Ranges of numbers that no event has. Events that expired before older ones leave such ranges too.
fn gaps(connection: &Connection) -> Result<Vec<(i64, i64)>, Fault> {
    let mut statement = connection.prepare(
        "SELECT before + 1, seq - 1 FROM (SELECT seq, lag(seq) OVER (ORDER BY seq) AS before FROM \
           (SELECT seq FROM event UNION SELECT value + 1 FROM meta WHERE name = 'seq')) \
         WHERE before < seq - 1 LIMIT ?1",
    )?;
    let gaps = statement.query_map((GAPS as u32,), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(gaps.collect::<Result<_, _>>()?)
}

/// Puts a complete new file in its place. A crash in the middle is made good by doing it again: while the new file is
/// there under its first name, nothing was written since.
pub(super) fn finish(directory: &Path) -> Result<(), Fault> {
    let place = |name: &str| directory.join(name);
    if !place(MADE).is_file() {
        return remove(&place(MAKING));
    }
    let swap = || -> io::Result<()> {
        // It tells of the log of before.
        let _ = fs::remove_file(place("journal.mark"));
        let log = place("journal.db-wal");
        if log.exists() {
            // The damaged file is whole with its log alone; and a log of before must not meet the new file.
            fs::rename(&log, place("journal.db.damaged-wal"))?;
        }
        let _ = fs::remove_file(place("journal.db-shm"));
        let (old, kept) = (place("journal.db"), place(DAMAGED));
        let _ = fs::remove_file(&kept);
        // It is kept where the file system can have it under two names, and else it is not.
        if old.exists()
            && let Err(error) = fs::hard_link(&old, &kept)
        {
            tracing::warn!(
                target: "hookweir::journal",
                "the damaged file of the journal was not kept: {error}"
            );
        }
        File::open(directory)?.sync_all()?;
        fs::rename(place(MADE), &old)?;
        File::open(directory)?.sync_all()
    };
    swap().map_err(|error| failed(directory, &error))
}

fn remove(path: &PathBuf) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::Other(format!("{} can't be removed: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn failed(directory: &Path, error: &io::Error) -> Fault {
    Fault::Other(format!("the damaged journal in {} could not be rebuilt: {error}", directory.display()))
}
