//! Mounts the disk, and answers the kernel: system calls on the mounted folder become changes of the tree.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{getgid, getuid};

use super::State;
use super::tree::{ELSEWHERE, FOLDER, Failed, Number, Tree};
use super::wire::{
    Answer, Attributes, Call, EXISTS, Errno, FAILED, INIT_FLAGS, MOST, NOT_FOUND, Request, UNKNOWN, VERSION,
};

/// What ends a read of `/dev/fuse` once nothing is mounted any more.
const NO_DEVICE: i32 = 19;
/// A disk of 4 GiB that is never full.
const BLOCKS: u64 = 1 << 20;

/// What does not belong to the journal, and lies in another folder: what plugins were compiled to.
pub(super) const PLUGINS: &str = "plugins";

/// Mounts, and serves until it is unmounted. Compiled plugins go to `elsewhere`.
pub(super) fn mount(folder: &Path, elsewhere: &Path, state: Arc<Mutex<State>>) -> io::Result<JoinHandle<()>> {
    let elsewhere = elsewhere.as_os_str().as_encoded_bytes().to_vec();
    let mut kernel = File::options().read(true).write(true).open("/dev/fuse")?;
    let owner = [getuid().as_raw(), getgid().as_raw()];
    // The descriptor that the kernel is told of is the standard input of the program that mounts.
    let options = format!("fd=0,rootmode=40000,user_id={},group_id={}", owner[0], owner[1]);
    let mounted = Command::new("mount")
        .args(["-i", "-t", "fuse", "-o", &options, "forgetful"])
        .arg(folder)
        .stdin(Stdio::from(kernel.try_clone()?))
        .status()?;
    if !mounted.success() {
        return Err(io::Error::other(format!("mount ended with {mounted}")));
    }
    let serve = move || {
        let mut buffer = vec![0; MOST as usize + 4096];
        loop {
            let read = match kernel.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.raw_os_error() == Some(NO_DEVICE) => return,
                // A request was given up before it was read.
                Err(_) => continue,
            };
            let Some(request) = Request::read(&buffer[..read]) else { continue };
            let answer = match answer(&state, &request, owner) {
                _ if request.call == Call::Target => Answer::default().bytes(&elsewhere).to(request.unique),
                None => continue,
                Some(Ok(answer)) => answer.to(request.unique),
                Some(Err(error)) => error.to(request.unique),
            };
            // Who asked may be gone.
            let _ = kernel.write(&answer);
        }
    };
    thread::Builder::new().name("disk".to_owned()).spawn(serve)
}

/// `None` where no answer is wanted.
fn answer(state: &Mutex<State>, request: &Request<'_>, owner: [u32; 2]) -> Option<Result<Answer, Errno>> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match &request.call {
        Call::Silent => return None,
        Call::Init { readahead } => {
            let [major, minor] = VERSION;
            let answer = Answer::default().words([major, minor, *readahead, INIT_FLAGS, 0, MOST, 1]);
            Ok(answer.words([0; 9]))
        }
        Call::Nothing => Ok(Answer::default()),
        Call::Room => Ok(Answer::default().longs([BLOCKS; 5]).words([4096, 255, 4096, 0]).words([0; 6])),
        call => of_tree(&mut state.tree, request.number, call, owner),
    };
    state.stepped();
    Some(answer)
}

fn of_tree(tree: &mut Tree, number: Number, call: &Call<'_>, owner: [u32; 2]) -> Result<Answer, Errno> {
    let done = Answer::default();
    match *call {
        Call::Lookup(PLUGINS) => Ok(done.entry(attributes(tree, ELSEWHERE, owner)?)),
        Call::Lookup(name) => {
            let number = tree.named(name).ok_or(NOT_FOUND)?;
            Ok(done.entry(attributes(tree, number, owner)?))
        }
        Call::Attributes => Ok(done.attributes_alone(attributes(tree, number, owner)?)),
        Call::Resize(size) => {
            // Owners, modes and times decide nothing here.
            if let Some(size) = size {
                tree.file_mut(number).ok_or(NOT_FOUND)?.resize(place(size));
            }
            Ok(done.attributes_alone(attributes(tree, number, owner)?))
        }
        Call::Create(name) => {
            let number = tree.create(name);
            let handle = tree.open(number);
            Ok(done.entry(attributes(tree, number, owner)?).handle(handle, is_direct(tree, number)))
        }
        Call::Link { name, .. } if tree.named(name).is_some() => Err(EXISTS),
        Call::Link { number, name } => {
            tree.link(number, name);
            Ok(done.entry(attributes(tree, number, owner)?))
        }
        Call::Unlink(name) if tree.unlink(name) => Ok(done),
        Call::Rename { from, to } if tree.rename(from, to) => Ok(done),
        Call::Unlink(_) | Call::Rename { .. } => Err(NOT_FOUND),
        Call::Open => Ok(done.handle(tree.open(number), is_direct(tree, number))),
        Call::Read { at, most } => {
            let file = tree.file(number).ok_or(NOT_FOUND)?;
            Ok(done.bytes(file.read(place(at), most as usize)))
        }
        Call::Write { at, bytes } => {
            tree.file_mut(number).ok_or(NOT_FOUND)?.write(place(at), bytes);
            Ok(done.words([bytes.len() as u32, 0]))
        }
        Call::Sync { handle } => match tree.sync(number, handle) {
            Ok(()) => Ok(done),
            Err(Failed) => Err(FAILED),
        },
        Call::Close { handle } => {
            tree.close(handle);
            Ok(done)
        }
        Call::List { from, most } => Ok(list(tree, place(from), most as usize)),
        _ => Err(UNKNOWN),
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn attributes(tree: &Tree, number: Number, owner: [u32; 2]) -> Result<Attributes, Errno> {
    let (mode, size) = match number {
        FOLDER => (0o040_700, 0),
        ELSEWHERE => (0o120_777, 0),
        _ => (0o100_600, tree.file(number).ok_or(NOT_FOUND)?.len() as u64),
    };
    Ok(Attributes { number, size, mode, owner })
}

/// SQLite maps its shared memory, which can't be had without the kernel's cache.
fn is_direct(tree: &Tree, number: Number) -> bool {
    number != FOLDER && !tree.names().any(|(name, of)| of == number && name.ends_with("-shm"))
}

fn list(tree: &Tree, from: usize, most: usize) -> Answer {
    let mut answer = Answer::default();
    let dots = [(".", FOLDER), ("..", FOLDER)];
    for (at, (name, number)) in dots.into_iter().chain(tree.names()).enumerate().skip(from) {
        if !answer.listed(number, at as u64 + 1, number == FOLDER, name, most) {
            break;
        }
    }
    answer
}
