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

fn entries(folder: &str) -> Vec<PathBuf> {
    // What has ended meanwhile has none.
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Of a process or a thread, from the beginning of proc_pid_stat(5).
#[derive(Debug)]
struct State {
    id: Option<Pid>,
    letter: char,
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
        Some(Self { id: pid(start.0), letter: fields.next()?.chars().next()?, group: pid(fields.nth(1)?) })
    }

    /// Stopped, or at its end.
    fn is_still(&self) -> bool {
        matches!(self.letter, 'T' | 'Z' | 'X')
    }
}
