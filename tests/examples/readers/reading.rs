//! Readers: each asks for one page after another, as a script or somebody at the dashboard does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookweir_tests::Admin;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::figures::Asked;
use crate::pages::Page;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) readers: usize,
    /// From the start of a reader's request to that of its next one, if the answer is there by then.
    pub(crate) pause: Option<Duration>,
}

impl Reading {
    /// Reads until `work` is done, and answers what came of that. What was under way then is not counted.
    pub(crate) async fn during<T>(
        self,
        admin: &Admin,
        pages: &Arc<[Page]>,
        asked: &mut Asked,
        work: impl Future<Output = T>,
    ) -> T {
        // Readers go on where those of the last run ended, so that every page has its turn.
        let turn = Arc::new(AtomicUsize::new(asked.calls()));
        let (tell, mut told) = unbounded_channel();
        let mut readers = JoinSet::new();
        for _ in 0..self.readers {
            readers.spawn(read(admin.clone(), pages.clone(), turn.clone(), self.pause, tell.clone()));
        }
        drop(tell);
        let done = tokio::select! {
            done = work => done,
            Some(ended) = readers.join_next() => panic!("a reader gave up: {ended:?}"),
        };
        readers.shutdown().await;
        while let Ok((page, took)) = told.try_recv() {
            asked.note(page, took);
        }
        done
    }
}

async fn read(
    admin: Admin,
    pages: Arc<[Page]>,
    turn: Arc<AtomicUsize>,
    pause: Option<Duration>,
    tell: UnboundedSender<(usize, Duration)>,
) {
    let mut beat = pause.map(interval);
    if let Some(beat) = &mut beat {
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        if let Some(beat) = &mut beat {
            beat.tick().await;
        }
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let (place, lap) = (turn % pages.len(), turn / pages.len());
        let paths = &pages[place].paths;
        let path = &paths[lap % paths.len()];
        let started = Instant::now();
        admin.get(path).await.expect(200);
        if tell.send((place, started.elapsed())).is_err() {
            return;
        }
    }
}
