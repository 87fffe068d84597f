//! The threads that plugins run on. They are the system's own threads, not the runtime's: a plugin that computes for
//! its whole deadline must not make sockets wait.
//!
//! Jobs wait in a queue for each tenant ([`crate::fair`]), of bounded length. Whoever hands a job over waits for room
//! and then for its end; if it stops waiting, a job that has not begun is dropped and a result is thrown away.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hookweir_model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::fair::{Conduct, Fair, Service};

/// How far the thread for tenants that overran stands back behind all else that the machine does.
const NICE: i32 = 19;

/// Jobs of one tenant that may wait for a thread. More wait outside, where they cost no place in line.
const ROOM: usize = 256;

pub(crate) struct Threads<J, R> {
    shared: Arc<Shared<J, R>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<J, R> {
    state: Mutex<State<J, R>>,
    wake: Condvar,
    /// The thread that stands back waits here: it has nothing to do in a gateway whose plugins behave.
    wake_stood_back: Condvar,
}

struct State<J, R> {
    queue: Fair<Task<J, R>>,
    rooms: HashMap<TenantId, Arc<Semaphore>>,
    /// Threads that wait for work: ordinary ones, and the one that stands back. Where none does, none has to be woken,
    /// which would be a call of the system for each job.
    idle: Idle,
    closing: bool,
}

#[derive(Debug, Default)]
struct Idle {
    ordinary: usize,
    stood_back: usize,
}

impl Idle {
    const fn of(&mut self, service: Service) -> &mut usize {
        match service {
            Service::Ordinary => &mut self.ordinary,
            Service::StoodBack => &mut self.stood_back,
        }
    }
}

struct Task<J, R> {
    job: J,
    answer: oneshot::Sender<R>,
    _room: OwnedSemaphorePermit,
}

impl<J: Send + 'static, R: Send + 'static> Threads<J, R> {
    /// Starts `count` threads, and one for tenants that overran, that put each job through `work`. One that panics has no
    /// result.
    pub(crate) fn start(
        count: usize,
        work: impl Fn(&J) -> (R, Conduct) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let count = count.max(1);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Fair::new(count),
                rooms: HashMap::new(),
                idle: Idle::default(),
                closing: false,
            }),
            wake: Condvar::new(),
            wake_stood_back: Condvar::new(),
        });
        let work = Arc::new(work);
        // Made first, so that the threads already started end if a later one can't be.
        let threads = Self { shared: Arc::clone(&shared), handles: Mutex::default() };
        let ordinary = (0..count).map(|number| (format!("plugin-{number}"), Service::Ordinary));
        for (name, service) in ordinary.chain([("plugin-back".to_owned(), Service::StoodBack)]) {
            let shared = Arc::clone(&shared);
            let work = Arc::clone(&work);
            let handle = std::thread::Builder::new().name(name).spawn(move || {
                if service == Service::StoodBack {
                    stand_back();
                }
                shared.serve(service, work.as_ref());
            })?;
            threads.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
        Ok(threads)
    }

    /// Puts a job through and answers its result; `None` where it panicked, and once the threads are closed.
    pub(crate) async fn run(&self, tenant: &TenantId, job: J) -> Option<R> {
        // A statement of its own: the lock must be open again before the wait.
        let room = self.shared.lock().room(tenant)?;
        let room = room.acquire_owned().await.ok()?;
        let (answer, result) = oneshot::channel();
        let (service, sleeps) = {
            let mut state = self.shared.lock();
            if state.closing {
                return None;
            }
            let service = state.queue.push(tenant, Task { job, answer, _room: room });
            (service, *state.idle.of(service) > 0)
        };
        if sleeps {
            self.shared.waits_for(service).notify_one();
        }
        result.await.ok()
    }

    /// Ends the threads and waits for them: each for the call that it is in. Jobs that wait are dropped.
    pub(crate) fn close(&self) {
        self.shared.close();
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!(target: "hookweir::plugin", "a plugin thread panicked");
            }
        }
    }
}

impl<J, R> Drop for Threads<J, R> {
    /// Lets the threads end; only [`Threads::close`] waits for them.
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<J, R> Shared<J, R> {
    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        // No code of a guest or of a job runs under the lock, so a panic can't have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.queue.clear();
        for room in state.rooms.values() {
            room.close();
        }
        drop(state);
        self.wake.notify_all();
        self.wake_stood_back.notify_all();
    }

    /// Where the threads of a service wait for work.
    const fn waits_for(&self, service: Service) -> &Condvar {
        match service {
            Service::Ordinary => &self.wake,
            Service::StoodBack => &self.wake_stood_back,
        }
    }

    /// The life of one thread.
    fn serve(&self, service: Service, work: &(impl Fn(&J) -> (R, Conduct) + ?Sized)) {
        let mut state = self.lock();
        while !state.closing {
            let Some((tenant, task)) = state.queue.take(service) else {
                state.forget_unused_rooms();
                *state.idle.of(service) += 1;
                state = self.waits_for(service).wait(state).unwrap_or_else(PoisonError::into_inner);
                *state.idle.of(service) -= 1;
                continue;
            };
            drop(state);
            let mut conduct = Conduct::Good;
            if !task.answer.is_closed() {
                match catch_unwind(AssertUnwindSafe(|| work(&task.job))) {
                    Ok((result, shown)) => {
                        conduct = shown;
                        // Nobody waits any more if this fails.
                        drop(task.answer.send(result));
                    }
                    // The thread goes on, and the tenant's place with it: the job has no result.
                    Err(_) => tracing::error!(
                        target: "hookweir::plugin",
                        %tenant,
                        "a job of a plugin thread panicked"
                    ),
                }
            }
            state = self.lock();
            // What waits of this tenant may now be another service's to take, whose threads sleep.
            if let Some(service) = state.queue.done(&tenant, conduct) {
                self.waits_for(service).notify_all();
            }
        }
    }
}

/// Lets every other thread of the machine go first. On Linux that is a thread's own property.
fn stand_back() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(
            target: "hookweir::plugin",
            %error,
            "the thread for plugins that overran runs beside the others"
        );
    }
}

impl<J, R> State<J, R> {
    /// The waiting room of the tenant; `None` once the threads are closed.
    fn room(&mut self, tenant: &TenantId) -> Option<Arc<Semaphore>> {
        if self.closing {
            return None;
        }
        let room = self.rooms.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(ROOM)));
        Some(Arc::clone(room))
    }

    /// Tenants come and go; a room that nobody holds a place in or waits for is made again when it is needed.
    fn forget_unused_rooms(&mut self) {
        self.rooms.retain(|_, room| Arc::strong_count(room) > 1);
    }
}

impl<J, R> fmt::Debug for Threads<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[tokio::test]
    async fn answers_come_back_to_whoever_asked() {
        let threads = Arc::new(Threads::start(3, |job: &u64| (job * 2, Conduct::Good)).unwrap());
        let waits: Vec<_> = (0..500_u64)
            .map(|job| {
                let threads = Arc::clone(&threads);
                tokio::spawn(async move { (job, threads.run(&tenant("a"), job).await) })
            })
            .collect();
        for wait in waits {
            let (job, result) = wait.await.unwrap();
            assert_eq!(result, Some(job * 2));
        }
        threads.close();
        assert_eq!(threads.run(&tenant("a"), 1).await, None);
    }

    #[tokio::test]
    async fn a_job_that_panics_costs_neither_its_thread_nor_its_tenants_place() {
        let work = |job: &u64| if *job == 7 { panic!("a job") } else { (*job, Conduct::Good) };
        let threads = Threads::start(1, work).unwrap();
        for _ in 0..3 {
            assert_eq!(threads.run(&tenant("a"), 7).await, None);
            assert_eq!(threads.run(&tenant("a"), 1).await, Some(1));
        }
        assert_eq!(threads.run(&tenant("b"), 2).await, Some(2));
        threads.close();
    }

    /// Two threads; tenant a has 64 jobs that each take until they are let go. All of b's are done before a's second.
    #[tokio::test]
    async fn a_tenant_that_hangs_leaves_a_thread() {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (begun, begins) = mpsc::channel::<&'static str>();
        let threads = Arc::new(
            Threads::start(2, move |job: &&'static str| {
                begun.send(job).unwrap();
                if *job == "a" {
                    held.lock().unwrap().recv().unwrap();
                }
                ((), Conduct::Good)
            })
            .unwrap(),
        );
        let spawn = |name: &'static str| {
            let threads = Arc::clone(&threads);
            tokio::spawn(async move { threads.run(&tenant(name), name).await })
        };
        let stuck: Vec<_> = (0..64).map(|_| spawn("a")).collect();
        let good: Vec<_> = (0..64).map(|_| spawn("b")).collect();
        for wait in good {
            assert_eq!(wait.await.unwrap(), Some(()));
        }
        let order: Vec<_> = begins.try_iter().collect();
        assert_eq!(order.iter().filter(|name| **name == "a").count(), 1, "a is capped at one of two threads");
        assert_eq!(order.iter().filter(|name| **name == "b").count(), 64);
        for _ in 0..64 {
            let_go.send(()).unwrap();
        }
        for wait in stuck {
            assert_eq!(wait.await.unwrap(), Some(()));
        }
        threads.close();
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_begun() {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (begun, begins) = mpsc::channel::<&'static str>();
        let threads = Arc::new(
            Threads::start(1, move |job: &&'static str| {
                begun.send(job).unwrap();
                held.lock().unwrap().recv().unwrap();
                ((), Conduct::Good)
            })
            .unwrap(),
        );
        let first = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { threads.run(&tenant("a"), "first").await }
        });
        let started = tokio::task::spawn_blocking(move || (begins.recv().unwrap(), begins));
        let (name, begins) = started.await.unwrap();
        assert_eq!(name, "first");
        // Polled once, so that it is in the queue, and then given up.
        let owner = tenant("a");
        let mut abandoned = Box::pin(threads.run(&owner, "abandoned"));
        assert!(
            std::future::poll_fn(|context| {
                std::task::Poll::Ready(abandoned.as_mut().poll(context).is_pending())
            })
            .await
        );
        drop(abandoned);
        for _ in 0..2 {
            let_go.send(()).unwrap();
        }
        assert_eq!(first.await.unwrap(), Some(()));
        assert_eq!(threads.run(&tenant("a"), "last").await, Some(()));
        assert_eq!(begins.try_iter().collect::<Vec<_>>(), ["last"]);
        threads.close();
    }

    #[tokio::test]
    async fn closing_ends_what_waits() {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (begun, begins) = mpsc::channel::<()>();
        let threads = Arc::new(
            Threads::start(1, move |(): &()| {
                begun.send(()).unwrap();
                held.lock().unwrap().recv().unwrap();
                ((), Conduct::Good)
            })
            .unwrap(),
        );
        let spawn = || {
            let threads = Arc::clone(&threads);
            tokio::spawn(async move { threads.run(&tenant("a"), ()).await })
        };
        let running = spawn();
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        // More than there is room for, so that some wait outside the queue.
        let waiting: Vec<_> = (0..ROOM + 10).map(|_| spawn()).collect();
        let closing = tokio::task::spawn_blocking({
            let threads = Arc::clone(&threads);
            move || threads.close()
        });
        for wait in waiting {
            assert_eq!(wait.await.unwrap(), None);
        }
        let_go.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Some(()), "a call that has begun is finished");
        closing.await.unwrap();
    }

    /// One ordinary thread, and the one that stands back. A tenant that overran hangs, and the other goes on.
    #[tokio::test]
    async fn a_tenant_that_overran_leaves_the_ordinary_threads_alone() {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (begun, begins) = mpsc::channel::<()>();
        let threads = Arc::new(
            Threads::start(1, move |job: &&'static str| match *job {
                "overrun" => ((), Conduct::Overran),
                "hang" => {
                    begun.send(()).unwrap();
                    held.lock().unwrap().recv().unwrap();
                    ((), Conduct::Overran)
                }
                _ => ((), Conduct::Good),
            })
            .unwrap(),
        );
        assert_eq!(threads.run(&tenant("a"), "overrun").await, Some(()));
        let stuck = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { threads.run(&tenant("a"), "hang").await }
        });
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        for _ in 0..100 {
            assert_eq!(threads.run(&tenant("b"), "good").await, Some(()));
        }
        let_go.send(()).unwrap();
        assert_eq!(stuck.await.unwrap(), Some(()));
        threads.close();
    }
}
