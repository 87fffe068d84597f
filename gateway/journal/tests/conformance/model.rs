//! A seeded sequence of operations, played on two journals side by side.
//!
//! Names are few, so that duplicates, conflicts, repetitions and stale numbers come up all the time. The numbers of
//! events are each journal's own; they are compared by the order in which the events were stored.

mod queues;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use hookweir_journal::{
    Amount, Appended, DeliveryFilter, DueDelivery, Error, EventFilter, Journal, KeptClock, LaneBacklog, Made,
    NewEvent, Next, Old, Oldest, Selection, Seq, Settled, Settlement,
};
use hookweir_model::{
    Attempt, Delivery, DeliveryKey, Digest, Disabled, EndpointKey, EndpointState, Epoch, Event, EventType,
    Failing, Outcome, PluginId, PluginKey, PluginState, Shard, Status, TenantId, Timestamp, TypePattern,
    Upload,
};

use crate::sample::{NOON, at, endpoint, id, shaped, tenant};

const TENANTS: [&str; 2] = ["acme", "other"];
const ENDPOINTS: [&str; 4] = ["a", "b", "c", "d"];
const TYPES: [&str; 4] = ["order.created", "order.paid", "user.created", "order.item.added"];
const PATTERNS: [&str; 4] = ["order.*", "**", "*.created", "user.created"];
/// The clock jumps about in this much time.
const SPAN: i64 = 600_000;

/// One of the two journals.
struct Side {
    journal: Arc<dyn Journal>,
    /// The number of each event stored, in the order of storing.
    seqs: Vec<Seq>,
    epochs: HashMap<Shard, Epoch>,
    receipts: queues::Receipts,
}

impl Side {
    async fn new(journal: &Arc<dyn Journal>) -> Self {
        let leases = journal.acquire_shards("node-1", Duration::from_secs(1 << 30)).await.unwrap();
        Self {
            journal: Arc::clone(journal),
            seqs: Vec::new(),
            epochs: leases.iter().map(|lease| (lease.shard, lease.epoch)).collect(),
            receipts: Vec::new(),
        }
    }

    /// Which stored event has this number.
    fn place(&self, seq: Seq) -> usize {
        self.seqs.iter().position(|own| *own == seq).unwrap()
    }

    fn seq(&self, place: usize) -> Seq {
        self.seqs.get(place).copied().unwrap_or(Seq(u64::MAX))
    }
}

/// What a side answered, in terms that both sides share.
#[derive(Debug, PartialEq)]
enum Answer {
    Appended(Vec<Result<usize, Appended>>),
    Settled(Vec<Settled>),
    Due(Vec<(usize, Event, u32, u32, Option<hookweir_model::Shaped>)>, Option<usize>),
    Head(Option<Option<Timestamp>>),
    Lanes(Vec<(EndpointKey, Option<Timestamp>)>),
    Event(Option<Event>),
    Events(Vec<Event>),
    Deliveries(Vec<Delivery>),
    Attempts(Vec<Attempt>, Made),
    Requeued(Result<u64, String>),
    Counts([u64; 7]),
    States(Vec<(EndpointKey, EndpointState)>),
    Blob(Option<Bytes>),
    Plugins(Result<(), String>, Vec<(PluginKey, PluginState)>),
    Expired(u64, bool),
    Clock(Option<KeptClock>),
    Pending(u64, Option<Oldest>, Vec<LaneBacklog>),
    Queue(queues::Said),
}

/// An operation, drawn once and played on both sides. Events are named by their place.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<NewEvent>),
    Settle(Vec<(EndpointKey, usize, bool, Option<Attempt>, Next, Made)>),
    Due(EndpointKey, Timestamp, Vec<usize>, Amount),
    Head(EndpointKey, Vec<usize>),
    Lanes,
    Event(TenantId, String),
    Events(EventFilter, usize),
    Deliveries(DeliveryFilter, usize),
    DeliveriesOf(TenantId, String),
    Attempts(DeliveryKey),
    Requeue(Selection),
    Cancel(DeliveryKey),
    Counts(EndpointKey),
    State(EndpointKey, EndpointState),
    Blob(Bytes),
    Plugin(PluginKey, PluginState),
    Clock(KeptClock),
    Expire(Old, usize),
    Pending,
    Queue(queues::Step),
}

pub(crate) async fn play(subject: &Arc<dyn Journal>, oracle: &Arc<dyn Journal>, seed: u64, steps: usize) {
    let mut rng = Rng::with_seed(seed);
    let mut sides = [Side::new(subject).await, Side::new(oracle).await];
    for number in 0..steps {
        let step = draw(&mut rng, sides[0].seqs.len(), number as u64);
        let [left, right] = &mut sides;
        let (subject, oracle) = (run(left, step.clone()).await, run(right, step.clone()).await);
        assert_eq!(subject, oracle, "step {number} of seed {seed}: {step:?}");
    }
}

fn pick<'a>(rng: &mut Rng, names: &[&'a str]) -> &'a str {
    names[rng.usize(..names.len())]
}

fn lane(rng: &mut Rng) -> EndpointKey {
    EndpointKey::new(tenant(pick(rng, &TENANTS)), endpoint(pick(rng, &ENDPOINTS)))
}

fn moment(rng: &mut Rng) -> Timestamp {
    at(NOON + rng.i64(0..SPAN))
}

fn name(rng: &mut Rng) -> String {
    format!("e{}", rng.usize(..150))
}

fn delivery_key(rng: &mut Rng) -> DeliveryKey {
    let EndpointKey { tenant, endpoint } = lane(rng);
    DeliveryKey { tenant, endpoint, event: id(&name(rng)) }
}

/// The place of an event, mostly of a recent one, at times of one that is not there.
fn place(rng: &mut Rng, stored: usize) -> usize {
    (stored + 1).saturating_sub(rng.usize(..40))
}

fn maybe<T>(rng: &mut Rng, draw: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| draw(rng))
}

fn draw(rng: &mut Rng, stored: usize, number: u64) -> Step {
    match rng.u32(..143) {
        0..25 => Step::Append((0..rng.usize(1..4)).map(|_| new_event(rng)).collect()),
        25..55 => Step::Settle((0..rng.usize(1..5)).map(|_| settlement(rng, stored)).collect()),
        55..65 => {
            let skip = (0..rng.usize(..6)).map(|_| place(rng, stored)).collect();
            let bytes = if rng.bool() { usize::MAX } else { rng.usize(..8192) };
            Step::Due(lane(rng), moment(rng), skip, Amount { deliveries: rng.usize(..12), bytes })
        }
        65..69 => Step::Head(lane(rng), (0..rng.usize(..3)).map(|_| place(rng, stored)).collect()),
        69..71 => Step::Lanes,
        71..74 => Step::Event(tenant(pick(rng, &TENANTS)), name(rng)),
        74..77 => {
            let filter = EventFilter {
                event_type: maybe(rng, |rng| TypePattern::parse(pick(rng, &PATTERNS)).unwrap()),
                since: maybe(rng, moment),
                until: maybe(rng, moment),
                id_part: maybe(rng, name),
                ..EventFilter::of(tenant(pick(rng, &TENANTS)))
            };
            Step::Events(filter, rng.usize(1..9))
        }
        77..82 => {
            let filter = DeliveryFilter {
                events: EventFilter {
                    event_type: maybe(rng, |rng| TypePattern::parse(pick(rng, &PATTERNS)).unwrap()),
                    since: maybe(rng, moment),
                    until: maybe(rng, moment),
                    id_part: maybe(rng, name),
                    ..EventFilter::of(tenant(pick(rng, &TENANTS)))
                },
                outcome: maybe(rng, |rng| Outcome::ALL[rng.usize(..5)]),
                code: maybe(rng, |rng| [200, 503][rng.usize(..2)]),
                endpoint: maybe(rng, |rng| endpoint(pick(rng, &ENDPOINTS))),
                status: maybe(rng, |rng| Status::ALL[rng.usize(..7)]),
            };
            Step::Deliveries(filter, rng.usize(1..9))
        }
        82..84 => Step::DeliveriesOf(tenant(pick(rng, &TENANTS)), name(rng)),
        84..86 => Step::Attempts(delivery_key(rng)),
        86..90 => Step::Requeue(selection(rng)),
        90 => Step::Cancel(delivery_key(rng)),
        91..93 => Step::Counts(lane(rng)),
        93..95 => {
            let state = EndpointState {
                disabled: maybe(rng, |rng| Disabled { reason: name(rng), at: moment(rng) }),
                failing: maybe(rng, failing),
                absent_ms: maybe(rng, |rng| rng.u64(..9)),
            };
            Step::State(lane(rng), state)
        }
        95..96 => Step::Blob(Bytes::from(name(rng))),
        96..97 => Step::Plugin(plugin(rng), plugin_state(rng)),
        97..98 => Step::Expire(old(rng, number), rng.usize(..15)),
        98..100 => Step::Pending,
        100..103 => Step::Clock(KeptClock {
            running: Duration::from_secs(number),
            time: at(NOON + i64::try_from(number).unwrap()),
            wall: moment(rng),
            uptime: Duration::from_millis(rng.u64(..9999)),
            boot: name(rng),
        }),
        _ => Step::Queue(queues::draw(rng, number)),
    }
}

/// `number` is that of the step, by which the clock goes.
fn old(rng: &mut Rng, number: u64) -> Old {
    if rng.u32(..8) == 0 { Old::All } else { Old::At(Duration::from_secs(rng.u64(..=number))) }
}

fn failing(rng: &mut Rng) -> Failing {
    Failing { since: moment(rng), running: Duration::from_millis(rng.u64(..9999)), attempts: rng.u32(..) }
}

fn plugin(rng: &mut Rng) -> PluginKey {
    PluginKey::new(tenant(pick(rng, &TENANTS)), PluginId::new(pick(rng, &ENDPOINTS)).unwrap())
}

/// Its blobs are names, as those of [`Step::Blob`] are, so that some of them are kept.
fn plugin_state(rng: &mut Rng) -> PluginState {
    let digest = |rng: &mut Rng| Digest::of(name(rng).as_bytes());
    PluginState {
        upload: maybe(rng, |rng| Upload {
            current: digest(rng),
            previous: maybe(rng, digest),
            at: moment(rng),
        }),
        paused: None,
    }
}

fn new_event(rng: &mut Rng) -> NewEvent {
    let body = pick(rng, &["one", "one", "one", "two", ""]);
    NewEvent {
        fingerprint: Digest::of(body.as_bytes()),
        idempotency_key: maybe(rng, |rng| format!("k{}", rng.usize(..60))),
        endpoints: (0..rng.usize(..4)).map(|_| endpoint(pick(rng, &ENDPOINTS))).collect(),
        event: Arc::new(Event {
            tenant: tenant(pick(rng, &TENANTS)),
            id: id(&name(rng)),
            event_type: EventType::new(pick(rng, &TYPES)).unwrap(),
            source: "/model".to_owned(),
            subject: maybe(rng, name),
            time: "2023-11-14T22:13:20Z".to_owned(),
            received: moment(rng),
            content_type: "text/plain".to_owned(),
            attributes: (0..rng.usize(..3)).map(|_| (name(rng), name(rng))).collect(),
            ordering_key: maybe(rng, name),
            data: Bytes::from_static(body.as_bytes()),
        }),
    }
}

fn settlement(rng: &mut Rng, stored: usize) -> (EndpointKey, usize, bool, Option<Attempt>, Next, Made) {
    let reason = maybe(rng, name);
    let next = match rng.u32(..10) {
        0..4 => Next::RetryAt { due: moment(rng), reason },
        4..7 => Next::Final { status: Status::Delivered, reason },
        7 => Next::Queued(Box::new(queues::new_message(rng))),
        _ => Next::Final { status: Status::ALL[rng.usize(1..7)], reason },
    };
    let attempt = (rng.u32(..5) > 0).then(|| Attempt {
        number: rng.u32(1..4),
        started: moment(rng),
        duration_ms: rng.u64(..5000),
        outcome: Outcome::ALL[rng.usize(..4)],
        reason: maybe(rng, name),
        answer: None,
        plugins: Vec::new(),
        exchange: None,
    });
    let is_present = rng.u32(..20) > 0;
    let calls = (0..rng.usize(..2)).filter(|_| attempt.is_none()).map(|_| call(&name(rng))).collect();
    let made = Made { shaped: maybe(rng, |rng| shaped(&name(rng))), calls };
    (lane(rng), place(rng, stored), is_present, attempt, next, made)
}

fn call(log: &str) -> hookweir_model::PluginCall {
    hookweir_model::PluginCall {
        plugin: hookweir_model::PluginId::new("large-only").unwrap(),
        digest: hookweir_model::Digest::of(b"wasm"),
        role: hookweir_model::PluginRole::Filter,
        micros: 1,
        memory: 0,
        log: log.to_owned(),
    }
}

fn selection(rng: &mut Rng) -> Selection {
    match rng.u32(..4) {
        0 => Selection::Retry(delivery_key(rng)),
        1 => Selection::Waiting { endpoint: lane(rng) },
        2 => Selection::Recover { endpoint: lane(rng), since: moment(rng) },
        _ => Selection::Replay {
            tenant: tenant(pick(rng, &TENANTS)),
            event: id(&name(rng)),
            endpoints: (0..rng.usize(..3)).map(|_| endpoint(pick(rng, &ENDPOINTS))).collect(),
        },
    }
}

async fn run(side: &mut Side, step: Step) -> Answer {
    let journal = Arc::clone(&side.journal);
    match step {
        Step::Append(batch) => {
            let mut answers = Vec::new();
            for answer in journal.append(batch).await.unwrap() {
                answers.push(match answer {
                    Appended::Stored { seq } => {
                        side.seqs.push(seq);
                        Ok(side.seqs.len() - 1)
                    }
                    other => Err(other),
                });
            }
            Answer::Appended(answers)
        }
        Step::Settle(batch) => {
            let settlement =
                |(endpoint, place, is_present, attempt, next, made): (EndpointKey, usize, bool, _, _, _)| {
                    let present = side.epochs[&Shard::of(&endpoint)];
                    let epoch = if is_present { present } else { Epoch(present.0 + 1) };
                    Settlement { made, endpoint, seq: side.seq(place), epoch, attempt, next }
                };
            Answer::Settled(journal.settle(batch.into_iter().map(settlement).collect()).await.unwrap())
        }
        Step::Due(endpoint, now, skip, most) => {
            let skip: Vec<Seq> = skip.into_iter().map(|place| side.seq(place)).collect();
            let found = journal.due(&endpoint, now, &skip, most).await.unwrap();
            let shared = |found: DueDelivery| {
                (side.place(found.seq), found.event, found.attempts, found.earlier_rounds, found.shaped)
            };
            Answer::Due(found.deliveries.into_iter().map(shared).collect(), found.next_bytes)
        }
        Step::Head(endpoint, skip) => {
            let skip: Vec<Seq> = skip.into_iter().map(|place| side.seq(place)).collect();
            Answer::Head(journal.next_due(&endpoint, &skip).await.unwrap().map(|head| head.due))
        }
        Step::Lanes => {
            let mut lanes = Vec::new();
            for shard in Shard::all() {
                let heads = journal.lanes(shard).await.unwrap();
                lanes.extend(heads.into_iter().map(|head| (head.endpoint, head.due)));
            }
            lanes.sort();
            Answer::Lanes(lanes)
        }
        Step::Event(tenant, name) => Answer::Event(journal.event(&tenant, &id(&name)).await.unwrap()),
        Step::Events(filter, limit) => {
            let (mut found, mut cursor) = (Vec::new(), None);
            loop {
                let page = journal.events(&filter, cursor.as_ref(), limit).await.unwrap();
                found.extend(page.items.into_iter().map(|stored| stored.event));
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => return Answer::Events(found),
                }
            }
        }
        Step::Deliveries(filter, limit) => {
            Answer::Deliveries(crate::sample::all(&journal, &filter, limit).await)
        }
        Step::DeliveriesOf(tenant, name) => {
            Answer::Deliveries(journal.deliveries_of(&tenant, &id(&name)).await.unwrap())
        }
        Step::Attempts(key) => {
            Answer::Attempts(journal.attempts(&key).await.unwrap(), journal.made(&key).await.unwrap())
        }
        Step::Requeue(selection) => {
            let answer = journal.requeue(selection).await;
            Answer::Requeued(answer.map_err(|error: Error| error.to_string()))
        }
        Step::Cancel(key) => {
            let answer = journal.cancel(&key, "by hand").await;
            Answer::Requeued(answer.map(u64::from).map_err(|error: Error| error.to_string()))
        }
        Step::Counts(endpoint) => Answer::Counts(journal.counts(&endpoint).await.unwrap().0),
        Step::State(endpoint, state) => {
            journal.put_endpoint_state(&endpoint, &state).await.unwrap();
            Answer::States(journal.endpoint_states().await.unwrap())
        }
        Step::Blob(bytes) => {
            let digest = journal.put_blob(bytes).await.unwrap();
            Answer::Blob(journal.blob(digest).await.unwrap())
        }
        Step::Plugin(plugin, state) => {
            let kept = journal.put_plugin_state(&plugin, &state).await;
            let kept = kept.map_err(|error: Error| error.to_string());
            Answer::Plugins(kept, journal.plugin_states().await.unwrap())
        }
        Step::Expire(old, budget) => {
            let expired = journal.expire(old, budget).await.unwrap();
            Answer::Expired(expired.events, expired.more)
        }
        Step::Clock(clock) => {
            journal.keep_clock(&clock).await.unwrap();
            Answer::Clock(journal.kept_clock().await.unwrap())
        }
        Step::Pending => {
            let health = journal.health().await.unwrap();
            Answer::Pending(health.pending, health.oldest_pending, journal.backlogs().await.unwrap())
        }
        Step::Queue(step) => queues::run(&journal, &mut side.receipts, step).await,
    }
}
