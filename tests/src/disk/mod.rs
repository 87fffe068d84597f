//! A disk that forgets what was not synced, and whose syncs fail when a test says so.
//!
//! It is a file system in this process's memory, served to the kernel by FUSE, so that it sees every system call of the
//! gateway, however it is made. It knows of each file what is seen of it and what would be left after a power cut: all
//! that a sync has covered, and of what came after it nothing, all, or some state of each sector or page by chance, so
//! that writes are reordered and torn. Names of the folder are there once the folder was synced, before that up to some
//! change by chance. A sync of a file that fails loses what it should have brought to the disk, though mostly it is seen as
//! before and the next sync succeeds: that is what Linux does. Each handle that was open then is told once.
//!
//! Mounting takes root.

mod file;
mod serve;
mod tree;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fastrand::Rng;
use tempfile::TempDir;
use tokio::sync::oneshot;

use self::tree::Tree;
pub use self::tree::{Failing, Frozen};

/// How much of what was not synced a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Nothing.
    Nothing,
    /// All: as after a kill.
    All,
    /// Some state of each part of so many bytes.
    Parts(usize),
}

impl Grain {
    /// One of all, by chance.
    pub fn random(rng: &mut Rng) -> Self {
        [Self::Nothing, Self::All, Self::Parts(512), Self::Parts(4096), Self::Parts(512), Self::Parts(4096)]
            [rng.usize(0..6)]
    }
}

/// A folder's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(BTreeMap<String, Vec<u8>>);

impl Image {
    /// Writes them into a folder.
    pub fn write(&self, folder: &Path) {
        for (name, content) in &self.0 {
            fs::write(folder.join(name), content).expect("a file of the image to be written");
        }
    }
}

/// A disk that is mounted.
pub struct Disk {
    state: Arc<Mutex<State>>,
    server: Option<JoinHandle<()>>,
    folder: TempDir,
    _elsewhere: TempDir,
}

/// The disk, and who waits for a moment of it.
struct State {
    tree: Tree,
    watch: Option<(u64, Watch)>,
}

type Watch = Box<dyn FnOnce(Frozen) + Send>;

impl State {
    /// Called after each change or sync.
    fn stepped(&mut self) {
        if let Some((_, watch)) = self.watch.take_if(|(step, _)| self.tree.steps() >= *step) {
            watch(self.tree.freeze());
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Disk {
    /// Mounts an empty one. What its failed syncs lose is by seed.
    pub fn mount(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder to mount on");
        let elsewhere = tempfile::tempdir().expect("a folder for compiled plugins");
        let state = Arc::new(Mutex::new(State { tree: Tree::new(seed), watch: None }));
        let server = serve::mount(folder.path(), elsewhere.path(), Arc::clone(&state))
            .expect("/dev/fuse, and the right to mount: run the tests as root");
        Self { state, server: Some(server), folder, _elsewhere: elsewhere }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Which of the syncs from now on fail, if any. They are counted from 1.
    pub fn fail(&self, failing: Option<Failing>) {
        self.with(|state| state.tree.fail(failing));
    }

    /// How many syncs there were since that was said.
    pub fn syncs(&self) -> u64 {
        self.with(|state| state.tree.syncs())
    }

    /// How many changes and syncs there were.
    pub fn steps(&self) -> u64 {
        self.with(|state| state.tree.steps())
    }

    /// What it has now.
    pub fn freeze(&self) -> Frozen {
        self.with(|state| state.tree.freeze())
    }

    /// What it will have after so many more changes and syncs, and what `look` answers at that very moment.
    pub fn freeze_after<T: Send + 'static>(
        &self,
        steps: u64,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<(Frozen, T)> {
        let (tell, told) = oneshot::channel();
        self.with(|state| {
            let watch: Watch = Box::new(move |frozen| {
                // Where nobody waits any more, the test has failed.
                let _ = tell.send((frozen, look()));
            });
            state.watch = Some((state.tree.steps() + steps, watch));
        });
        told
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.folder.path()).status();
        // While a process has a file open there, it stays, and so must the folder: the process of the test has a mount
        // namespace of its own, which ends with it.
        let is_unmounted = unmounted.is_ok_and(|status| status.success());
        if is_unmounted && let Some(server) = self.server.take() {
            // A panic of the server has shown as one of the test.
            let _ = server.join();
        }
    }
}
