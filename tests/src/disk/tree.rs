//! All of a disk that forgets: one folder of files, the syncs that were asked for, and those that fail.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::file::{File, Kept};
use super::{Grain, Image};

/// A file's number, and that of the one folder.
pub(super) type Number = u64;
pub(super) const FOLDER: Number = 1;
/// A link to a folder elsewhere.
pub(super) const ELSEWHERE: Number = 2;

/// Which syncs fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// The sync with this number, counted from 1, and no other one.
    Once(u64),
    /// This one and all that follow.
    From(u64),
    /// The next sync of the file with this name.
    NextOf(&'static str),
}

impl Failing {
    /// Whether the sync with this number, of the file with this name, fails.
    fn hits(self, sync: u64, name: Option<&str>) -> bool {
        match self {
            Self::Once(number) => sync == number,
            Self::From(number) => sync >= number,
            Self::NextOf(of) => name == Some(of),
        }
    }
}

/// A failed sync.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// The folder's names. `None` in a change: the name is gone.
#[derive(Debug, Clone, Default)]
struct Names {
    seen: BTreeMap<String, Number>,
    kept: BTreeMap<String, Number>,
    /// Changes that no sync of the folder has covered, oldest first; a file system keeps their order.
    changes: Vec<Vec<(String, Option<Number>)>>,
}

impl Names {
    fn change(&mut self, change: Vec<(String, Option<Number>)>) {
        apply(&mut self.seen, &change);
        self.changes.push(change);
    }

    fn keep(&mut self, most: usize) {
        let most = most.min(self.changes.len());
        self.changes.drain(..most).for_each(|change| apply(&mut self.kept, &change));
    }
}

fn apply(names: &mut BTreeMap<String, Number>, change: &[(String, Option<Number>)]) {
    for (name, number) in change {
        match number {
            Some(number) => names.insert(name.clone(), *number),
            None => names.remove(name),
        };
    }
}

/// The state of the disk.
#[derive(Debug)]
pub(super) struct Tree {
    names: Names,
    files: BTreeMap<Number, File>,
    next: Number,
    /// Of each handle: what it is of, and how many failures of that its owner was told of.
    handles: BTreeMap<u64, (Number, u64)>,
    next_handle: u64,
    /// How often the sync of a file, or of the folder, has failed.
    failures: BTreeMap<Number, u64>,
    failing: Option<Failing>,
    syncs: u64,
    /// Changes and syncs so far.
    steps: u64,
    rng: Rng,
}

impl Tree {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            next: ELSEWHERE + 1,
            handles: BTreeMap::new(),
            next_handle: 1,
            failures: BTreeMap::new(),
            failing: None,
            syncs: 0,
            steps: 0,
            rng: Rng::with_seed(seed),
        }
    }

    pub(super) fn fail(&mut self, failing: Option<Failing>) {
        self.failing = failing;
        self.syncs = 0;
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Number)> {
        self.names.seen.iter().map(|(name, number)| (name.as_str(), *number))
    }

    pub(super) fn named(&self, name: &str) -> Option<Number> {
        self.names.seen.get(name).copied()
    }

    pub(super) fn file(&self, number: Number) -> Option<&File> {
        self.files.get(&number)
    }

    /// To change a file.
    pub(super) fn file_mut(&mut self, number: Number) -> Option<&mut File> {
        self.steps += 1;
        self.files.get_mut(&number)
    }

    pub(super) fn create(&mut self, name: &str) -> Number {
        let number = self.next;
        self.next += 1;
        self.files.insert(number, File::default());
        self.rename_all(vec![(name.to_owned(), Some(number))]);
        number
    }

    /// Another name for a file.
    pub(super) fn link(&mut self, number: Number, name: &str) {
        self.rename_all(vec![(name.to_owned(), Some(number))]);
    }

    pub(super) fn unlink(&mut self, name: &str) -> bool {
        let is_there = self.named(name).is_some();
        if is_there {
            self.rename_all(vec![(name.to_owned(), None)]);
        }
        is_there
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(number) = self.named(from) else { return false };
        self.rename_all(vec![(from.to_owned(), None), (to.to_owned(), Some(number))]);
        true
    }

    fn rename_all(&mut self, change: Vec<(String, Option<Number>)>) {
        self.steps += 1;
        self.names.change(change);
    }

    pub(super) fn open(&mut self, number: Number) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        // Who opens it later is not told of what others were told of.
        self.handles.insert(handle, (number, self.failures.get(&number).copied().unwrap_or(0)));
        handle
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    /// A sync by a handle. A failure is told once to each handle that was open then, as Linux does.
    pub(super) fn sync(&mut self, number: Number, handle: u64) -> Result<(), Failed> {
        self.steps += 1;
        self.syncs += 1;
        let name = self.names().find(|(_, of)| *of == number).map(|(name, _)| name);
        let fails = self.failing.is_some_and(|failing| failing.hits(self.syncs, name));
        let failures = self.failures.entry(number).or_default();
        if fails {
            *failures += 1;
            self.failing.take_if(|failing| matches!(failing, Failing::NextOf(_)));
        }
        let failures = *failures;
        match (number, self.files.get_mut(&number)) {
            (FOLDER, _) if fails => {
                // The rest is to be written yet: a file system that can't write its own records is no longer written to.
                let some = self.rng.usize(0..=self.names.changes.len());
                self.names.keep(some);
            }
            (FOLDER, _) => self.names.keep(usize::MAX),
            (_, Some(file)) if fails => file.fail_sync(&mut self.rng),
            (_, Some(file)) => file.sync(),
            (_, None) => {}
        }
        match self.handles.get_mut(&handle) {
            Some((_, told)) if *told < failures => {
                *told = failures;
                Err(Failed)
            }
            _ => Ok(()),
        }
    }

    /// What the disk has now.
    pub(super) fn freeze(&self) -> Frozen {
        Frozen {
            kept: self.names.kept.clone(),
            changes: self.names.changes.clone(),
            files: self.files.iter().map(|(number, file)| (*number, file.kept())).collect(),
        }
    }
}

/// What a disk has at one moment, of which many power cuts can be made.
#[derive(Debug, Clone)]
pub struct Frozen {
    kept: BTreeMap<String, Number>,
    changes: Vec<Vec<(String, Option<Number>)>>,
    files: BTreeMap<Number, Kept>,
}

impl Frozen {
    /// The files that a power cut leaves, by seed.
    pub fn after_cut(&self, grain: Grain, seed: u64) -> Image {
        let mut rng = Rng::with_seed(seed);
        let mut names = self.kept.clone();
        let most = match grain {
            Grain::Nothing => 0,
            Grain::All => self.changes.len(),
            Grain::Parts(_) => rng.usize(0..=self.changes.len()),
        };
        self.changes[..most].iter().for_each(|change| apply(&mut names, change));
        let files = names.into_iter();
        Image(files.map(|(name, number)| (name, self.files[&number].after_cut(grain, &mut rng))).collect())
    }
}
