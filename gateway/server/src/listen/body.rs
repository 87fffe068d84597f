//! Bodies of requests: read at a minimal pace, up to a size, and within a budget.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::budget::{Over, Share};
use super::pace::Pace;

/// A body must be whole by then, however steadily it comes.
pub(super) const WHOLE: Duration = Duration::from_secs(15 * 60);
/// A body that is said to be larger has its bytes of the budget before anything of it is read.
const LARGE: usize = 64 << 10;

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is larger than this many bytes.
    TooLarge(usize),
    TooSlow,
    /// The connection ended, or its framing is wrong.
    Broken,
    /// Too many bytes of bodies are under way.
    Over(Over),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge(_) => "the body is too large",
            Self::TooSlow => "the body came too slowly",
            Self::Broken => "the body broke off",
            Self::Over(_) => "too many bytes of bodies are under way",
        })
    }
}

impl std::error::Error for Cut {}

/// A body with bounds.
pub(crate) struct Paced<B, F> {
    inner: B,
    limit: usize,
    declared: Option<usize>,
    read: usize,
    pace: Pace,
    whole: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    account: Account<F>,
    cut: Option<Arc<OnceLock<Cut>>>,
}

/// The body's part of the budget, which is opened when there is anything to count: most bodies come in one piece.
enum Account<F> {
    Closed(F),
    Open(Share),
    Opening,
}

impl<F: FnOnce() -> Share> Account<F> {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Cut> {
        *self = match std::mem::replace(self, Self::Opening) {
            Self::Closed(open) => Self::Open(open()),
            other => other,
        };
        let Self::Open(share) = self else { return Ok(()) };
        share.grow(bytes.saturating_sub(share.bytes())).map_err(Cut::Over)
    }
}

impl<B: Body<Data = Bytes> + Unpin, F: FnOnce() -> Share + Unpin> Paced<B, F> {
    /// The clock starts now. `share` opens an empty share for it.
    pub(crate) fn new(headers: &HeaderMap, inner: B, limit: usize, share: F) -> Self {
        let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let now = Instant::now();
        Self {
            inner,
            limit,
            declared,
            read: 0,
            pace: Pace::start(now),
            whole: now + WHOLE,
            timer: None,
            account: Account::Closed(share),
            cut: None,
        }
    }

    /// Notes there why it was cut, for callers that see no more of it than that it failed.
    pub(crate) fn noting(self, cut: &Arc<OnceLock<Cut>>) -> Self {
        Self { cut: Some(Arc::clone(cut)), ..self }
    }

    /// What must hold before any of it is read.
    fn before(&mut self) -> Result<(), Cut> {
        match self.declared {
            Some(bytes) if bytes > self.limit => Err(Cut::TooLarge(self.limit)),
            Some(bytes) if bytes > LARGE => self.account.grow_to(bytes),
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Cut> {
        self.read = self.read.saturating_add(bytes);
        if self.read > self.limit {
            return Err(Cut::TooLarge(self.limit));
        }
        self.pace.moved(bytes, Instant::now());
        // The last piece of a short body is handed on at once.
        if self.read == bytes && self.inner.is_end_stream() {
            return Ok(());
        }
        self.account.grow_to(self.read.max(self.declared.unwrap_or(0)))
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.read == 0 {
            self.before()?;
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.take(frame.data_ref().map_or(0, Bytes::len))?;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Cut::Broken))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = self.pace.deadline().min(self.whole);
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
                Poll::Ready(Some(Err(Cut::TooSlow)))
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin, F: FnOnce() -> Share + Unpin> Body for Paced<B, F> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let polled = ready!(self.poll_inner(context));
        if let (Some(Err(why)), Some(cut)) = (&polled, &self.cut) {
            // The first reason counts.
            let _ = cut.set(*why);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The whole of a body. Its share of the budget is given back with the answer: what it becomes is bounded elsewhere.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    share: impl FnOnce() -> Share + Unpin,
) -> Result<Bytes, Cut> {
    let mut body = Paced::new(headers, body, limit, share);
    let mut first = Bytes::new();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing of an event.
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve_exact(body.declared.unwrap_or(2 * first.len()).min(limit).max(first.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { Bytes::from(whole) })
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    use super::super::budget::Budget;
    use super::*;

    fn headers(length: Option<usize>) -> HeaderMap {
        length.map(|length| (CONTENT_LENGTH, length.into())).into_iter().collect()
    }

    /// A body whose pieces come when the test sends them.
    fn body() -> (mpsc::UnboundedSender<usize>, impl Body<Data = Bytes, Error = Cut> + Unpin) {
        let (sender, receiver) = mpsc::unbounded_channel::<usize>();
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
            let size = receiver.recv().await?;
            Some((Ok::<_, Cut>(Frame::data(Bytes::from(vec![b'x'; size]))), receiver))
        });
        (sender, StreamBody::new(Box::pin(pieces)))
    }

    #[tokio::test]
    async fn what_is_under_way_is_counted() {
        let budget = Budget::new(400 << 10);
        let share = || budget.share(None, 1);
        let too_large = read(&headers(Some(2000)), body().1, 1000, share).await;
        assert_eq!(too_large, Err(Cut::TooLarge(1000)));

        let (sender, stream) = body();
        let mut declared = Paced::new(&headers(Some(300 << 10)), stream, 1 << 20, share);
        sender.send(1).unwrap();
        declared.frame().await.unwrap().unwrap();
        assert_eq!(budget.held(), 300 << 10, "a declared length counts as a whole");

        let (sender, stream) = body();
        let mut grows = Paced::new(&headers(None), stream, 1 << 20, || {
            budget.share(Some(hookweir_model::TenantId::new("a").unwrap()), 1)
        });
        for held in [340 << 10, 380 << 10] {
            sender.send(40 << 10).unwrap();
            grows.frame().await.unwrap().unwrap();
            assert_eq!(budget.held(), held, "what comes in chunks counts as it comes");
        }
        sender.send(40 << 10).unwrap();
        assert_eq!(grows.frame().await.unwrap().unwrap_err(), Cut::Over(Over::All));
        drop((declared, grows));
        assert_eq!(budget.held(), 0);
    }
}
