//! Threads for lists, which may go through much: they give way to all other threads of the gateway, so that who looks takes
//! nothing from who sends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::Error;

/// How many lists are read at a time; others wait.
const THREADS: usize = 2;
/// By how much they give way: at a nice value of 10 a thread gets a tenth of what one at 0 gets, where both want a core.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Started when they are first needed. They end when this is dropped.
#[derive(Default)]
pub(super) struct Background(Mutex<Option<Sender<Job>>>);

impl Background {
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match &mut *jobs {
            Some(jobs) => jobs,
            none => none.insert(start().map_err(|error| {
                Error::Failed(format!("no thread could be started to read the journal: {error}"))
            })?),
        };
        // The threads hold the other end for as long as this one is there.
        jobs.send(Box::new(job))
            .map_err(|_| Error::Failed("the threads that read the journal are gone".to_owned()))
    }
}

fn start() -> std::io::Result<Sender<Job>> {
    let (jobs, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..THREADS {
        let waiting = Arc::clone(&waiting);
        thread::Builder::new().name("journal-lists".to_owned()).spawn(move || work(&waiting))?;
    }
    Ok(jobs)
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    // Of this thread alone. Where it is refused, lists are read as all else is.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "lists are read at the priority of all else");
    }
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // Who waits for it is told by what is dropped.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let background = Background::default();
        for _ in 0..2 * THREADS {
            background.run(|| panic!("a job that is to panic")).unwrap();
        }
        let (tell, told) = channel();
        background.run(move || tell.send(rustix::process::getpriority_process(None)).unwrap()).unwrap();
        assert_eq!(told.recv().unwrap().unwrap(), NICE);
        assert_ne!(rustix::process::getpriority_process(None).unwrap(), NICE, "of that thread alone");
    }
}
