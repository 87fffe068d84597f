//! What the embedded engine promises beyond the contract: its files, its lock, its epochs, one sync for many, and
//! damage that is reported.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::{
    Amount, Answered, Appended, Content, Damages as _, DeliveryFilter, DueDelivery, Error, EventFilter,
    Journal, Made, NewEvent, NewMessage, Next, Old, Queues, Receipt, Receive, Selection, Seq, Settlement,
    Verdict,
};
use hookweir_model::{
    Attempt, DeliveryKey, Digest, Disabled, EndpointId, EndpointKey, EndpointState, Epoch, Event, EventId,
    EventType, Outcome, PluginId, PluginKey, PluginState, Shaped, Status, TenantId, Timestamp, Upload,
};
use hookweir_tests::eventually;
use rusqlite::Connection;

mod damage;
mod damaged_log;
mod migration;
mod room;

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).expect("the journal opens")
}

fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn id(text: &str) -> EventId {
    EventId::new(text).expect("an id")
}

fn lane() -> EndpointKey {
    EndpointKey::new(tenant(), EndpointId::new("a").expect("a name"))
}

fn key(event: &str) -> DeliveryKey {
    DeliveryKey { tenant: tenant(), endpoint: lane().endpoint, event: id(event) }
}

fn new(name: &str, data: impl Into<Bytes>) -> NewEvent {
    let data = data.into();
    NewEvent {
        fingerprint: Digest::of(&data),
        idempotency_key: Some(format!("key-{name}")),
        endpoints: vec![lane().endpoint],
        event: Arc::new(Event {
            tenant: tenant(),
            id: id(name),
            event_type: EventType::new("order.created").expect("a type"),
            source: "/".to_owned(),
            subject: Some(format!("subject-of-{name}")),
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: Timestamp::from_millis(1_700_000_000_000),
            content_type: "text/plain".to_owned(),
            attributes: vec![("a".to_owned(), "b".to_owned())],
            ordering_key: None,
            data,
        }),
    }
}

async fn put(journal: &Embedded, name: &str, data: impl Into<Bytes>) -> Seq {
    match journal.append(vec![new(name, data)]).await.expect("an answer")[..] {
        [Appended::Stored { seq }] => seq,
        ref other => panic!("{other:?}"),
    }
}

async fn epoch(journal: &Embedded) -> Epoch {
    journal.acquire_shards("node-1", Duration::ZERO).await.expect("leases")[0].epoch
}

/// Settles a first attempt.
async fn settle(journal: &Embedded, seq: Seq, next: Next, shaped: Option<Shaped>) {
    let epoch = epoch(journal).await;
    let settlement = Settlement {
        endpoint: lane(),
        seq,
        epoch,
        attempt: Some(attempt()),
        next,
        made: Made { shaped, calls: Vec::new() },
    };
    journal.settle(vec![settlement]).await.expect("an answer");
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        started: Timestamp::from_millis(1),
        duration_ms: 1,
        outcome: Outcome::Retry,
        reason: None,
        answer: None,
        plugins: Vec::new(),
        exchange: None,
    }
}

/// Delivers all that is due, each by its next attempt.
async fn settle_again(journal: &Embedded) {
    let epoch = epoch(journal).await;
    let due = journal
        .due(&lane(), Timestamp::from_millis(i64::MAX), &[], Amount::of(9))
        .await
        .expect("read")
        .deliveries;
    let settlement = |due: &DueDelivery| Settlement {
        made: Made::default(),
        endpoint: lane(),
        seq: due.seq,
        epoch,
        attempt: Some(Attempt { number: due.attempts + 1, outcome: Outcome::Delivered, ..attempt() }),
        next: Next::Final { status: Status::Delivered, reason: None },
    };
    journal.settle(due.iter().map(settlement).collect()).await.expect("an answer");
}

/// Waits for a condition that the journal reaches by itself. The limit only ends a test that would hang.
async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    eventually("the journal to get there", async || match condition().await {
        true => Ok(()),
        false => Err("it has not".to_owned()),
    })
    .await;
}

/// Changes a byte of the file after the one place where `marker` stands.
fn damage(directory: &Path, marker: &str) {
    let path = directory.join("journal.db");
    let mut bytes = fs::read(&path).expect("the file");
    let places: Vec<usize> =
        (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker.as_bytes())).collect();
    assert_eq!(places.len(), 1, "{marker} stands in the file once");
    bytes[places[0] + marker.len() - 1] ^= 0x01;
    fs::write(path, bytes).expect("written");
}

async fn fill(journal: &Embedded) {
    let seq = put(journal, "retried", "data").await;
    let shaped = Shaped {
        content_type: "text/plain".to_owned(),
        headers: vec![("x".to_owned(), "y".to_owned())],
        body: Bytes::from_static(b"shaped"),
    };
    settle(
        journal,
        seq,
        Next::RetryAt { due: Timestamp::from_millis(5), reason: Some("why".to_owned()) },
        Some(shaped),
    )
    .await;
    let seq = put(journal, "delivered", vec![0, 255, 7]).await;
    settle(journal, seq, Next::Final { status: Status::Delivered, reason: None }, None).await;
    put(journal, "fresh", "").await;
    let disabled = Disabled { reason: "by hand".to_owned(), at: Timestamp::from_millis(9) };
    let state = EndpointState { disabled: Some(disabled), ..EndpointState::default() };
    journal.put_endpoint_state(&lane(), &state).await.expect("kept");
    let current = journal.put_blob(Bytes::from_static(b"\0asm")).await.expect("kept");
    let upload = Upload { current, previous: None, at: Timestamp::from_millis(3) };
    journal
        .put_plugin_state(&plugin(), &PluginState { upload: Some(upload), paused: None })
        .await
        .expect("kept");
}

fn plugin() -> PluginKey {
    PluginKey::new(tenant(), PluginId::new("large-only").expect("a name"))
}

async fn assert_filled(journal: &Embedded) {
    let read = journal.event(&tenant(), &id("delivered")).await.expect("read");
    assert_eq!(read, Some(Arc::unwrap_or_clone(new("delivered", vec![0, 255, 7]).event)));
    let due =
        journal.due(&lane(), Timestamp::from_millis(5), &[], Amount::of(9)).await.expect("read").deliveries;
    let due: Vec<_> =
        due.iter().map(|due| (due.event.id.as_str(), due.attempts, due.shaped.is_some())).collect();
    assert_eq!(due, [("retried", 1, true), ("fresh", 0, false)]);
    assert_eq!(journal.attempts(&key("delivered")).await.expect("read").len(), 1);
    let counts = journal.counts(&lane()).await.expect("read");
    assert_eq!((counts.of(Status::Pending), counts.of(Status::Delivered)), (2, 1));
    let states = journal.endpoint_states().await.expect("read");
    assert_eq!(states[0].0, lane());
    let plugins = journal.plugin_states().await.expect("read");
    let uploads: Vec<_> =
        plugins.iter().map(|(key, state)| (key.clone(), state.digests().collect::<Vec<_>>())).collect();
    assert_eq!(uploads, [(plugin(), vec![Digest::of(b"\0asm")])]);
    assert!(journal.blob(Digest::of(b"\0asm")).await.expect("read").is_some());
    let again = journal.append(vec![new("retried", "data")]).await.expect("an answer");
    assert_eq!(again, [Appended::Duplicate { id: id("retried"), deliveries: 1 }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_close_and_after_drop() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    fill(&journal).await;
    journal.close().await;
    let wal = fs::metadata(directory.path().join("journal.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0, "a journal that was closed is in one file");
    let journal = open(directory.path());
    assert_filled(&journal).await;
    drop(journal);
    let journal = open(directory.path());
    assert_filled(&journal).await;
    // What was handed over before the drop is written, even if nobody waits for the answer.
    let journal = Arc::new(journal);
    let waiting = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.append(vec![new("late", "data")]).await }
    });
    waiting.await.expect("the task").expect("an answer");
    drop(journal);
    assert!(open(directory.path()).event(&tenant(), &id("late")).await.expect("read").is_some());
}

/// Which fours of a block hold something is known to the writer for as long as it runs.
#[tokio::test]
async fn a_list_is_whole_where_the_journal_was_opened_anew_in_the_middle_of_a_block() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut wanted = Vec::new();
    for opening in 0..12 {
        let journal = open(directory.path());
        let mut batch = Vec::new();
        for number in 0..9 {
            let mut theirs = new(&format!("theirs-{opening}-{number}"), "x");
            Arc::make_mut(&mut theirs.event).tenant = TenantId::new("other").expect("a name");
            batch.push(theirs);
        }
        let name = format!("ours-{opening:02}");
        batch.push(new(&name, "x"));
        wanted.push(name);
        journal.append(batch).await.expect("kept");
        match opening % 2 {
            0 => journal.close().await,
            _ => drop(journal),
        }
    }
    wanted.reverse();
    let journal = open(directory.path());
    for page_size in [1, 5, 50] {
        let (mut events, mut deliveries) = (Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let filter = EventFilter::of(tenant());
            let page = journal.events(&filter, after.as_ref(), page_size).await.expect("read");
            events.extend(page.items.into_iter().map(|stored| stored.event.id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let filter = DeliveryFilter::of(tenant());
            let page = journal.deliveries(&filter, after.as_ref(), page_size).await.expect("read");
            deliveries.extend(page.items.into_iter().map(|delivery| delivery.key.event.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((&events, &deliveries), (&wanted, &wanted), "pages of {page_size}");
    }
}

#[tokio::test]
async fn every_opening_has_a_higher_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut last = Epoch(0);
    for _ in 0..3 {
        let journal = open(directory.path());
        let present = epoch(&journal).await;
        assert!(present > last);
        journal.release("node-1").await.expect("released");
        last = epoch(&journal).await;
        assert!(last > present, "another owner, another epoch");
        assert_eq!(journal.health().await.expect("health").epoch, last);
    }
}

#[tokio::test]
async fn numbers_are_not_given_twice_after_expiry() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    let seq = put(&journal, "1", "x").await;
    settle(&journal, seq, Next::Final { status: Status::Delivered, reason: None }, None).await;
    journal.expire(Old::All, 10).await.expect("expired");
    drop(journal);
    assert!(put(&open(directory.path()), "2", "x").await > seq);
}

#[test]
fn a_second_process_is_kept_out_with_a_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    let journal = open(&path);
    let mode = fs::metadata(&path).expect("the directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what tenants send is for the gateway alone");
    let error = Embedded::open(&path, Options::default()).expect_err("the journal is in use").to_string();
    let wanted = format!(
        "the journal in {} is in use by another process: stop that one, or give this one another journal path",
        path.display()
    );
    assert_eq!(error, wanted);
    drop(journal);
    drop(open(&path));
}

fn message(name: &str, body: &'static str) -> NewMessage {
    let now = Timestamp::from_millis(1);
    NewMessage {
        content: Content {
            id: id(name),
            event_type: EventType::new("order.created").expect("a type"),
            source: "/".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            shaped: Shaped {
                content_type: "text/plain".to_owned(),
                headers: Vec::new(),
                body: Bytes::from_static(body.as_bytes()),
            },
        },
        enqueued: now,
        visible: now,
    }
}

fn receive(now: i64, until: i64) -> Receive {
    Receive {
        queue: lane(),
        now: Timestamp::from_millis(now),
        until: Timestamp::from_millis(until),
        limit: 10,
        bytes: 1 << 20,
        max_receives: None,
        token: [7; 16],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_is_a_dead_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    let batch = vec![message("1", "whole"), message("2", "BYTES-OF-A-MESSAGE"), message("3", "whole")];
    journal.enqueue(&lane(), batch).await.expect("put");
    journal.close().await;
    damage(directory.path(), "BYTES-OF-A-MESSAGE");

    let journal = open(directory.path());
    let received = journal.receive(receive(1, 2)).await.expect("the others");
    let names: Vec<&str> = received.messages.iter().map(|message| message.content.id.as_str()).collect();
    assert_eq!(names, ["1", "3"]);
    until(|| async {
        journal.queue_stats(&lane(), Timestamp::from_millis(9)).await.expect("read").dead == 1
    })
    .await;
    assert_eq!(journal.stats().damaged, 1);
    assert_eq!(journal.receive(receive(5, 9)).await.expect("an answer").messages.len(), 2);
}

/// A receipt, and the time until which a message is hidden, are on disk when the consumer has them.
#[tokio::test]
async fn a_receipt_is_good_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    let numbers = journal.enqueue(&lane(), vec![message("1", "body")]).await.expect("put");
    journal.receive(receive(1, 100)).await.expect("received");
    drop(journal);
    let journal = open(directory.path());
    assert_eq!(journal.receive(receive(99, 200)).await.expect("an answer").messages, []);
    let receipt = Receipt { number: numbers[0], token: [7; 16] };
    let answered = journal.answer(&lane(), vec![(receipt, Verdict::Ack)]).await.expect("an answer");
    assert_eq!(answered, [Answered::Done]);
    drop(journal);
    let journal = open(directory.path());
    assert_eq!(journal.receive(receive(100, 200)).await.expect("an answer").messages, []);
    let later = journal.enqueue(&lane(), vec![message("2", "body")]).await.expect("put");
    assert!(later[0] > numbers[0], "a number is never given twice");
}

#[test]
fn what_is_not_a_journal_of_this_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path()));
    let file = directory.path().join("journal.db");
    let connection = Connection::open(&file).expect("the file");
    connection.execute_batch("PRAGMA user_version = 99").expect("written");
    drop(connection);
    let error = Embedded::open(directory.path(), Options::default()).expect_err("newer").to_string();
    assert!(
        error.starts_with("the journal was written by a newer hookweir (its tables have version 99"),
        "{error}"
    );
    fs::write(&file, "This is not a database, and long enough to be read as one. ".repeat(100))
        .expect("written");
    let error = Embedded::open(directory.path(), Options::default()).expect_err("no database");
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").expect("written");
    let error =
        Embedded::open(&blocked.join("data"), Options::default()).expect_err("no directory").to_string();
    assert!(error.starts_with("the journal's directory "), "{error}");
}

#[tokio::test]
async fn one_commit_serves_all_that_wait() {
    const CALLS: usize = 512;
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Arc::new(open(directory.path()));
    put(&journal, "first", "x").await;
    let before = journal.stats();
    // While another connection holds SQLite's write lock, the writer waits, and calls gather behind it.
    let hold = Connection::open(directory.path().join("journal.db")).expect("the file");
    hold.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let journal = Arc::clone(&journal);
        calls.spawn(async move { journal.append(vec![new(&number.to_string(), "x")]).await });
    }
    // This runtime has one thread and runs tasks in the order in which they were spawned.
    calls.spawn(async move {
        hold.execute_batch("ROLLBACK").expect("released");
        Ok(Vec::new())
    });
    for answer in calls.join_all().await {
        answer.expect("stored");
    }
    let after = journal.stats();
    assert_eq!(after.calls - before.calls, CALLS as u64);
    // The writer may have taken the first ones before the others were there.
    assert!(after.commits - before.commits <= 2, "{} commits", after.commits - before.commits);
    assert_eq!(after.sync_seconds.count, after.commits);
    assert_eq!(after.sync_seconds.buckets.iter().map(|(_, n)| n).sum::<u64>(), after.commits);
    assert!(after.sync_seconds.sum > before.sync_seconds.sum);
}

#[tokio::test]
async fn the_size_limit_stops_events_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { max_size: Some(2 << 20), ..Options::default() };
    let journal = Embedded::open(directory.path(), options).expect("the journal opens");
    let mut stored = Vec::new();
    let refusal = loop {
        match journal.append(vec![new(&stored.len().to_string(), vec![b'x'; 100_000])]).await {
            Ok(answers) => stored.extend(answers),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refusal, Error::Full(why) if why.contains("`journal.max_size` is 2097152")),
        "{refusal:?}"
    );
    // Room is measured again after 256 KiB at the latest: the third event from the measure before, which a fast machine reaches.
    assert!((10..=23).contains(&stored.len()), "{} events of 100 kB in 2 MiB", stored.len());
    let health = journal.health().await.expect("health");
    assert!(health.writable.expect_err("no room").starts_with("its content takes "), "says why");
    assert!(health.bytes >= 2 << 20);
    for answer in &stored {
        let Appended::Stored { seq } = answer else { panic!("{answer:?}") };
        settle(&journal, *seq, Next::Final { status: Status::Delivered, reason: None }, None).await;
    }
    let last = (stored.len() - 1).to_string();
    journal.requeue(Selection::Retry(key(&last))).await.expect("sent again");
    assert_eq!(journal.expire(Old::All, 5).await.expect("expired").events, 5);
    until(|| async { journal.append(vec![new("again", "x")]).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_is_reported_and_blocks_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    put(&journal, "1", "whole").await;
    let damaged = put(&journal, "2", "SOME-BYTES-OF-DATA").await;
    put(&journal, "3", "whole").await;
    journal.close().await;
    damage(directory.path(), "SOME-BYTES-OF-DATA");

    let journal = open(directory.path());
    match journal.event(&tenant(), &id("2")).await {
        Err(Error::Corrupt(text)) => assert_eq!(text, "event 2 of tenant acme is not what was written"),
        other => panic!("{other:?}"),
    }
    let due =
        journal.due(&lane(), Timestamp::from_millis(0), &[], Amount::of(9)).await.expect("read").deliveries;
    assert_eq!(due.iter().map(|due| due.event.id.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    // It has not vanished: it ends where an operator looks.
    until(|| async {
        journal.delivery(&key("2")).await.expect("its head is whole").expect("there").status
            != Status::Pending
    })
    .await;
    let delivery = journal.delivery(&key("2")).await.expect("read").expect("there");
    assert_eq!(delivery.status, Status::Failed);
    assert_eq!(delivery.reason.as_deref(), Some("the stored event is damaged: it was not sent"));
    let counts = journal.counts(&lane()).await.expect("read");
    assert_eq!((counts.of(Status::Pending), counts.of(Status::Failed)), (2, 1));
    let records = journal.damage(None, 9).await.expect("read");
    assert!(records.iter().all(|record| record.damage.event == Some(id("2"))), "{records:?}");
    // The sweep may add its own at this moment.
    assert!(journal.stats().damaged >= records.len() as u64 && !records.is_empty(), "{records:?}");
    let held: Vec<Seq> = due.iter().map(|due| due.seq).collect();
    assert!(!held.contains(&damaged));
    assert_eq!(journal.next_due(&lane(), &held).await.expect("read"), None);
    // Lists and the event's own page show it, and say so.
    let filter = EventFilter::of(tenant());
    let events = journal.events(&filter, None, 9).await.expect("read").items;
    let shown: Vec<_> =
        events.iter().map(|stored| (stored.event.id.as_str(), stored.damage.is_some())).collect();
    assert_eq!(shown, [("3", false), ("2", true), ("1", false)]);
    let stored = journal.stored_event(&tenant(), &id("2")).await.expect("read").expect("there");
    assert_eq!((stored.event.subject.as_deref(), stored.event.data.len()), (Some("subject-of-2"), 0));
    assert_eq!(stored.damage, Some("the event's data is damaged: it can't be sent, and is not shown"));
    // Sent again, it is found again.
    journal.requeue(Selection::Retry(key("2"))).await.expect("sent again");
    assert_eq!(
        journal
            .due(&lane(), Timestamp::from_millis(0), &[], Amount::of(9))
            .await
            .expect("read")
            .deliveries
            .len(),
        2
    );
    until(|| async { journal.counts(&lane()).await.expect("read").of(Status::Failed) == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_heads_and_requests_are_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    put(&journal, "head", "whole").await;
    let seq = put(&journal, "request", "whole").await;
    let shaped = Shaped {
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
        body: Bytes::from_static(b"THE-BYTES-SENT-FIRST"),
    };
    settle(&journal, seq, Next::RetryAt { due: Timestamp::from_millis(5), reason: None }, Some(shaped)).await;
    journal.close().await;
    damage(directory.path(), "subject-of-head");
    damage(directory.path(), "THE-BYTES-SENT-FIRST");

    let journal = open(directory.path());
    assert!(matches!(journal.event(&tenant(), &id("head")).await, Err(Error::Corrupt(_))));
    let head = journal.stored_event(&tenant(), &id("head")).await.expect("read").expect("there");
    assert_eq!(head.damage, Some("the event's attributes are damaged: it can't be sent; its data is whole"));
    assert_eq!(head.event.data, "whole");
    assert!(journal.delivery(&key("head")).await.expect("read").is_some());
    assert!(journal.event(&tenant(), &id("request")).await.expect("the event is whole").is_some());
    assert!(
        journal
            .due(&lane(), Timestamp::from_millis(9), &[], Amount::of(9))
            .await
            .expect("read")
            .deliveries
            .is_empty()
    );
    until(|| async { journal.counts(&lane()).await.expect("read").of(Status::Failed) == 2 }).await;
    let delivery = journal.delivery(&key("request")).await.expect("read").expect("there");
    assert_eq!(delivery.reason.as_deref(), Some("the stored request is damaged: it was not sent"));
    let filter = DeliveryFilter::of(tenant());
    assert_eq!(journal.deliveries(&filter, None, 9).await.expect("read").items.len(), 2);
}
