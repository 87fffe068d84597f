//! How long it takes to dial, part by part, and how the first request on a connection comes to know it.
//!
//! A pool dials in a future of its own, through layers that know nothing of each other. What they measure meets in a
//! value of that future's task, and then goes with the connection.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hookweir_model::Timings;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

tokio::task_local! {
    /// What the dialling that is under way has measured.
    static DIAL: Cell<Timings>;
}

/// Notes how long the name took, if a connection is being dialled.
pub(crate) fn looked_up(since: Instant) {
    note(|timings| timings.lookup_us = Some(micros(since.elapsed())));
}

fn note(change: impl FnOnce(&mut Timings)) {
    let _ = DIAL.try_with(|dial| {
        let mut timings = dial.get();
        change(&mut timings);
        dial.set(timings);
    });
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Runs a dialling, and joins to its connection what was measured meanwhile.
pub(super) async fn timed<S, E>(
    is_tls: bool,
    dialling: impl Future<Output = Result<S, E>>,
) -> Result<Dialled<S>, E> {
    let started = Instant::now();
    let (inner, timings) = DIAL
        .scope(Cell::default(), async { dialling.await.map(|inner| (inner, DIAL.with(Cell::get))) })
        .await?;
    let before = timings.lookup_us.unwrap_or(0) + timings.connect_us.unwrap_or(0);
    let tls_us = is_tls.then(|| micros(started.elapsed()).saturating_sub(before));
    Ok(Dialled { inner, first: First { timings: Timings { tls_us, ..timings }, told: Arc::default() } })
}

/// The layer of TCP, which looks the name up too.
#[derive(Debug, Clone)]
pub(super) struct Tcp<C>(pub C);

impl<C> Service<Uri> for Tcp<C>
where
    C: Service<Uri, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let started = Instant::now();
            let connected = connecting.await?;
            note(|timings| {
                let whole = micros(started.elapsed());
                timings.connect_us = Some(whole.saturating_sub(timings.lookup_us.unwrap_or(0)));
            });
            Ok(connected)
        })
    }
}

/// What the first request on a connection is told of how it came about.
#[derive(Debug, Clone)]
pub(super) struct First {
    timings: Timings,
    told: Arc<AtomicBool>,
}

impl First {
    /// The timings, the first time that they are asked for.
    pub(super) fn take(&self) -> Option<Timings> {
        (!self.told.swap(true, Ordering::Relaxed)).then_some(self.timings)
    }
}

/// A connection that knows how it came about.
#[derive(Debug)]
pub(super) struct Dialled<S> {
    inner: S,
    first: First,
}

impl<S: Connection> Connection for Dialled<S> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.first.clone())
    }
}

impl<S: Read + Unpin> Read for Dialled<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Dialled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }
}
