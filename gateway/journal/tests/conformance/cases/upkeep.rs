//! Counts, health, expiry, endpoint states, blobs, and the end.

use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::{
    Appended, DeliveryFilter, Error, Expired, KeptClock, LaneBacklog, Old, Oldest, Selection,
};
use hookweir_model::{
    Digest, Disabled, EndpointState, Failing, Paused, PluginId, PluginKey, PluginState, Status, Upload,
};

use crate::sample::{
    NOON, all, at, due, ended, endpoint, event, everything, id, key, lane, new, own, put, put_event,
    retry_at, settle, settle_with, shaped, tenant,
};
use crate::subject::Subject;

async fn assert_counts_match_lists(subject: &Subject, name: &str) {
    let counts = subject.journal.counts(&lane(name)).await.unwrap();
    for status in Status::ALL {
        let filter = DeliveryFilter { endpoint: Some(endpoint(name)), status: Some(status), ..everything() };
        let listed = all(&subject.journal, &filter, 100).await.len() as u64;
        assert_eq!(counts.of(status), listed, "{name} {status}");
    }
}

pub(crate) async fn counts_say_what_lists_say(subject: Subject) {
    let journal = &subject.journal;
    for number in 0..21 {
        let seq = put(journal, &number.to_string(), &["a", "b"]).await;
        let status = Status::ALL[number % Status::ALL.len()];
        if status != Status::Pending {
            settle(journal, &lane("a"), seq, 1, ended(status)).await;
        }
        if number % 3 == 0 {
            settle(journal, &lane("b"), seq, 1, retry_at(5)).await;
        }
    }
    for name in ["a", "b"] {
        assert_counts_match_lists(&subject, name).await;
    }
    assert_eq!(journal.counts(&lane("a")).await.unwrap().0, [3; 7]);
    journal.requeue(Selection::Recover { endpoint: lane("a"), since: at(0) }).await.unwrap();
    journal.requeue(Selection::Retry(key("1", "a"))).await.unwrap();
    let to = ["a", "c"].map(endpoint).to_vec();
    journal
        .requeue(Selection::Replay { tenant: tenant("acme"), event: id("2"), endpoints: to })
        .await
        .unwrap();
    for name in ["a", "b", "c"] {
        assert_counts_match_lists(&subject, name).await;
    }
    journal.expire(Old::All, 1000).await.unwrap();
    for name in ["a", "b", "c"] {
        assert_counts_match_lists(&subject, name).await;
    }
}

pub(crate) async fn pending_bytes_follow_the_deliveries(subject: Subject) {
    let journal = &subject.journal;
    let bytes = async || journal.pending_bytes(&tenant("acme")).await.unwrap();
    assert_eq!(bytes().await, 0);
    let size = event("1").data.len() as u64;
    let seq = put(journal, "1", &["a", "b"]).await;
    put(journal, "2", &[]).await;
    assert_eq!(bytes().await, 2 * size, "once for each endpoint");
    settle(journal, &lane("a"), seq, 1, ended(Status::Delivered)).await;
    assert_eq!(bytes().await, size);
    settle(journal, &lane("b"), seq, 1, retry_at(5)).await;
    assert_eq!(bytes().await, size, "what is tried again waits");
    settle(journal, &lane("b"), seq, 2, ended(Status::Exhausted)).await;
    settle(journal, &lane("b"), seq, 2, ended(Status::Exhausted)).await;
    assert_eq!(bytes().await, 0);
    for _ in 0..2 {
        journal.requeue(Selection::Retry(key("1", "b"))).await.unwrap();
        assert_eq!(bytes().await, size, "what is sent again waits, and is counted once");
    }
    let replay = Selection::Replay {
        tenant: tenant("acme"),
        event: id("1"),
        endpoints: vec![endpoint("a"), endpoint("b"), endpoint("late")],
    };
    journal.requeue(replay).await.unwrap();
    assert_eq!(bytes().await, 3 * size);
    assert_eq!(journal.pending_bytes(&tenant("other")).await.unwrap(), 0);
}

pub(crate) async fn health_tells_what_is_pending(subject: Subject) {
    let journal = &subject.journal;
    let mut stored = Vec::new();
    for (name, millis) in [("1", 5000), ("2", 6000), ("3", 7000)] {
        let mut event = event(name);
        event.received = at(millis);
        stored.push(put_event(journal, event, &["a", "b"]).await);
    }
    let epoch = own(journal, &lane("a")).await;
    settle(journal, &lane("a"), stored[0], 1, ended(Status::Delivered)).await;
    settle(journal, &lane("b"), stored[0], 1, retry_at(9000)).await;
    let health = journal.health().await.unwrap();
    let received = |health: &hookweir_journal::Health| health.oldest_pending.map(|oldest| oldest.received);
    assert_eq!((health.writable.clone(), health.pending, received(&health)), (Ok(()), 5, Some(at(5000))));
    assert!(health.epoch >= epoch);
    settle(journal, &lane("b"), stored[0], 2, ended(Status::Exhausted)).await;
    let health = journal.health().await.unwrap();
    assert_eq!((health.pending, received(&health)), (4, Some(at(6000))));
}

pub(crate) async fn backlogs_tell_what_waits_for_each_endpoint(subject: Subject) {
    let journal = &subject.journal;
    assert_eq!(journal.backlogs().await.unwrap(), []);
    let mut stored = Vec::new();
    for (name, millis) in [("1", 5000), ("2", 6000)] {
        let mut event = event(name);
        event.received = at(millis);
        stored.push(put_event(journal, event, &["b", "a", "c"]).await);
    }
    for name in ["a", "b", "c"] {
        own(journal, &lane(name)).await;
    }
    settle(journal, &lane("a"), stored[0], 1, ended(Status::Delivered)).await;
    settle(journal, &lane("b"), stored[0], 1, retry_at(9000)).await;
    settle(journal, &lane("c"), stored[0], 1, ended(Status::Filtered)).await;
    settle(journal, &lane("c"), stored[1], 1, ended(Status::Failed)).await;
    let backlog = |name, pending, oldest| {
        let oldest = Oldest { received: at(oldest), after: None, before: None };
        LaneBacklog { endpoint: lane(name), pending, oldest: Some(oldest) }
    };
    assert_eq!(journal.backlogs().await.unwrap(), [backlog("a", 1, 6000), backlog("b", 2, 5000)]);
}

/// The clock after so many seconds, at noon.
fn clock_at(seconds: u64) -> KeptClock {
    let time = at(NOON + 1000 * i64::try_from(seconds).unwrap());
    KeptClock {
        running: Duration::from_secs(seconds),
        time,
        wall: at(5),
        uptime: Duration::from_secs(7),
        boot: "1-2".to_owned(),
    }
}

fn ran(seconds: u64) -> Old {
    Old::At(Duration::from_secs(seconds))
}

pub(crate) async fn the_clock_is_kept(subject: Subject) {
    let journal = &subject.journal;
    assert_eq!(journal.kept_clock().await.unwrap(), None);
    for seconds in [0, 60, 90_000] {
        journal.keep_clock(&clock_at(seconds)).await.unwrap();
        assert_eq!(journal.kept_clock().await.unwrap(), Some(clock_at(seconds)));
    }
    let writes = journal.writes();
    put(journal, "1", &["a"]).await;
    assert!(journal.writes() > writes);
}

pub(crate) async fn age_is_told_by_the_clock_that_was_kept(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a"]).await;
    journal.keep_clock(&clock_at(60)).await.unwrap();
    put(journal, "2", &["b"]).await;
    journal.keep_clock(&clock_at(120)).await.unwrap();
    journal.keep_clock(&clock_at(180)).await.unwrap();
    put(journal, "3", &["c"]).await;
    let oldest: Vec<_> = journal.backlogs().await.unwrap().into_iter().map(|lane| lane.oldest).collect();
    let known = |after: Option<u64>, before: Option<u64>| {
        let [after, before] = [after, before].map(|seconds| seconds.map(|seconds| clock_at(seconds).time));
        Some(Oldest { received: at(NOON), after, before })
    };
    // Where nothing had come since the clock was kept, keeping it again says nothing new.
    let wanted = [known(None, Some(60)), known(Some(60), Some(120)), known(Some(120), None)];
    assert_eq!(oldest, wanted);
    assert_eq!(journal.health().await.unwrap().oldest_pending, wanted[0]);
}

pub(crate) async fn expiry_takes_the_oldest_within_its_budget(subject: Subject) {
    let journal = &subject.journal;
    for number in 0..10 {
        let mut event = event(&number.to_string());
        // The wall clock says that those that came last are the oldest.
        event.received = at(1000 * (10 - i64::try_from(number).unwrap()));
        put_event(journal, event, &[]).await;
        journal.keep_clock(&clock_at(10 * number)).await.unwrap();
    }
    let expired = |events, more| Expired { events, more };
    assert_eq!(journal.expire(Old::At(Duration::ZERO), 0).await.unwrap(), expired(0, true));
    assert_eq!(journal.expire(ran(69), 3).await.unwrap(), expired(3, true));
    for (name, is_there) in [("0", false), ("2", false), ("3", true), ("9", true)] {
        assert_eq!(journal.event(&tenant("acme"), &id(name)).await.unwrap().is_some(), is_there, "{name}");
    }
    assert_eq!(journal.expire(ran(69), 0).await.unwrap(), expired(0, true));
    assert_eq!(journal.expire(ran(69), 4).await.unwrap(), expired(4, false));
    assert_eq!(journal.expire(ran(69), 4).await.unwrap(), expired(0, false));
    assert!(journal.event(&tenant("acme"), &id("7")).await.unwrap().is_some(), "it came after that");
    assert_eq!(journal.expire(ran(70), 4).await.unwrap(), expired(1, false), "it was there then");
}

pub(crate) async fn what_was_never_noted_is_not_old(subject: Subject) {
    let journal = &subject.journal;
    put_event(journal, event("1"), &[]).await;
    let nothing = Expired { events: 0, more: false };
    assert_eq!(journal.expire(ran(1_000_000), 9).await.unwrap(), nothing);
    journal.keep_clock(&clock_at(100)).await.unwrap();
    assert_eq!(journal.expire(ran(99), 9).await.unwrap(), nothing);
    assert_eq!(journal.expire(ran(100), 9).await.unwrap().events, 1);
}

pub(crate) async fn notes_of_long_ago_are_an_hour_apart(subject: Subject) {
    let journal = &subject.journal;
    for number in 0..60_u64 {
        put_event(journal, event(&number.to_string()), &[]).await;
        journal.keep_clock(&clock_at(600 * number)).await.unwrap();
    }
    put_event(journal, event("last"), &[]).await;
    journal.keep_clock(&clock_at(600 * 60 + 25 * 3600)).await.unwrap();
    // Nothing goes before its time for it, and all goes an hour later at the latest.
    let hour = 3600;
    let gone = |seconds: u64| seconds / 600 + 1;
    let expired = journal.expire(ran(2 * hour), 999).await.unwrap().events;
    assert!((gone(hour)..=gone(2 * hour)).contains(&expired), "{expired}");
    assert_eq!(journal.expire(ran(600 * 59), 999).await.unwrap().events + expired, 60);
}

pub(crate) async fn expiry_leaves_what_is_pending(subject: Subject) {
    let journal = &subject.journal;
    let first = put(journal, "1", &["a", "b"]).await;
    let second = put(journal, "2", &["a", "b"]).await;
    for name in ["a", "b"] {
        settle(journal, &lane(name), second, 1, ended(Status::Delivered)).await;
    }
    settle(journal, &lane("a"), first, 1, ended(Status::Delivered)).await;
    settle(journal, &lane("b"), first, 1, retry_at(1_000_000)).await;
    assert_eq!(journal.expire(Old::All, 100).await.unwrap(), Expired { events: 1, more: false });
    assert_eq!(journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap().len(), 2);
    assert_eq!(journal.event(&tenant("acme"), &id("2")).await.unwrap(), None);
    settle(journal, &lane("b"), first, 2, ended(Status::Expired)).await;
    assert_eq!(journal.expire(Old::All, 100).await.unwrap(), Expired { events: 1, more: false });
}

pub(crate) async fn what_ended_after_an_expiry_goes_with_the_next(subject: Subject) {
    let journal = &subject.journal;
    let mut stored = Vec::new();
    for number in 1..=6 {
        stored.push(put(journal, &number.to_string(), &["a"]).await);
        journal.keep_clock(&clock_at(60 * number)).await.unwrap();
    }
    let expire = async |old| journal.expire(old, 100).await.unwrap().events;
    assert_eq!(expire(Old::All).await, 0);
    settle(journal, &lane("a"), stored[3], 1, ended(Status::Delivered)).await;
    settle(journal, &lane("a"), stored[1], 1, retry_at(5)).await;
    assert_eq!(expire(ran(3 * 60)).await, 0, "the one that has ended is too young");
    settle(journal, &lane("a"), stored[1], 2, ended(Status::Exhausted)).await;
    settle(journal, &lane("a"), stored[0], 1, ended(Status::Filtered)).await;
    assert_eq!(journal.expire(Old::All, 2).await.unwrap(), Expired { events: 2, more: true });
    assert_eq!(expire(Old::All).await, 1);
    // One that is sent again waits again.
    settle(journal, &lane("a"), stored[4], 1, ended(Status::Failed)).await;
    journal.requeue(Selection::Retry(key("5", "a"))).await.unwrap();
    assert_eq!(expire(Old::All).await, 0);
    journal.cancel(&key("5", "a"), "not wanted").await.unwrap();
    assert_eq!(expire(Old::All).await, 1);
    assert_eq!(journal.counts(&lane("a")).await.unwrap().of(Status::Pending), 2);
}

pub(crate) async fn an_expired_event_is_gone_with_all_that_hung_on_it(subject: Subject) {
    let journal = &subject.journal;
    let mut keyed = new(event("1"), &["a"]);
    keyed.idempotency_key = Some("k".to_owned());
    let appended = journal.append(vec![keyed.clone()]).await.unwrap();
    let [Appended::Stored { seq }] = appended[..] else { panic!("{appended:?}") };
    settle_with(journal, &lane("a"), seq, 1, retry_at(5), Some(shaped("old"))).await;
    settle(journal, &lane("a"), seq, 2, ended(Status::Exhausted)).await;
    journal.expire(Old::All, 10).await.unwrap();
    assert_eq!(journal.delivery(&key("1", "a")).await.unwrap(), None);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
    assert_eq!(journal.counts(&lane("a")).await.unwrap().0, [0; 7]);
    assert_eq!(all(journal, &everything(), 10).await, []);
    // Its id and its key are free, and the new event starts from nothing, under a number of its own.
    let again = journal.append(vec![keyed]).await.unwrap();
    let [Appended::Stored { seq: anew }] = again[..] else { panic!("{again:?}") };
    assert!(anew > seq);
    let found = due(journal, &lane("a"), 5).await;
    assert_eq!((found[0].attempts, &found[0].shaped), (0, &None));
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
}

pub(crate) async fn a_large_expiry_is_whole(subject: Subject) {
    const EVENTS: u64 = 3000;
    let journal = &subject.journal;
    let batch = (0..EVENTS).map(|number| {
        let to: &[&str] = if number % 3 == 0 { &["a"] } else { &[] };
        new(event(&number.to_string()), to)
    });
    journal.append(batch.collect()).await.unwrap();
    assert_eq!(journal.expire(Old::All, 1500).await.unwrap(), Expired { events: 1500, more: true });
    assert_eq!(journal.expire(Old::All, 1500).await.unwrap(), Expired { events: 500, more: false });
    assert_eq!(journal.counts(&lane("a")).await.unwrap().of(Status::Pending), 1000);
    assert_eq!(all(journal, &everything(), 700).await.len(), 1000);
}

pub(crate) async fn endpoint_states_are_kept(subject: Subject) {
    let journal = &subject.journal;
    let off = EndpointState {
        disabled: Some(Disabled { reason: "the receiver answered 410 \"Gone\"".to_owned(), at: at(77) }),
        failing: Some(Failing { since: at(5), running: Duration::from_millis(77), attempts: 3 }),
        ..EndpointState::default()
    };
    let began = Failing { since: at(6), running: Duration::ZERO, attempts: u32::MAX };
    let failing = EndpointState { failing: Some(began), ..EndpointState::default() };
    journal.put_endpoint_state(&lane("b"), &off).await.unwrap();
    journal.put_endpoint_state(&lane("a"), &off).await.unwrap();
    journal.put_endpoint_state(&lane("a"), &failing).await.unwrap();
    let states = journal.endpoint_states().await.unwrap();
    assert_eq!(states, [(lane("a"), failing), (lane("b"), off)]);
    assert!(due(journal, &lane("a"), 0).await.is_empty(), "a state is not a delivery");
}

pub(crate) async fn blobs_are_kept_by_their_digest(subject: Subject) {
    let journal = &subject.journal;
    for bytes in [Bytes::new(), Bytes::from_static(b"\0asm\x01"), Bytes::from(vec![7; 3 << 20])] {
        let digest = journal.put_blob(bytes.clone()).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(journal.put_blob(bytes.clone()).await.unwrap(), digest, "again is the same");
        assert!(journal.blob(digest).await.unwrap() == Some(bytes));
    }
    assert_eq!(journal.blob(Digest::of(b"none")).await.unwrap(), None);
}

fn plugin(of: &str, name: &str) -> PluginKey {
    PluginKey::new(tenant(of), PluginId::new(name).unwrap())
}

fn uploaded(current: Digest, previous: Option<Digest>) -> PluginState {
    PluginState { upload: Some(Upload { current, previous, at: at(7) }), paused: None }
}

pub(crate) async fn plugin_states_are_kept(subject: Subject) {
    let journal = &subject.journal;
    let [old, new] = [b"old".as_slice(), b"new"].map(Digest::of);
    for bytes in ["old", "new"] {
        journal.put_blob(Bytes::from_static(bytes.as_bytes())).await.unwrap();
    }
    let paused = Paused { digest: old, since: at(9), reason: "it \"trapped\"".to_owned(), failures: 5 };
    let of_file = PluginState { upload: None, paused: Some(paused) };
    let both = uploaded(new, Some(old));
    journal.put_plugin_state(&plugin("globex", "b"), &both).await.unwrap();
    journal.put_plugin_state(&plugin("acme", "b"), &both).await.unwrap();
    journal.put_plugin_state(&plugin("acme", "b"), &of_file).await.unwrap();
    journal.put_plugin_state(&plugin("acme", "a"), &PluginState::default()).await.unwrap();
    let wanted = [
        (plugin("acme", "a"), PluginState::default()),
        (plugin("acme", "b"), of_file),
        (plugin("globex", "b"), both),
    ];
    assert_eq!(journal.plugin_states().await.unwrap(), wanted);
}

pub(crate) async fn a_blob_stays_while_a_plugin_needs_it(subject: Subject) {
    let journal = &subject.journal;
    let mut digests = Vec::new();
    for bytes in ["1", "2", "3"] {
        digests.push(journal.put_blob(Bytes::from_static(bytes.as_bytes())).await.unwrap());
    }
    let (a, b) = (plugin("acme", "a"), plugin("globex", "b"));
    journal.put_plugin_state(&a, &uploaded(digests[1], Some(digests[0]))).await.unwrap();
    let kept = async || {
        let mut kept = Vec::new();
        for digest in &digests {
            kept.push(journal.blob(*digest).await.unwrap().is_some());
        }
        kept
    };
    assert_eq!(kept().await, [true, true, false], "nobody named the third");
    journal.put_plugin_state(&b, &uploaded(digests[0], None)).await.unwrap();
    journal.put_plugin_state(&a, &PluginState::default()).await.unwrap();
    assert_eq!(kept().await, [true, false, false], "another tenant needs the first");
    journal.put_plugin_state(&b, &PluginState::default()).await.unwrap();
    assert_eq!(kept().await, [false; 3]);
}

pub(crate) async fn a_plugin_state_needs_its_blobs(subject: Subject) {
    let journal = &subject.journal;
    let kept = journal.put_blob(Bytes::from_static(b"kept")).await.unwrap();
    let lost = Digest::of(b"never kept");
    for state in [uploaded(lost, None), uploaded(kept, Some(lost))] {
        let refused = journal.put_plugin_state(&plugin("acme", "a"), &state).await;
        assert!(matches!(refused, Err(Error::NotFound("blob"))), "{refused:?}");
    }
    assert_eq!(journal.plugin_states().await.unwrap(), []);
    assert!(journal.blob(kept).await.unwrap().is_some(), "a refusal changes nothing");
}

pub(crate) async fn calls_after_close_fail(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a"]).await;
    journal.close().await;
    journal.close().await;
    assert!(matches!(journal.append(vec![new(event("2"), &[])]).await, Err(Error::Failed(_))));
    assert!(matches!(journal.settle(Vec::new()).await, Err(Error::Failed(_))));
    assert!(matches!(journal.event(&tenant("acme"), &id("1")).await, Err(Error::Failed(_))));
    assert!(matches!(journal.requeue(Selection::Retry(key("1", "a"))).await, Err(Error::Failed(_))));
    assert!(matches!(
        journal.acquire_shards("node-1", std::time::Duration::ZERO).await,
        Err(Error::Failed(_))
    ));
    assert!(matches!(journal.health().await, Err(Error::Failed(_))));
}
