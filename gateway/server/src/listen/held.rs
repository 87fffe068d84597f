//! Answers that are held until their callers have read them.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::budget::{Over, Share};

/// Smaller answers are not counted: a connection has that much in buffers anyway.
const SMALL: usize = 4 << 10;

/// Marks an answer whose bytes have their share of the budget already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held;

/// Bytes with their share of the budget. They are given back with the last slice of them, which is when they are written or
/// their connection is gone.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ties bytes to a share, which is made as large as they are.
pub(crate) fn hold(bytes: Bytes, mut share: Share) -> Result<Bytes, Over> {
    share.grow(bytes.len().saturating_sub(share.bytes()))?;
    share.shrink_to(bytes.len());
    Ok(Bytes::from_owner(Counted { bytes, _share: share }))
}

/// Counts an answer that is there as a whole. One that comes by and by is bounded by what its connection buffers.
pub(crate) async fn count<B>(
    response: Response<B>,
    share: impl FnOnce() -> Share,
) -> Result<Response<B>, Over>
where
    B: Body<Data = Bytes> + From<Bytes>,
{
    let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
    if size.is_none_or(|size| size <= SMALL) || response.extensions().get::<Held>().is_some() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    // What is there as a whole does not fail.
    let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    Ok(Response::from_parts(head, B::from(hold(bytes, share())?)))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::super::budget::Budget;
    use super::*;

    #[tokio::test]
    async fn it_is_counted_until_the_last_slice_of_it_is_gone() {
        let budget = Budget::new(100 << 10);
        let share = || budget.share(None, 1);
        let answer = |size: usize| Response::new(Full::new(Bytes::from(vec![0; size])));
        let small = count(answer(SMALL), share).await.unwrap();
        assert_eq!(budget.held(), 0);
        let large = count(answer(60 << 10), share).await.unwrap();
        let mut bytes = large.into_body().collect().await.unwrap().to_bytes();
        let rest = bytes.split_off(59 << 10);
        drop(bytes);
        assert_eq!(budget.held(), 60 << 10);
        assert_eq!(count(answer(60 << 10), share).await.unwrap_err(), Over::All);
        drop(rest);
        assert_eq!(budget.held(), 0);
        drop(small);
    }
}
