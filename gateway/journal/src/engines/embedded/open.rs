//! Opening: lock, file, tables, epoch, threads, in this order.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use hookweir_model::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

use super::backlog::Backlog;
use super::check::{self, Check};
use super::damage;
use super::directory::Directory;
use super::door::Door;
use super::fault::Fault;
use super::options::{Disk, Options, default_reserve};
use super::quarantine::Quarantine;
use super::read::{self, Readers, Source};
use super::recover::{self, Recovery};
use super::stats::Counters;
use super::wal::{self, Mark};
use super::writer::{self, Inbox, Start};
use super::{Embedded, Examined, Owner, Shared, examine, lock, repair, schema};
use crate::{Damage, Error};

/// How long the writer waits for another process that holds SQLite's write lock, such as a shell with an open
/// transaction, before it answers that it is busy.
const BUSY: Duration = Duration::from_secs(5);

/// Pages that the writer keeps in memory, in KiB.
const CACHE_KIB: u32 = 16 * 1024;

impl Embedded {
    /// Opens the journal in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Failed`] with a sentence where another process has the journal, a newer version wrote it, or the
    /// directory can't be used; [`Error::Corrupt`] where it is damaged beyond opening.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        open(path, options).map_err(Fault::of_read)
    }

    /// Opens the journal of a gateway that is not running, to look at it: every change is refused, and nothing in the
    /// directory is changed.
    ///
    /// # Errors
    /// [`Error::Failed`] with a sentence where there is none, a gateway is at work on it, or another version wrote it.
    pub fn look(path: &Path) -> Result<Self, Error> {
        look(path, "ask it, without --data, or stop it first").map_err(Fault::of_read)
    }

    /// Looks through all of the journal of a gateway that is not running, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Failed`] with a sentence where there is none, a gateway is at work on it, or another version wrote it.
    /// Damage is no error here.
    pub fn examine(path: &Path) -> Result<Examined, Error> {
        examine::examine(path).map_err(Fault::of_read)
    }

    /// What a start on the journal in a directory would find damaged in its write-ahead log, of a gateway that is not
    /// running. Nothing in the directory is changed.
    ///
    /// # Errors
    /// [`Error::Failed`] with a sentence where a gateway is at work on it, or a file can't be read.
    pub fn check_log(path: &Path) -> Result<Option<Damage>, Error> {
        recover::check(path)
    }
}

fn open(path: &Path, mut options: Options) -> Result<Embedded, Fault> {
    make_directory(path)?;
    let lock = lock::take(path)?;
    repair::finish(path)?;
    options.reserve = options.reserve.or_else(|| Some(default_reserve(Disk::under(path)?.total)));
    let mut recovery = Recovery::before(path, options.on_damage)?;
    wal::renew(path)?;
    let loaded = match load(path, &options, &mut recovery) {
        Err(fault) if is_of_pages(path, &fault) => {
            tracing::error!(
                target: "hookweir::journal",
                "the journal's file is damaged and is rebuilt now: {}",
                fault.of_read()
            );
            let report = repair::rebuild(path, &|| Ok(()))?;
            // What is missing now was lost with pages of the file. It is recorded, and no reason to refuse the start.
            recovery.go_on();
            let loaded = load(path, &options, &mut recovery)?;
            writer::record_rebuilding(&loaded.connection, &report)?;
            loaded
        }
        loaded => loaded?,
    };
    repair::keep_roots(path, &loaded.connection)?;
    let Loaded { connection, directory, backlog, last, epoch } = loaded;
    let mark = mark(path, &connection, last)?;
    let start = Start { last, lock, connection, mark };
    let shared = Arc::new(Shared {
        directory: RwLock::new(directory),
        epoch: AtomicU64::new(epoch.unsigned_abs()),
        door: Door::new(),
        inbox: Inbox::new(options.waiting_calls, options.waiting_bytes),
        readers: Readers::open(path, options.readers, Source::Written)?,
        quarantine: Quarantine::default(),
        backlog,
        counters: Counters::default(),
        check: Check::default(),
        damage: damage::Known::load(&start.connection)?,
        repair: repair::State::default(),
        path: path.to_owned(),
        options,
    });
    let of_writer = Arc::clone(&shared);
    let write = move || writer::run(&of_writer, start);
    let writer = thread::Builder::new().name("journal-writer".to_owned()).spawn(write);
    let writer =
        writer.map_err(|error| Fault::Other(format!("the journal's writer can't be started: {error}")))?;
    let embedded = Embedded {
        shared: Arc::clone(&shared),
        owner: tokio::sync::Mutex::new(Owner::default()),
        threads: Mutex::new(vec![writer]),
        _looks: None,
    };
    let check = check::start(&shared)?;
    embedded.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(check);
    Ok(embedded)
}

/// Whether a start has failed for a damaged page of our own file. A file that lacks what was answered may be an older one,
/// which is the operator's to decide, or may have lost it with a page.
fn is_of_pages(path: &Path, fault: &Fault) -> bool {
    let is_damaged = || {
        let connection = read::connect(path, Source::Written)?;
        // The last to close a journal would move its log, which is not to be touched yet.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok::<_, Fault>(found != "ok")
    };
    let is_of_pages = match fault {
        Fault::Corrupt(_) => true,
        Fault::Damaged(_) => is_damaged().unwrap_or_else(|fault| matches!(fault, Fault::Corrupt(_))),
        _ => false,
    };
    is_of_pages && repair::is_ours(path)
}

/// What a start reads. Damage that shows here is met before anyone is served.
struct Loaded {
    connection: Connection,
    directory: Directory,
    backlog: Backlog,
    last: i64,
    epoch: i64,
}

fn load(path: &Path, options: &Options, recovery: &mut Recovery) -> Result<Loaded, Fault> {
    let connection = connect(path, options.wal_limit())?;
    recovery.after(&connection)?;
    let can_shrink = let_it_shrink(&connection)?;
    schema::migrate(&connection)?;
    if !can_shrink {
        tracing::warn!(
            target: "hookweir::journal",
            "the journal in {} can't give freed space back to the disk: stop the gateway and run \
             sqlite3 journal.db 'PRAGMA auto_vacuum = 2; VACUUM' there once",
            path.display()
        );
    }
    let epoch = begin(&connection, recovery)?;
    let directory = Directory::load(&connection)?;
    if directory.is_unkept() {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        directory.keep(&connection)?;
        connection.execute_batch("COMMIT")?;
    }
    let backlog = Backlog::load(&connection)?;
    let last = writer::last_given(&connection)?;
    damage::Known::load(&connection)?;
    try_reads(&connection, &directory)?;
    Ok(Loaded { connection, directory, backlog, last, epoch })
}

/// Opens a journal that no gateway is at work on, to look at it. Nothing in the directory is changed.
/// `instead` says what to do while a gateway is at work on it.
pub(super) fn look(path: &Path, instead: &str) -> Result<Embedded, Fault> {
    if !path.join("journal.db").is_file() {
        return Err(Fault::Other(format!("there is no journal in {}", path.display())));
    }
    let lock = lock::share(path, instead)?;
    let options = Options::default();
    // A gateway that was killed leaves a log that SQLite has to read with the file.
    let has_log = fs::metadata(writer::wal_path(path)).is_ok_and(|log| log.len() > 0);
    let file = if has_log { Source::Written } else { Source::AtRest };
    let readers = Readers::open(path, options.readers, file)?;
    let connection = read::connect(path, file)?;
    schema::is_present(&connection)?;
    let door = Door::new();
    door.close();
    let shared = Shared {
        directory: RwLock::new(Directory::load(&connection)?),
        epoch: AtomicU64::new(0),
        door,
        inbox: Inbox::new(options.waiting_calls, options.waiting_bytes),
        readers,
        quarantine: Quarantine::default(),
        backlog: Backlog::default(),
        counters: Counters::default(),
        check: Check::default(),
        damage: damage::Known::load(&connection)?,
        repair: repair::State::default(),
        path: path.to_owned(),
        options,
    };
    Ok(Embedded {
        shared: Arc::new(shared),
        owner: tokio::sync::Mutex::default(),
        threads: Mutex::default(),
        _looks: lock,
    })
}

/// Makes the directory, for its owner alone: it holds what tenants send. Those above it have to be there: where a disk is
/// not mounted, an empty journal must not take the place of the one that lies on it.
fn make_directory(path: &Path) -> Result<(), Fault> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Fault::Other(format!("the journal's directory {} can't be made: {error}", path.display()))
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.exists() {
        return Err(Fault::Other(format!(
            "there is no folder {}, where the journal's is to be: mount its disk, or make the folder with mkdir -p",
            parent.display()
        )));
    }
    fs::DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
    // The entry of a new directory is as durable as what is kept in it.
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

/// Reads what a gateway reads before it serves: it ends where one of these reads fails, so that a damaged page must show
/// here, where the file is still rebuilt first.
fn try_reads(connection: &Connection, directory: &Directory) -> Result<(), Fault> {
    read::endpoint_states(connection)?;
    read::queues(connection)?;
    for lane in directory.all() {
        read::head(connection, lane, &[])?;
    }
    for (_, _, state) in read::plugin_states(connection)? {
        for digest in state.digests() {
            match read::blob(connection, digest) {
                Ok(_) | Err(Fault::Damaged(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(())
}

pub(super) fn connect(path: &Path, wal_limit: u64) -> Result<Connection, Fault> {
    let connection = Connection::open(path.join("journal.db"))?;
    connection.busy_timeout(BUSY)?;
    // The log is moved and emptied by the writer, which notes that in the mark, and by nobody else.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Checksums by page are not in SQLite; `cell_size_check` at least refuses pages that can't be right. Memory maps
    // stay off, since a failing disk would then end the process instead of a read.
    connection.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {wal_limit};
         PRAGMA cache_size = -{CACHE_KIB};
         PRAGMA cell_size_check = ON;
         PRAGMA foreign_keys = OFF;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;"
    ))?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode == "wal" {
        Ok(connection)
    } else {
        Err(Fault::Other(format!(
            "the journal in {} can't use a write-ahead log (SQLite chose {mode:?}): put it on a local disk",
            path.display()
        )))
    }
}

/// A file that was made by another program may have no map of its pages, without which none can be given back. A small one
/// is written anew with it; says whether the map is there.
fn let_it_shrink(connection: &Connection) -> Result<bool, Fault> {
    let mode: i64 = connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if mode != NO_MAP || pages == 0 {
        return Ok(true);
    }
    if pages > REWRITTEN {
        return Ok(false);
    }
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
    Ok(true)
}

/// What SQLite says of a file whose unused pages stay in it.
const NO_MAP: i64 = 0;
/// The most pages of 4 KiB that are written anew at a start: it takes about a second.
const REWRITTEN: i64 = 16 * 1024;

/// Takes a new epoch and keeps what was found, in one transaction.
fn begin(connection: &Connection, recovery: &Recovery) -> Result<i64, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let epoch = meta(connection, "epoch")?.unwrap_or(0) + 1;
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('epoch', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (epoch,),
    )?;
    connection
        .execute("INSERT INTO meta (name, value) VALUES ('journal', random()) ON CONFLICT DO NOTHING", [])?;
    recovery.keep(connection)?;
    transaction.commit()?;
    Ok(epoch)
}

/// Moves all of the log to the main file, so that the next commit begins it anew, and opens the mark.
pub(super) fn mark(path: &Path, connection: &Connection, last: i64) -> Result<Mark, Fault> {
    let number = recover::number(connection)?.unwrap_or(0);
    let mut mark = Mark::open(path, number)?;
    let (frames, moved) = match writer::move_pages(connection) {
        Ok(moved) => (moved.frames, moved.synced()),
        // What the log holds must be in the main file before more is added to a log whose sync has failed.
        Err(fault @ Fault::Io(_)) => return Err(fault),
        Err(fault) => {
            tracing::warn!(
                target: "hookweir::journal",
                "the journal's log could not be moved to its file, and is kept: {}",
                fault.of_write()
            );
            (writer::count_frames(connection)?, None)
        }
    };
    mark.committed(frames, last, Timestamp::now().as_millis());
    if let Some(moved) = moved {
        mark.moved(moved);
    }
    // A mark of before speaks of a log that may be gone, and of pages that will be others.
    mark.sync().map_err(|error| Fault::Io(format!("the journal's mark can't be synced: {error}")))?;
    Ok(mark)
}

fn meta(connection: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    Ok(connection
        // A value that is no number is damaged, and counts as one that is not there.
        .query_row("SELECT value FROM meta WHERE name = ?1", (name,), |row| Ok(row.get(0).ok()))
        .optional()?
        .flatten())
}
