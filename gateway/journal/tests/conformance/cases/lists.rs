//! Lists: filtered, newest first, and right while rows arrive.

use std::sync::Arc;
use std::time::Duration;

use hookweir_journal::{
    Appended, DeliveryFilter, EventFilter, KeptClock, Made, Old, Page, Selection, Settlement, StoredEvent,
};
use hookweir_model::{Answer, Attempt, EventType, Outcome, Status, TypePattern};

use crate::sample::{
    all, at, attempt, ended, endpoint, event, everything, id, key, lane, new, own, put, put_event, retry_at,
    settle, tenant,
};
use crate::subject::Subject;

fn events_of(name: &str) -> EventFilter {
    EventFilter::of(tenant(name))
}

/// Reads a list of events to its end, in pages.
async fn all_events(subject: &Subject, filter: &EventFilter, limit: usize) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page: Page<StoredEvent> = subject.journal.events(filter, cursor.as_ref(), limit).await.unwrap();
        found.extend(page.items.iter().map(|stored| stored.event.id.as_str().to_owned()));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

async fn names(subject: &Subject, filter: &DeliveryFilter, page: usize) -> Vec<String> {
    let found = all(&subject.journal, filter, page).await;
    found.iter().map(|delivery| format!("{}>{}", delivery.key.event, delivery.key.endpoint)).collect()
}

pub(crate) async fn events_are_listed_newest_first(subject: Subject) {
    for name in ["b", "a", "d", "c", "e"] {
        put(&subject.journal, name, &[]).await;
    }
    for limit in 1..7 {
        assert_eq!(
            all_events(&subject, &events_of("acme"), limit).await,
            ["e", "c", "d", "a", "b"],
            "{limit}"
        );
    }
    let page = subject.journal.events(&events_of("acme"), None, 5).await.unwrap();
    assert_eq!(page.next, None, "there is nothing after the last one");
    assert_eq!(page.items[0], event("e").into());
    let page = subject.journal.events(&events_of("acme"), None, 2).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert!(page.next.is_some());
}

pub(crate) async fn deliveries_are_listed_newest_first_and_by_endpoint(subject: Subject) {
    // The journal hears of the endpoints in another order than that of their names.
    put(&subject.journal, "1", &["c"]).await;
    put(&subject.journal, "2", &["b", "c", "a"]).await;
    put(&subject.journal, "3", &["a"]).await;
    put(&subject.journal, "4", &[]).await;
    put(&subject.journal, "5", &["c", "a"]).await;
    let wanted = ["5>a", "5>c", "3>a", "2>a", "2>b", "2>c", "1>c"];
    for page in 1..9 {
        assert_eq!(names(&subject, &everything(), page).await, wanted, "{page}");
    }
    let last = subject.journal.deliveries(&everything(), None, wanted.len()).await.unwrap();
    assert_eq!(last.next, None, "there is nothing after the last one");
}

pub(crate) async fn filters_select(subject: Subject) {
    let journal = &subject.journal;
    for (number, kind) in (0..).zip(["order.created", "order.paid", "user.created", "order.item.added"]) {
        let mut event = event(&number.to_string());
        event.event_type = EventType::new(kind).unwrap();
        event.received = at(60_000 * number);
        let seq = put_event(journal, event, &["a", "b"]).await;
        if number % 2 == 1 {
            settle(journal, &lane("a"), seq, 1, ended(Status::Failed)).await;
            settle(journal, &lane("b"), seq, 1, ended(Status::Delivered)).await;
        }
    }
    let pattern = |text| Some(TypePattern::parse(text).unwrap());
    let events = |event_type, since, until| DeliveryFilter {
        events: EventFilter { event_type, since, until, ..events_of("acme") },
        ..everything()
    };
    let filters = [
        (DeliveryFilter { endpoint: Some(endpoint("b")), ..everything() }, vec!["3>b", "2>b", "1>b", "0>b"]),
        (DeliveryFilter { endpoint: Some(endpoint("nobody")), ..everything() }, vec![]),
        (DeliveryFilter { status: Some(Status::Pending), ..everything() }, vec!["2>a", "2>b", "0>a", "0>b"]),
        (DeliveryFilter { status: Some(Status::Failed), ..everything() }, vec!["3>a", "1>a"]),
        (DeliveryFilter { status: Some(Status::Delivered), ..everything() }, vec!["3>b", "1>b"]),
        (DeliveryFilter { status: Some(Status::Expired), ..everything() }, vec![]),
        (
            DeliveryFilter { endpoint: Some(endpoint("a")), ..events(pattern("order.*"), None, None) },
            vec!["1>a", "0>a"],
        ),
        (events(None, Some(at(60_000)), Some(at(120_000))), vec!["1>a", "1>b"]),
        (
            DeliveryFilter { status: Some(Status::Failed), ..events(pattern("**"), Some(at(60_001)), None) },
            vec!["3>a"],
        ),
    ];
    for (filter, wanted) in &filters {
        for page in [1, 2, 100] {
            assert_eq!(names(&subject, filter, page).await, *wanted, "{filter:?}");
        }
    }
    for (event_type, since, until, wanted) in [
        (pattern("order.**"), None, None, vec!["3", "1", "0"]),
        (pattern("*.created"), None, None, vec!["2", "0"]),
        (None, Some(at(60_000)), None, vec!["3", "2", "1"]),
        (None, None, Some(at(60_000)), vec!["0"]),
        (pattern("order.*"), Some(at(1)), Some(at(180_001)), vec!["1"]),
        (None, Some(at(180_001)), None, vec![]),
    ] {
        let filter = EventFilter { event_type, since, until, ..events_of("acme") };
        assert_eq!(all_events(&subject, &filter, 2).await, wanted, "{filter:?}");
    }
}

pub(crate) async fn attempts_and_parts_of_ids_select(subject: Subject) {
    let journal = &subject.journal;
    let answered = |number, outcome, status| Attempt {
        answer: Some(Answer { status: Some(status), body: String::new() }),
        ..attempt(number, outcome)
    };
    let mut seqs = Vec::new();
    for name in ["evt_one", "evt_two", "pay_one", "evt_none"] {
        seqs.push(put(journal, name, &["a"]).await);
    }
    let lane = lane("a");
    let tried = async |seq, attempt: Attempt, next| {
        let settlement = Settlement {
            made: Made::default(),
            endpoint: lane.clone(),
            seq,
            epoch: own(journal, &lane).await,
            attempt: Some(attempt),
            next,
        };
        journal.settle(vec![settlement]).await.unwrap();
    };
    // One is delivered at once, one fails twice, and one fails first and is then delivered.
    tried(seqs[0], answered(1, Outcome::Delivered, 200), ended(Status::Delivered)).await;
    tried(seqs[1], answered(1, Outcome::Retry, 500), retry_at(1)).await;
    tried(seqs[1], answered(2, Outcome::Retry, 503), ended(Status::Exhausted)).await;
    tried(seqs[2], answered(1, Outcome::Retry, 503), retry_at(1)).await;
    tried(seqs[2], answered(2, Outcome::Delivered, 204), ended(Status::Delivered)).await;
    let filter = |outcome, code| DeliveryFilter { outcome, code, ..everything() };
    let part = |part: &str| EventFilter { id_part: Some(part.to_owned()), ..events_of("acme") };
    for (filter, wanted) in [
        (filter(Some(Outcome::Delivered), None), &["pay_one>a", "evt_one>a"][..]),
        (filter(Some(Outcome::Retry), None), &["evt_two>a"]),
        (filter(Some(Outcome::Rejected), None), &[]),
        (filter(None, Some(503)), &["evt_two>a"]),
        (filter(None, Some(200)), &["evt_one>a"]),
        (filter(Some(Outcome::Retry), Some(204)), &[]),
        (DeliveryFilter { events: part("one"), ..everything() }, &["evt_none>a", "pay_one>a", "evt_one>a"]),
        (DeliveryFilter { events: part("evt_"), ..filter(Some(Outcome::Delivered), None) }, &["evt_one>a"]),
    ] {
        assert_eq!(names(&subject, &filter, 2).await, wanted, "{filter:?}");
    }
    assert_eq!(all_events(&subject, &part("evt_"), 2).await, ["evt_none", "evt_two", "evt_one"]);
    assert_eq!(all_events(&subject, &part("EVT"), 2).await, [""; 0]);
}

pub(crate) async fn time_bounds_hold_when_the_clock_was_set_back(subject: Subject) {
    const HOUR: i64 = 3_600_000;
    for (name, hour) in [("1", 10), ("2", 12), ("3", 9), ("4", 10), ("5", -4), ("6", 12)] {
        let mut event = event(name);
        event.received = at(hour * HOUR);
        put_event(&subject.journal, event, &["a"]).await;
    }
    for (since, until, wanted) in [
        (Some(10), None, vec!["6", "4", "2", "1"]),
        (Some(11), None, vec!["6", "2"]),
        (None, Some(10), vec!["5", "3"]),
        (Some(9), Some(11), vec!["4", "3", "1"]),
        (Some(13), None, vec![]),
        (None, Some(-4), vec![]),
    ] {
        let (since, until) = (since.map(|hour| at(hour * HOUR)), until.map(|hour| at(hour * HOUR)));
        let events = EventFilter { since, until, ..events_of("acme") };
        assert_eq!(all_events(&subject, &events, 2).await, wanted, "{events:?}");
        let deliveries = DeliveryFilter { events: events.clone(), ..everything() };
        let wanted: Vec<String> = wanted.iter().map(|name| format!("{name}>a")).collect();
        assert_eq!(names(&subject, &deliveries, 2).await, wanted, "{deliveries:?}");
    }
}

pub(crate) async fn pages_neither_repeat_nor_skip_while_events_arrive(subject: Subject) {
    let journal = &subject.journal;
    for number in 0..30 {
        put(journal, &format!("old-{number:02}"), &["a", "b", "c"]).await;
    }
    let (mut deliveries, mut events) = (Vec::new(), Vec::new());
    let (mut after_delivery, mut after_event) = (None, None);
    for round in 0.. {
        // Between two pages, events arrive and old deliveries move on.
        put(journal, &format!("new-{round}"), &["a", "c"]).await;
        let page = journal.deliveries(&everything(), after_delivery.as_ref(), 7).await.unwrap();
        deliveries.extend(page.items.into_iter().map(|delivery| delivery.key));
        after_delivery = page.next;
        if after_delivery.is_none() {
            break;
        }
    }
    for round in 0.. {
        put(journal, &format!("newer-{round}"), &["b"]).await;
        let page = journal.events(&events_of("acme"), after_event.as_ref(), 4).await.unwrap();
        events.extend(page.items.into_iter().map(|stored| stored.event.id));
        after_event = page.next;
        if after_event.is_none() {
            break;
        }
    }
    let old: Vec<_> = (0..30).rev().map(|number| format!("old-{number:02}")).collect();
    let wanted: Vec<_> = old.iter().flat_map(|name| ["a", "b", "c"].map(|to| key(name, to))).collect();
    deliveries.retain(|key| key.event.as_str().starts_with("old"));
    assert_eq!(deliveries, wanted);
    events.retain(|id| id.as_str().starts_with("old"));
    assert_eq!(events, old.iter().map(|name| id(name)).collect::<Vec<_>>());
}

pub(crate) async fn a_tenant_sees_its_own_alone(subject: Subject) {
    let mut theirs = new(event("theirs"), &["a"]);
    Arc::make_mut(&mut theirs.event).tenant = tenant("other");
    subject.journal.append(vec![theirs]).await.unwrap();
    put(&subject.journal, "ours", &["a"]).await;
    assert_eq!(all_events(&subject, &events_of("acme"), 10).await, ["ours"]);
    assert_eq!(all_events(&subject, &events_of("other"), 10).await, ["theirs"]);
    assert_eq!(names(&subject, &everything(), 10).await, ["ours>a"]);
    let filter = DeliveryFilter::of(tenant("other"));
    assert_eq!(names(&subject, &filter, 10).await, ["theirs>a"]);
    assert_eq!(subject.journal.event(&tenant("acme"), &id("theirs")).await.unwrap(), None);
    assert_eq!(subject.journal.delivery(&key("theirs", "a")).await.unwrap(), None);
    assert_eq!(subject.journal.deliveries_of(&tenant("acme"), &id("theirs")).await.unwrap(), []);
}

pub(crate) async fn deliveries_of_one_event_come_by_endpoint(subject: Subject) {
    put(&subject.journal, "0", &["z", "m"]).await;
    put(&subject.journal, "1", &["z", "b", "a-1", "a"]).await;
    let found = subject.journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap();
    let endpoints: Vec<_> = found.iter().map(|delivery| delivery.key.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["a", "a-1", "b", "z"]);
    assert!(found.iter().all(|delivery| delivery.key.event == id("1")));
}

/// Where events number in the thousands, and one tenant or endpoint has only few of them.
pub(crate) async fn long_lists_are_whole(subject: Subject) {
    const EVENTS: i64 = 1_500;
    let journal = &subject.journal;
    let ours = |number: i64| number % 7 != 0;
    let endpoints = |number: i64| match number {
        number if number % 5 == 0 => &[][..],
        number if number % 97 == 0 => &["a", "rare"][..],
        _ => &["a"][..],
    };
    let event_of = |number: i64| {
        let mut new = new(event(&format!("e{number:04}")), endpoints(number));
        let event = Arc::make_mut(&mut new.event);
        event.received = at(number);
        event.tenant = tenant(if ours(number) { "acme" } else { "other" });
        new
    };
    let epoch = own(journal, &lane("a")).await;
    // The first three parts are noted as being there at a running time.
    let noted = Old::At(Duration::ZERO);
    for start in (0..EVENTS).step_by(300) {
        if start == 900 {
            journal.keep_clock(&KeptClock::default()).await.unwrap();
        }
        let kept = journal.append((start..start + 300).map(event_of).collect()).await.unwrap();
        let settlements = (start..).zip(kept).filter_map(|(number, kept)| {
            let Appended::Stored { seq } = kept else { panic!("{kept:?}") };
            let is_ours = ours(number) && number % 4 == 0 && endpoints(number) == ["a"];
            is_ours.then(|| Settlement {
                made: Made::default(),
                endpoint: lane("a"),
                seq,
                epoch,
                attempt: Some(attempt(1, Outcome::Delivered)),
                next: ended(Status::Delivered),
            })
        });
        journal.settle(settlements.collect()).await.unwrap();
    }
    assert_long_lists(&subject, |number| ours(number) && number < EVENTS, endpoints).await;

    let filter = DeliveryFilter { status: Some(Status::Delivered), ..everything() };
    let delivered = |number: &i64| ours(*number) && number % 4 == 0 && endpoints(*number) == ["a"];
    let wanted: Vec<_> =
        (0..EVENTS).rev().filter(delivered).map(|number| format!("e{number:04}>a")).collect();
    assert_eq!(names(&subject, &filter, 40).await, wanted);

    // What is pending stays, whatever its age; all of the others' events without a delivery go.
    while journal.expire(noted, 500).await.unwrap().more {}
    let stays = |number: i64| number >= 900 || (!endpoints(number).is_empty() && !delivered(&number));
    assert_long_lists(&subject, |number| ours(number) && number < EVENTS && stays(number), endpoints).await;

    let old = id("e0001");
    let endpoints_of_replay = vec![endpoint("late")];
    let replay = Selection::Replay { tenant: tenant("acme"), event: old, endpoints: endpoints_of_replay };
    journal.requeue(replay).await.unwrap();
    let filter = DeliveryFilter { endpoint: Some(endpoint("late")), ..everything() };
    assert_eq!(names(&subject, &filter, 5).await, ["e0001>late"]);
}

async fn assert_long_lists(
    subject: &Subject,
    is_there: impl Fn(i64) -> bool,
    endpoints: impl Fn(i64) -> &'static [&'static str],
) {
    let numbers: Vec<i64> = (0..10_000).rev().filter(|number| is_there(*number)).collect();
    let ids: Vec<String> = numbers.iter().map(|number| format!("e{number:04}")).collect();
    assert_eq!(all_events(subject, &events_of("acme"), 50).await, ids);
    let until = EventFilter { until: Some(at(700)), since: Some(at(200)), ..events_of("acme") };
    let between: Vec<String> = numbers
        .iter()
        .filter(|number| (200..700).contains(*number))
        .map(|number| format!("e{number:04}"))
        .collect();
    assert_eq!(all_events(subject, &until, 50).await, between);
    for to in [None, Some("a"), Some("rare")] {
        let filter = DeliveryFilter { endpoint: to.map(endpoint), ..everything() };
        let wanted: Vec<String> = numbers
            .iter()
            .flat_map(|number| endpoints(*number).iter().map(move |to| (number, *to)))
            .filter(|(_, endpoint)| to.is_none_or(|to| to == *endpoint))
            .map(|(number, to)| format!("e{number:04}>{to}"))
            .collect();
        assert_eq!(names(subject, &filter, 50).await, wanted, "{to:?}");
    }
}

pub(crate) async fn what_was_never_there_is_empty(subject: Subject) {
    let journal = &subject.journal;
    assert_eq!(journal.event(&tenant("acme"), &id("1")).await.unwrap(), None);
    assert_eq!(journal.delivery(&key("1", "a")).await.unwrap(), None);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
    assert_eq!(journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap(), []);
    assert_eq!(all_events(&subject, &events_of("acme"), 10).await, Vec::<String>::new());
    assert_eq!(names(&subject, &everything(), 10).await, Vec::<String>::new());
    assert_eq!(journal.counts(&lane("a")).await.unwrap().0, [0; 7]);
    assert_eq!(journal.endpoint_states().await.unwrap(), []);
    let health = journal.health().await.unwrap();
    assert_eq!((health.writable, health.pending, health.oldest_pending), (Ok(()), 0, None));
}
