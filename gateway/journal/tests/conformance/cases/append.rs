//! All or nothing, once, and byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hookweir_journal::{Appended, FURTHER_KEYS, NewEvent, Old, Seq};
use hookweir_model::{Digest, EventType, Status};

use crate::sample::{
    all, at, delivery, due, ended, event, everything, id, key, lane, new, put, settle, tenant,
};
use crate::subject::Subject;

pub(crate) async fn an_event_is_there_with_its_exact_bytes(subject: Subject) {
    let journal = &subject.journal;
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies: [(&str, Vec<u8>); 6] = [
        ("empty", vec![]),
        ("nuls", vec![0; 300]),
        ("not-utf-8", vec![0xff, 0xfe, 0xc3, 0x28, 0x00, 0x80]),
        ("every-byte", every_byte),
        ("numbers", br#"{"a":1.0e400,"a":01,"b":"\u0000"}"#.to_vec()),
        ("one-mib", (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect()),
    ];
    for (name, body) in &bodies {
        let mut event = event(name);
        event.data = Bytes::from(body.clone());
        journal.append(vec![new(event, &["a"])]).await.unwrap();
    }
    for (name, body) in &bodies {
        let read = journal.event(&tenant("acme"), &id(name)).await.unwrap().unwrap();
        assert!(read.data == body, "{name}");
    }
    let waiting = due(journal, &lane("a"), 0).await;
    let read: Vec<&[u8]> = waiting.iter().map(|delivery| &delivery.event.data[..]).collect();
    assert!(read == bodies.iter().map(|(_, body)| &body[..]).collect::<Vec<_>>());
}

pub(crate) async fn every_attribute_comes_back(subject: Subject) {
    let mut full = event("full");
    full.event_type = EventType::new("com.example.some_thing").unwrap();
    full.source = "urn:ü:\"quoted\"\n".to_owned();
    full.subject = Some(String::new());
    full.time = "2026-01-31T12:00:00.123456789+02:00".to_owned();
    full.received = at(-5);
    full.content_type = "text/plain; charset=\"utf-8\"".to_owned();
    full.attributes = vec![
        ("traceparent".to_owned(), "00-1-2-03".to_owned()),
        ("x".to_owned(), String::new()),
        ("x".to_owned(), "a\0b\\\"é\u{10ffff}".to_owned()),
    ];
    full.ordering_key = Some("key \u{0}".to_owned());
    let plain = event("plain");
    for event in [&full, &plain] {
        let mut new = new(event.clone(), &["a"]);
        new.idempotency_key = Some(format!("key of {}", event.id));
        subject.journal.append(vec![new]).await.unwrap();
        let read = subject.journal.event(&event.tenant, &event.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(event));
    }
    let waiting = due(&subject.journal, &lane("a"), 0).await;
    assert_eq!(waiting.iter().map(|delivery| &delivery.event).collect::<Vec<_>>(), [&full, &plain]);
}

pub(crate) async fn a_batch_is_answered_in_its_order(subject: Subject) {
    let journal = &subject.journal;
    let first = put(journal, "b", &["a"]).await;
    let batch = ["a", "b", "c"].map(|name| new(event(name), &["a"])).to_vec();
    let answers = journal.append(batch).await.unwrap();
    let [Appended::Stored { seq: a }, Appended::Duplicate { id: b, .. }, Appended::Stored { seq: c }] =
        answers.as_slice()
    else {
        panic!("{answers:?}");
    };
    assert_eq!(b, &id("b"));
    assert!(first < *a && a < c, "later events have higher numbers");
    assert_eq!(journal.append(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn the_same_id_is_a_duplicate_or_a_conflict(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a", "b"]).await;
    let again = journal.append(vec![new(event("1"), &["a", "b", "c"])]).await.unwrap();
    assert_eq!(again, [Appended::Duplicate { id: id("1"), deliveries: 2 }]);
    let mut other = event("1");
    other.data = Bytes::from_static(b"other");
    let conflict = journal.append(vec![new(other, &["c"])]).await.unwrap();
    assert_eq!(conflict, [Appended::Conflict { id: id("1") }]);
    assert_eq!(journal.event(&tenant("acme"), &id("1")).await.unwrap(), Some(event("1")));
    assert_eq!(journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap().len(), 2);
}

fn keyed(name: &str, idempotency_key: &str, body: &'static str, to: &[&str]) -> NewEvent {
    let mut event = event(name);
    event.data = Bytes::from_static(body.as_bytes());
    NewEvent { idempotency_key: Some(idempotency_key.to_owned()), ..new(event, to) }
}

pub(crate) async fn the_same_key_is_a_duplicate_or_a_conflict(subject: Subject) {
    let journal = &subject.journal;
    journal.append(vec![keyed("1", "k", "x", &["a"])]).await.unwrap();
    let again = journal.append(vec![keyed("2", "k", "x", &["a", "b"])]).await.unwrap();
    assert_eq!(again, [Appended::Duplicate { id: id("1"), deliveries: 1 }]);
    let conflict = journal.append(vec![keyed("3", "k", "y", &["a"])]).await.unwrap();
    assert_eq!(conflict, [Appended::Conflict { id: id("1") }]);
    for name in ["2", "3"] {
        assert_eq!(journal.event(&tenant("acme"), &id(name)).await.unwrap(), None);
    }
    let free = journal.append(vec![keyed("4", "other", "y", &["a"])]).await.unwrap();
    assert!(matches!(free[..], [Appended::Stored { .. }]));
}

pub(crate) async fn a_place_taken_by_another_event_is_a_conflict_even_beside_a_duplicate(subject: Subject) {
    let journal = &subject.journal;
    journal.append(vec![keyed("1", "k1", "x", &[]), keyed("2", "k2", "y", &[])]).await.unwrap();
    // The id says event 1, the key says event 2.
    let answers = journal.append(vec![keyed("1", "k2", "x", &[]), keyed("1", "k2", "y", &[])]).await.unwrap();
    assert_eq!(answers, [Appended::Conflict { id: id("2") }, Appended::Conflict { id: id("1") }]);
    // A key that is new beside an id that another event has: nothing is kept, not even the key.
    let again = journal.append(vec![keyed("1", "k3", "y", &[]), keyed("3", "k3", "z", &[])]).await.unwrap();
    assert_eq!(again[0], Appended::Conflict { id: id("1") });
    assert!(matches!(again[1], Appended::Stored { .. }));
}

pub(crate) async fn the_key_of_an_event_that_was_sent_again_answers_the_first(subject: Subject) {
    let journal = &subject.journal;
    let first = Appended::Duplicate { id: id("1"), deliveries: 1 };
    let seq = put(journal, "1", &["a"]).await;
    // The data of `event("1")`, under its own id and then under others.
    let with = |name: &str, key: &str| NewEvent {
        idempotency_key: Some(key.to_owned()),
        fingerprint: new(event("1"), &[]).fingerprint,
        ..new(event(name), &["a", "b"])
    };
    let answers = journal.append(vec![with("1", "k1"), with("2", "k1"), with("1", "k2")]).await.unwrap();
    assert_eq!(answers, [first.clone(), first.clone(), first.clone()]);
    assert_eq!(
        journal.append(vec![with("3", "k2"), with("1", "k1")]).await.unwrap(),
        [first.clone(), first.clone()]
    );
    let other = journal.append(vec![keyed("4", "k1", "y", &["a"])]).await.unwrap();
    assert_eq!(other, [Appended::Conflict { id: id("1") }]);
    for name in ["2", "3", "4"] {
        assert_eq!(journal.event(&tenant("acme"), &id(name)).await.unwrap(), None);
    }
    // There is a bound: those beyond it are answered and not kept.
    for further in 2..FURTHER_KEYS + 3 {
        assert_eq!(
            journal.append(vec![with("1", &format!("more-{further}"))]).await.unwrap(),
            std::slice::from_ref(&first)
        );
    }
    let beyond = format!("more-{}", FURTHER_KEYS + 2);
    assert!(matches!(journal.append(vec![with("5", &beyond)]).await.unwrap()[..], [Appended::Stored { .. }]));
    // They go with their event.
    settle(journal, &lane("a"), seq, 1, ended(Status::Delivered)).await;
    assert_eq!(journal.expire(Old::All, 9).await.unwrap().events, 1);
    assert!(matches!(journal.append(vec![with("6", "k1")]).await.unwrap()[..], [Appended::Stored { .. }]));
}

pub(crate) async fn ids_and_keys_belong_to_their_tenant(subject: Subject) {
    let journal = &subject.journal;
    journal.append(vec![keyed("1", "k", "x", &["a"])]).await.unwrap();
    let mut theirs = keyed("1", "k", "y", &["a"]);
    Arc::make_mut(&mut theirs.event).tenant = tenant("other");
    let answers = journal.append(vec![theirs]).await.unwrap();
    assert!(matches!(answers[..], [Appended::Stored { .. }]));
    assert_eq!(journal.event(&tenant("acme"), &id("1")).await.unwrap().unwrap().data, "x");
    assert_eq!(journal.event(&tenant("other"), &id("1")).await.unwrap().unwrap().data, "y");
    assert_eq!(due(journal, &lane("a"), 0).await.len(), 1);
}

pub(crate) async fn events_of_one_batch_see_each_other(subject: Subject) {
    let batch = vec![
        keyed("1", "k", "x", &["a"]),
        keyed("1", "k", "x", &["a"]),
        keyed("2", "k", "x", &["a"]),
        keyed("3", "k", "y", &["a"]),
        keyed("1", "l", "y", &["a"]),
    ];
    let answers = subject.journal.append(batch).await.unwrap();
    assert!(matches!(answers[0], Appended::Stored { .. }));
    let same = Appended::Duplicate { id: id("1"), deliveries: 1 };
    let other = Appended::Conflict { id: id("1") };
    assert_eq!(answers[1..], [same.clone(), same, other.clone(), other]);
    assert_eq!(due(&subject.journal, &lane("a"), 0).await.len(), 1);
}

pub(crate) async fn an_endpoint_named_twice_has_one_delivery(subject: Subject) {
    put(&subject.journal, "1", &["a", "b", "a"]).await;
    assert_eq!(subject.journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap().len(), 2);
    assert_eq!(subject.journal.counts(&lane("a")).await.unwrap().of(Status::Pending), 1);
}

pub(crate) async fn an_event_that_matches_nobody_is_kept(subject: Subject) {
    put(&subject.journal, "1", &[]).await;
    assert_eq!(subject.journal.event(&tenant("acme"), &id("1")).await.unwrap(), Some(event("1")));
    assert_eq!(subject.journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap(), []);
    let again = subject.journal.append(vec![new(event("1"), &["a"])]).await.unwrap();
    assert_eq!(again, [Appended::Duplicate { id: id("1"), deliveries: 0 }]);
}

pub(crate) async fn a_refused_event_leaves_nothing_behind(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a"]).await;
    let mut other = event("1");
    other.data = Bytes::from_static(b"other");
    journal.append(vec![new(other, &["a", "b"]), new(event("1"), &["b"])]).await.unwrap();
    assert_eq!(due(journal, &lane("a"), 0).await.len(), 1);
    assert!(due(journal, &lane("b"), 0).await.is_empty());
    assert_eq!(journal.counts(&lane("b")).await.unwrap().0.iter().sum::<u64>(), 0);
    let several = journal.counts_of(&[lane("b"), lane("a"), lane("none"), lane("a")]).await.unwrap();
    let pending: Vec<_> = several.iter().map(|counts| counts.of(Status::Pending)).collect();
    assert_eq!(pending, [0, 1, 0, 1]);
    assert_eq!(journal.counts_of(&[]).await.unwrap(), []);
    assert_eq!(all(journal, &everything(), 10).await.len(), 1);
}

pub(crate) async fn many_tasks_append_at_once(subject: Subject) {
    const TASKS: usize = 64;
    const EACH: usize = 20;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let journal = Arc::clone(&subject.journal);
        tasks.push(tokio::spawn(async move {
            let mut stored = Vec::new();
            for number in 0..EACH {
                // Every task also sends the event that all share.
                let batch = vec![
                    new(event(&format!("{task}-{number}")), &["a", &format!("e{task}")]),
                    new(event("shared"), &["shared"]),
                ];
                stored.extend(journal.append(batch).await.unwrap());
            }
            stored
        }));
    }
    let mut seqs: BTreeSet<Seq> = BTreeSet::new();
    let mut duplicates = 0;
    for task in tasks {
        for answer in task.await.unwrap() {
            match answer {
                Appended::Stored { seq } => assert!(seqs.insert(seq), "a number was given twice"),
                Appended::Duplicate { id: of, .. } => {
                    assert_eq!(of, id("shared"));
                    duplicates += 1;
                }
                Appended::Conflict { id } => panic!("{id}"),
            }
        }
    }
    assert_eq!(seqs.len(), TASKS * EACH + 1);
    assert_eq!(duplicates, TASKS * EACH - 1);
    assert_eq!(subject.journal.counts(&lane("a")).await.unwrap().of(Status::Pending), (TASKS * EACH) as u64);
    assert_eq!(subject.journal.counts(&lane("e7")).await.unwrap().of(Status::Pending), EACH as u64);
    for task in 0..TASKS {
        let name = format!("{task}-{}", EACH - 1);
        let data = journal_data(&subject, &name).await;
        assert_eq!(data, event(&name).data);
        assert_eq!(delivery(&subject.journal, &key(&name, "a")).await.status, Status::Pending);
    }
    assert_eq!(Digest::of(&journal_data(&subject, "shared").await), Digest::of(&event("shared").data));
}

async fn journal_data(subject: &Subject, name: &str) -> Bytes {
    subject.journal.event(&tenant("acme"), &id(name)).await.unwrap().unwrap().data
}
