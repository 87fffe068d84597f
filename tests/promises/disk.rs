//! Small file systems, which another program may fill. One of a test's own takes a mount namespace.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookweir_tests::Gateway;
use tempfile::TempDir;

use crate::namespace::{run, text};

#[derive(Debug)]
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn mount(mib: u32) -> Self {
        let place = tempfile::tempdir().expect("a place for the file system");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "none", text(place.path())]);
        Self(place)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another program takes all that is left, to the last byte.
    pub(crate) fn fill(&self) {
        fill(self.path());
    }

    /// It gives that back.
    pub(crate) fn clear(&self) {
        fs::remove_file(filler(self.path())).expect("the file that filled it");
    }

    /// Starts a gateway again while the file system is full, which it is no more when the gateway listens. Where the journal's
    /// files have nothing left for what a start writes, it waits for room; else it listens, and takes no event.
    pub(crate) async fn start_while_full(&self, gateway: &mut Gateway) {
        let is_early = {
            let mut listening = std::pin::pin!(gateway.try_listen_again());
            let early = tokio::time::timeout(LISTENS, &mut listening).await;
            let is_early = early.is_ok();
            let started = match early {
                Ok(started) => started,
                Err(_) => {
                    self.clear();
                    listening.await
                }
            };
            started.expect("a start on a full disk");
            is_early
        };
        if is_early {
            let ready = gateway.admin().get("/readyz").await;
            assert_eq!(ready.status, 503, "{ready}");
            self.clear();
        }
    }
}

/// A gateway that does not listen by then waits for room, most likely; nothing depends on it.
const LISTENS: Duration = Duration::from_secs(3);

/// Takes all that is left of the file system of this folder, to the last byte.
pub(crate) fn fill(folder: &Path) {
    let mut file = File::options().create(true).append(true).open(filler(folder)).expect("a file");
    for size in [1 << 20, 4096, 1] {
        let block = vec![0; size];
        loop {
            match file.write(&block) {
                Ok(written) if written == size => {}
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the file system can't be filled: {error}"),
            }
        }
    }
}

fn filler(folder: &Path) -> PathBuf {
    folder.join("filler")
}
