//! Processes by their numbers, and those that stand still for a while, as after `kill -STOP`.
//!
//! The system answers whoever sends that signal before it has arrived: threads that run go on until each is told. Who is
//! to find everything silent waits for the last of them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use tokio::process::Child;

use crate::eventually::eventually;

/// The number of a child, which is that of its group too where it was given one; none once it has ended.
pub fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

/// Waits until every thread of these processes stands still.
pub(crate) async fn halted(processes: impl Fn() -> Vec<Pid>) {
    eventually("all threads to stand still", async || {
        let threads = processes()
            .into_iter()
            .flat_map(|process| entries(&format!("/proc/{}/task", process.as_raw_nonzero())))
            .filter_map(|thread| State::read(&thread));
        let moving: Vec<State> = threads.filter(|state| !state.is_still()).collect();
        if moving.is_empty() { Ok(()) } else { Err(format!("{moving:?}")) }
    })
    .await;
}

/// The processes that a group has now.
pub(crate) fn processes_of(group: Pid) -> Vec<Pid> {
    let states = entries("/proc").into_iter().filter_map(|process| State::read(&process));
    states.filter(|state| state.group == Some(group)).filter_map(|state| state.id).collect()
}

/// The processes that a process has started and that have not ended.
pub fn children_of(parent: u32) -> Vec<Pid> {
    let parent = Pid::from_raw(parent.cast_signed());
    let states = entries("/proc").into_iter().filter_map(|process| State::read(&process));
    states.filter(|state| state.parent == parent && !state.has_ended()).filter_map(|state| state.id).collect()
}

/// Whether a process is at its end, or gone.
pub fn has_ended(process: Pid) -> bool {
    let folder = format!("/proc/{}", process.as_raw_nonzero());
    State::read(Path::new(&folder)).is_none_or(|state| state.has_ended())
}

fn entries(folder: &str) -> Vec<PathBuf> {
    // What has ended meanwhile has none.
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Of a process or a thread, from the beginning of proc_pid_stat(5).
#[derive(Debug)]
struct State {
    id: Option<Pid>,
    letter: char,
    parent: Option<Pid>,
    group: Option<Pid>,
}

impl State {
    /// Nothing where it has ended, or is neither.
    fn read(folder: &Path) -> Option<Self> {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let pid = |field: &str| Pid::from_raw(field.parse().ok()?);
        // The name stands in brackets and may hold anything, brackets too.
        let (start, end) = (stat.split_once(' ')?, stat.rsplit_once(") ")?);
        let mut fields = end.1.split(' ');
        let letter = fields.next()?.chars().next()?;
        Some(Self { id: pid(start.0), letter, parent: pid(fields.next()?), group: pid(fields.next()?) })
    }

    /// Stopped, or at its end.
    fn is_still(&self) -> bool {
        self.letter == 'T' || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        matches!(self.letter, 'Z' | 'X')
    }
}
