//! Messages that go together: while requests to a queue are under way, those that come meanwhile wait and leave as one
//! batch. There is no timer, so that a lone message waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::{Fault, lock};
use crate::InForce;

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
    /// Asked when its batch is made.
    in_force: InForce,
    ended: oneshot::Sender<Ended>,
}

impl<K: Clone + Eq + Hash + Send + 'static, M: Send + 'static> Gather<K, M> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, queues: Arc::default() }
    }

    /// Hands a message over and waits for its own end. Where another request may be made for it, `post` makes what sends
    /// batches, and answers for each message of one in their order; the key says all that it depends on. What it is given
    /// beside the messages holds while the configuration of all of them is in force.
    pub(crate) async fn send<P, F>(
        &self,
        key: &K,
        message: M,
        bytes: usize,
        in_force: &InForce,
        post: impl FnOnce() -> P,
    ) -> Ended
    where
        P: Fn(Vec<M>, InForce) -> F + Send + 'static,
        F: Future<Output = Vec<Ended>> + Send + 'static,
    {
        let (ended, end) = oneshot::channel();
        let item = Item { message, bytes, in_force: in_force.clone(), ended };
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
    post: impl Fn(Vec<M>, InForce) -> F,
) where
    K: Eq + Hash,
    F: Future<Output = Vec<Ended>> + Send + 'static,
{
    while let Some(Batch { messages, ends, in_force }) = next(&queues, &key, bounds) {
        // A task of its own: a panic there costs this batch its answers, and not the queue one of its requests for ever.
        let results = tokio::spawn(post(messages, InForce::all(in_force))).await.unwrap_or_default();
        // An answer that does not tell of all is an answer for none of the rest.
        let results = results.into_iter().chain(std::iter::repeat_with(|| Err(Fault::lost())));
        for (end, result) in ends.into_iter().zip(results) {
            // Who gave up waiting tries again under the same id.
            let _ = end.send(result);
        }
    }
}

/// What goes together, part by part.
struct Batch<M> {
    messages: Vec<M>,
    ends: Vec<oneshot::Sender<Ended>>,
    in_force: Vec<InForce>,
}

/// Takes the next batch; where nothing waits, the request that this was for is given back.
fn next<K: Eq + Hash, M>(
    queues: &Mutex<HashMap<K, Waiting<M>>>,
    key: &K,
    bounds: Bounds,
) -> Option<Batch<M>> {
    let mut queues = lock(queues);
    let waiting = queues.get_mut(key)?;
    let mut batch = Batch { messages: Vec::new(), ends: Vec::new(), in_force: Vec::new() };
    let mut bytes = 0;
    while let Some(item) = waiting.items.front() {
        let is_full = batch.messages.len() >= bounds.messages || bytes + item.bytes > bounds.bytes;
        if is_full && !batch.messages.is_empty() {
            break;
        }
        let Some(item) = waiting.items.pop_front() else { break };
        if item.ended.is_closed() {
            continue;
        }
        if !item.in_force.holds() {
            // Who gave up waiting has nothing to do with it any more.
            let _ = item.ended.send(Err(Fault::superseded()));
            continue;
        }
        bytes += item.bytes;
        batch.messages.push(item.message);
        batch.ends.push(item.ended);
        batch.in_force.push(item.in_force);
    }
    if batch.messages.is_empty() {
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            queues.remove(key);
        }
        return None;
    }
    Some(batch)
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
                let post = move |messages: Vec<u32>, _: InForce| {
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
                gather.send(&"queue", message, bytes, &InForce::always(), || post).await
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

    #[tokio::test]
    async fn a_batch_that_panics_costs_its_own_messages_alone() {
        let gather: Gather<&str, u32> = Gather::new(Bounds { messages: 3, bytes: 100, requests: 1 });
        for (message, wanted) in [(1, Ok("1".to_owned())), (7, Err(Fault::lost())), (2, Ok("2".to_owned()))] {
            let post = |messages: Vec<u32>, _: InForce| async move {
                assert!(!messages.contains(&7), "a broker's answer that nobody thought of");
                messages.iter().map(|message| Ok(message.to_string())).collect()
            };
            let ended = gather.send(&"queue", message, 1, &InForce::always(), || post).await;
            assert_eq!(ended, wanted, "{message}");
        }
        assert!(lock(&gather.queues).is_empty());
    }

    /// A message waits for the request before it; meanwhile its configuration is changed.
    #[tokio::test]
    async fn what_is_no_longer_in_force_when_its_batch_is_made_is_not_sent() {
        let gather: Arc<Gather<&str, u32>> =
            Arc::new(Gather::new(Bounds { messages: 1, bytes: 100, requests: 1 }));
        let (gate, sent) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let holds = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let send = |message: u32, in_force: InForce| {
            let (gather, gate, sent) = (Arc::clone(&gather), Arc::clone(&gate), Arc::clone(&sent));
            let post = move |messages: Vec<u32>, _: InForce| {
                lock(&sent).extend(messages.clone());
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    messages.iter().map(|message| Ok(message.to_string())).collect()
                }
            };
            tokio::spawn(async move { gather.send(&"queue", message, 1, &in_force, || post).await })
        };
        let changed = Arc::clone(&holds);
        let first = send(1, InForce::always());
        let second = send(2, InForce::new(move || changed.load(std::sync::atomic::Ordering::Relaxed)));
        let third = send(3, InForce::always());
        // The tasks of this test run when it waits: by then the first one's request is under way.
        while lock(&gather.queues).get("queue").is_none_or(|waiting| waiting.items.len() < 2) {
            tokio::task::yield_now().await;
        }
        holds.store(false, std::sync::atomic::Ordering::Relaxed);
        gate.add_permits(10);
        assert_eq!(first.await.unwrap(), Ok("1".to_owned()));
        assert_eq!(second.await.unwrap(), Err(Fault::superseded()));
        assert_eq!(third.await.unwrap(), Ok("3".to_owned()));
        assert_eq!(*lock(&sent), [1, 3]);
    }
}
