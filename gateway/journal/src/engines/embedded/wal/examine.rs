//! Looks at log and mark before SQLite does, and says what was found.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use hookweir_model::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

use super::mark::{self, Found, Slot};
use super::plan::{Harm, Main, Plan, plan};
use super::rewrite::rewrite;
use super::scan::{Log, PAGE, scan};
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::read::{Source, connect};
use crate::engines::embedded::writer::{last_given, wal_path};

/// How many damaged logs are kept aside; of more, the oldest are removed.
const KEPT: usize = 3;

/// What was found. Nothing is changed yet.
#[derive(Debug)]
pub(in crate::engines::embedded) struct Examined {
    directory: PathBuf,
    log: Log,
    slot: Option<Slot>,
    plan: Plan,
    /// The number given last, as SQLite would find it; `None` where it can't be told.
    last: Option<u64>,
    /// What is to be said though nothing is damaged.
    pub(in crate::engines::embedded) note: Option<String>,
}

/// Damage, in words and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engines::embedded) struct Loss {
    /// What was found, as a sentence without its end.
    pub(in crate::engines::embedded) what: String,
    /// The first and last number of events that were answered and are missing.
    pub(in crate::engines::embedded) events: Option<(u64, u64)>,
    /// Whether anything that was answered is missing; where not, all of it was restored.
    pub(in crate::engines::embedded) is_lost: bool,
    /// Whether the journal is left with pages of different states: then some events of the range may be there.
    pub(in crate::engines::embedded) is_mixed: bool,
}

/// Reads the mark and the log of a journal that nobody has open.
pub(in crate::engines::embedded) fn examine(directory: &Path) -> Result<Examined, Fault> {
    let failed = |what: &str, error: &io::Error| {
        Fault::Other(format!("the journal's {what} in {} can't be read: {error}", directory.display()))
    };
    let found = mark::read(directory).map_err(|error| failed("mark", &error))?;
    let mut slot = match found {
        Found::Slot(slot) => Some(slot),
        Found::None | Found::Damaged => None,
    };
    let mut note = (found == Found::Damaged).then(|| {
        "the journal's mark is damaged: a log that was cut short can't be told from a whole one at this start".to_owned()
    });
    let is_there = fs::metadata(directory.join("journal.db")).is_ok_and(|file| file.len() > 0);
    if !is_there {
        let plan = match slot {
            Some(slot) if slot.last > 0 || slot.end.frames > 0 => Plan::Missing { why: "journal.db is gone" },
            _ => Plan::Whole,
        };
        let directory = directory.to_owned();
        return Ok(Examined { directory, log: Log::default(), slot, plan, last: Some(0), note });
    }
    let read = |slot: Option<&Slot>| {
        let log = read_log(directory, slot).map_err(|error| failed("log", &error))?;
        let plan = plan(&log, slot, &mut MainFile::of(directory));
        Ok::<_, Fault>((log, plan))
    };
    let (mut log, mut plan) = read(slot.as_ref())?;
    let mut last = None;
    // Another journal's mark says nothing of this one. That takes a look by SQLite, which changes nothing.
    if plan != Plan::Whole
        && let Ok(seen) = look(directory)
    {
        last = Some(seen.last);
        if slot.is_some_and(|slot| seen.journal.is_some_and(|journal| journal != slot.journal)) {
            note = Some("the journal's mark is that of another journal, and is made anew".to_owned());
            slot = None;
            (log, plan) = read(None)?;
        }
    }
    Ok(Examined { directory: directory.to_owned(), log, slot, plan, last, note })
}

fn read_log(directory: &Path, slot: Option<&Slot>) -> io::Result<Log> {
    let hint = slot.map(|slot| slot.end).filter(|end| end.frames > 0).map(|end| end.salts);
    match File::open(wal_path(directory)) {
        Ok(file) => scan(BufReader::with_capacity(1 << 16, file), hint),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Log::default()),
        Err(error) => Err(error),
    }
}

/// What SQLite would find.
struct Seen {
    last: u64,
    journal: Option<u64>,
}

fn look(directory: &Path) -> Result<Seen, Fault> {
    // Where there is no log, SQLite need not make one.
    let has_log = fs::metadata(wal_path(directory)).is_ok_and(|log| log.len() > 0);
    let connection = connect(directory, if has_log { Source::Written } else { Source::AtRest })?;
    // The last to close a journal would move its log, which is not to be touched yet.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(Seen { last: last_given(&connection)?.unsigned_abs(), journal: journal(&connection)? })
}

/// The number that tells this journal from others; a journal of an earlier version has none yet.
fn journal(connection: &Connection) -> Result<Option<u64>, Fault> {
    let sql = "SELECT value FROM meta WHERE name = 'journal'";
    let found: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(found.map(i64::cast_unsigned))
}

impl Examined {
    /// What was answered and is missing, or was restored; `None` where SQLite reads the log right.
    pub(in crate::engines::embedded) fn loss(&self) -> Option<Loss> {
        let (what, is_lost, is_mixed) = match &self.plan {
            Plan::Whole => return None,
            Plan::Missing { why } => ((*why).to_owned(), true, false),
            Plan::Rewrite { harm, .. } => (in_words(harm), harm.lost_from.is_some(), harm.is_mixed),
        };
        // Where nobody can tell what is there, it may be any.
        let last = if is_mixed { self.last.or(Some(0)) } else { self.last };
        let events = self.missing(last).filter(|_| is_lost);
        Some(Loss { what, events, is_lost, is_mixed })
    }

    /// The events that were answered and have higher numbers than any that is there.
    pub(in crate::engines::embedded) fn missing(&self, last: Option<u64>) -> Option<(u64, u64)> {
        let (marked, last) = (self.slot?.last, last?);
        (last < marked).then_some((last + 1, marked))
    }

    /// When the last answer was given, as far as the mark tells.
    pub(in crate::engines::embedded) fn answered_at(&self) -> Option<Timestamp> {
        let at = self.slot?.at.cast_signed();
        (at > 0).then(|| Timestamp::from_millis(at))
    }

    /// Whether the mark is this journal's, where a journal has a number.
    pub(in crate::engines::embedded) fn is_of(&self, journal: Option<i64>) -> bool {
        self.slot.is_some_and(|slot| journal.is_none_or(|journal| journal.cast_unsigned() == slot.journal))
    }

    /// Keeps what was found aside, puts a log in place that holds what can be had, and answers where the old one is.
    pub(in crate::engines::embedded) fn repair(&self) -> io::Result<Option<PathBuf>> {
        let Plan::Rewrite { pages, size, .. } = &self.plan else { return set_aside(&self.directory, false) };
        let aside = set_aside(&self.directory, true)?;
        rewrite(&self.directory, &self.log, pages, *size)?;
        Ok(aside)
    }
}

fn in_words(harm: &Harm) -> String {
    let place = match harm.at {
        Some(frame) => format!("frame {frame} of the write-ahead log is not what was written"),
        None => "the header of the write-ahead log is not what was written".to_owned(),
    };
    let many = match harm.bad {
        0 | 1 => String::new(),
        bad => format!(" ({bad} frames in all)"),
    };
    let mixed = if harm.is_mixed { ", and pages of the main file are ahead of it" } else { "" };
    format!("{place}{many}{mixed}")
}

/// Keeps the damaged log beside the journal under a name of its own, and answers its path; `None` where there is none.
fn set_aside(directory: &Path, is_replaced: bool) -> io::Result<Option<PathBuf>> {
    let log = wal_path(directory);
    if !log.exists() {
        return Ok(None);
    }
    let prefix = "journal.db-wal.damaged-";
    let mut kept: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            kept.push(entry.path());
        }
    }
    kept.sort();
    let too_many = (kept.len() + 1).saturating_sub(KEPT);
    kept.iter().take(too_many).try_for_each(fs::remove_file)?;
    let to = directory.join(format!("{prefix}{:013}", Timestamp::now().as_millis()));
    // A link costs no room; but SQLite writes to the log in place, so that it is good only where the log is replaced.
    if !is_replaced || fs::hard_link(&log, &to).is_err() {
        fs::copy(&log, &to)?;
    }
    Ok(Some(to))
}

/// The main file, read page by page when it is asked for.
///
/// It is opened late: closing any handle on it would take away the locks of a connection of this process.
struct MainFile {
    path: PathBuf,
    file: Option<File>,
}

impl MainFile {
    fn of(directory: &Path) -> Self {
        Self { path: directory.join("journal.db"), file: None }
    }

    fn file(&mut self) -> Option<&File> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        self.file.as_ref()
    }
}

impl Main for MainFile {
    fn page(&mut self, number: u32) -> Option<Vec<u8>> {
        let place = u64::from(number.checked_sub(1)?) * PAGE as u64;
        let mut content = vec![0; PAGE];
        self.file()?.read_exact_at(&mut content, place).ok()?;
        Some(content)
    }

    fn pages(&mut self) -> u32 {
        let bytes = self.file().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
        u32::try_from(bytes / PAGE as u64).unwrap_or(u32::MAX)
    }
}
