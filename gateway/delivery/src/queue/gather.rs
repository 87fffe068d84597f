//! Messages that go together: while requests to a queue are under way, those that come meanwhile wait and leave as one
//! batch. There is no timer, so that a lone message waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::{Fault, lock};

/// How much one request takes, and how many are under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) requests: usize,
}

/// What became of one message: what the broker acknowledged.
pub(crate) type Ended = Result<String, Fault>;

/// The messages of one kind of broker, by the queue that they are for.
pub(crate) struct Gather<K, M> {
    bounds: Bounds,
    queues: Arc<Mutex<HashMap<K, Waiting<M>>>>,
}

struct Waiting<M> {
    items: VecDeque<Item<M>>,
    under_way: usize,
}

struct Item<M> {
    message: M,
    bytes: usize,
    ended: oneshot::Sender<Ended>,
}

impl<K: Clone + Eq + Hash + Send + 'static, M: Send + 'static> Gather<K, M> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, queues: Arc::default() }
    }

    /// Hands a message over and waits for its own end. Where another request may be made for it, `post` makes what sends
    /// batches, and answers for each message of one in their order; the key says all that it depends on.
    pub(crate) async fn send<P, F>(
        &self,
        key: &K,
        message: M,
        bytes: usize,
        post: impl FnOnce() -> P,
    ) -> Ended
    where
        P: Fn(Vec<M>) -> F + Send + 'static,
        F: Future<Output = Vec<Ended>> + Send + 'static,
    {
        let (ended, end) = oneshot::channel();
        let item = Item { message, bytes, ended };
        if push(&self.queues, key, item, self.bounds.requests) {
            tokio::spawn(work(Arc::clone(&self.queues), key.clone(), self.bounds, post()));
        }
        end.await.unwrap_or_else(|_| Err(Fault::lost()))
    }
}

/// Whether another request may be made for it.
fn push<K: Clone + Eq + Hash, M>(
    queues: &Mutex<HashMap<K, Waiting<M>>>,
    key: &K,
    item: Item<M>,
    most: usize,
) -> bool {
    let mut queues = lock(queues);
    let waiting =
        queues.entry(key.clone()).or_insert_with(|| Waiting { items: VecDeque::new(), under_way: 0 });
    waiting.items.push_back(item);
    let is_free = waiting.under_way < most;
    waiting.under_way += usize::from(is_free);
    is_free
}

/// Sends batches until nothing waits. It is a task of its own, since a caller may give up while others count on it.
async fn work<K, M, F>(
    queues: Arc<Mutex<HashMap<K, Waiting<M>>>>,
    key: K,
    bounds: Bounds,
    post: impl Fn(Vec<M>) -> F,
) where
    K: Eq + Hash,
    F: Future<Output = Vec<Ended>>,
{
    while let Some((messages, ends)) = next(&queues, &key, bounds) {
        let results = post(messages).await;
        // An answer that does not tell of all is an answer for none of the rest.
        let results = results.into_iter().chain(std::iter::repeat_with(|| Err(Fault::lost())));
        for (end, result) in ends.into_iter().zip(results) {
            // Who gave up waiting tries again under the same id.
            let _ = end.send(result);
        }
    }
}

type Batch<M> = (Vec<M>, Vec<oneshot::Sender<Ended>>);

/// Takes the next batch; where nothing waits, the request that this was for is given back.
fn next<K: Eq + Hash, M>(
    queues: &Mutex<HashMap<K, Waiting<M>>>,
    key: &K,
    bounds: Bounds,
) -> Option<Batch<M>> {
    let mut queues = lock(queues);
    let waiting = queues.get_mut(key)?;
    let (mut messages, mut ends, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(item) = waiting.items.front() {
        let is_full = messages.len() >= bounds.messages || bytes + item.bytes > bounds.bytes;
        if is_full && !messages.is_empty() {
            break;
        }
        let Some(item) = waiting.items.pop_front() else { break };
        if item.ended.is_closed() {
            continue;
        }
        bytes += item.bytes;
        messages.push(item.message);
        ends.push(item.ended);
    }
    if messages.is_empty() {
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            queues.remove(key);
        }
        return None;
    }
    Some((messages, ends))
}

impl<K, M> std::fmt::Debug for Gather<K, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// One request at a time, which is held until it is let go.
    #[tokio::test]
    async fn what_comes_while_a_request_is_under_way_leaves_as_one_batch() {
        let gather: Arc<Gather<&str, u32>> =
            Arc::new(Gather::new(Bounds { messages: 3, bytes: 100, requests: 1 }));
        let (gate, batches) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let send = |message: u32, bytes: usize| {
            let (gather, gate, batches) = (Arc::clone(&gather), Arc::clone(&gate), Arc::clone(&batches));
            async move {
                let post = move |messages: Vec<u32>| {
                    lock(&batches).push(messages.clone());
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.acquire().await.unwrap().forget();
                        let end = |message: &u32| match message {
                            6 => Err(Fault::retry("refused")),
                            message => Ok(message.to_string()),
                        };
                        messages.iter().map(end).collect()
                    }
                };
                gather.send(&"queue", message, bytes, || post).await
            }
        };
        // Polled in this order, so that the first one's request is under way when the others come.
        let sends = [(1, 10), (2, 10), (3, 10), (4, 10), (5, 60), (6, 60), (7, 10)];
        let all: Vec<_> =
            sends.into_iter().map(|(message, bytes)| tokio::spawn(send(message, bytes))).collect();
        gate.add_permits(10);
        let mut ends = Vec::new();
        for task in all {
            ends.push(task.await.unwrap());
        }
        assert_eq!(ends[5], Err(Fault::retry("refused")));
        assert_eq!(ends[6], Ok("7".to_owned()));
        let batches = lock(&batches).clone();
        assert_eq!(batches.concat(), [1, 2, 3, 4, 5, 6, 7]);
        assert!(batches.iter().all(|batch| batch.len() <= 3), "{batches:?}");
        assert!(!batches.contains(&vec![5, 6, 7]) && !batches.contains(&vec![5, 6]), "{batches:?}");
        assert!(lock(&gather.queues).is_empty(), "nothing is kept of a queue that rests");
    }
}
