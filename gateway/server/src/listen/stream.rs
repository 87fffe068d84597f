//! A connection that is given up when its peer does not read.
//!
//! What is written has to move at the [`Pace`]; while it does not, nothing more is read either, so that a peer that sends
//! request after request and reads no answer is told nothing more. Reading needs no clock here: heads and bodies have
//! theirs.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::Peer;
use super::pace::Pace;

#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    peer: Arc<Peer>,
    /// From the first write that found no room until all is written.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    pace: Pace,
    timer: Pin<Box<Sleep>>,
    /// Whether the last write found no room.
    is_blocked: bool,
    /// Whether a read was put off meanwhile.
    is_read_wanted: bool,
}

impl<S> Watched<S> {
    pub(super) const fn new(inner: S, peer: Arc<Peer>) -> Self {
        Self { inner, peer, pending: None }
    }

    /// What a write has come to, judged by the clock.
    fn judge(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Ok(bytes)) => {
                if let Some(pending) = &mut self.pending {
                    pending.moved(bytes, context);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let pending = self.pending.get_or_insert_with(Pending::start);
                ready!(pending.wait(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer")))
            }
        }
    }
}

impl Pending {
    fn start() -> Self {
        let pace = Pace::start(Instant::now());
        let timer = Box::pin(sleep_until(pace.deadline()));
        Self { pace, timer, is_blocked: false, is_read_wanted: false }
    }

    fn moved(&mut self, bytes: usize, context: &Context<'_>) {
        self.pace.moved(bytes, Instant::now());
        self.is_blocked = false;
        if std::mem::take(&mut self.is_read_wanted) {
            context.waker().wake_by_ref();
        }
    }

    /// Ready when the peer took too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.is_blocked = true;
        let deadline = self.pace.deadline();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The write that is blocked wakes the task that reads, too.
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.is_blocked) {
            pending.is_read_wanted = true;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.peer.read(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// It is called when all was written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        if self.pending.take().is_some_and(|pending| pending.is_read_wanted) {
            context.waker().wake_by_ref();
        }
        self.peer.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
