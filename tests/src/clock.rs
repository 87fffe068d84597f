//! The clocks of one gateway, which a test can move while it works, and nobody else's.
//!
//! A small library that is loaded before the C library's own functions adds what this says to each reading. The kernel
//! does not know of it: it reports steps of the real clock only, and a sleep takes as long as it
//! takes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::{NamedTempFile, TempDir};

use crate::places::target;

const SOURCE: &str = include_str!("clock.c");

/// The clocks of a gateway, as far as they are not the machine's own.
#[derive(Debug)]
pub struct Clock {
    _folder: TempDir,
    path: PathBuf,
    file: File,
    /// Nanoseconds that the wall clock alone is ahead, and that all clocks are.
    ahead: Mutex<[i64; 2]>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Clocks that say what the machine says.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the clock");
        let path = folder.path().join("clock");
        fs::write(&path, [0; 16]).expect("the clock to be written");
        let file = File::options().write(true).open(&path).expect("the clock to be opened");
        Self { _folder: folder, path, file, ahead: Mutex::default() }
    }

    /// Clocks of a machine that has just been started and has no battery: it is 1970.
    pub fn of_1970() -> Self {
        let clock = Self::new();
        clock.to_1970();
        clock
    }

    /// The machine was started and has no battery: by the wall clock a minute of 1970 is over.
    pub fn to_1970(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.change(|ahead| ahead[0] = -nanos(now.saturating_sub(Duration::from_secs(60))));
    }

    /// Sets the wall clock forward. The monotonic clock goes on.
    pub fn forward(&self, by: Duration) {
        self.change(|ahead| ahead[0] += nanos(by));
    }

    /// Sets the wall clock back. The monotonic clock goes on.
    pub fn back(&self, by: Duration) {
        self.change(|ahead| ahead[0] -= nanos(by));
    }

    /// Sets the wall clock to what the machine says.
    pub fn set_right(&self) {
        self.change(|ahead| ahead[0] = 0);
    }

    /// Has time pass, by all clocks. A task of the gateway that waits for less is woken by the next request, and a thread
    /// that waits for a moment sleeps longer by as much.
    pub fn pass(&self, time: Duration) {
        self.change(|ahead| ahead[1] += nanos(time));
    }

    fn change(&self, change: impl FnOnce(&mut [i64; 2])) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut ahead);
        for (number, place) in ahead.iter().zip([0, 8]) {
            self.file.write_all_at(&number.to_ne_bytes(), place).expect("the clock to be set");
        }
    }

    /// What a process is started with whose clocks these are.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.to_str().expect("a path that is text").to_owned();
        [("LD_PRELOAD".to_owned(), text(library())), ("HOOKWEIR_TEST_CLOCK".to_owned(), text(&self.path))]
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).expect("less than three centuries")
}

/// The library, compiled once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = target().join("test-clock");
        fs::create_dir_all(&folder).expect("a folder for the library");
        let source = folder.join("clock.c");
        // Another run may be at it: each file is whole before it has its name.
        let draft = NamedTempFile::new_in(&folder).expect("a file for the source");
        fs::write(draft.path(), SOURCE).expect("the source to be written");
        draft.persist(&source).expect("the source to get its name");
        let library = NamedTempFile::new_in(&folder).expect("a file for the library");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([library.path(), &source])
            .status()
            .expect("a C compiler");
        assert!(compiled.success(), "the library that moves clocks was not compiled: {compiled}");
        let path = folder.join("clock.so");
        library.persist(&path).expect("the library to get its name");
        path
    })
}
