//! Failures that can only be made from inside: a file that may not grow, and a call that breaks its group.
//!
//! What can be seen from outside is tested in `tests/`; a full disk and a failing statement can't be had there
//! without mounting file systems.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{
    Attempt, Digest, EndpointId, EndpointKey, Event, EventId, EventType, Outcome, Shaped, Status, TenantId,
    Timestamp,
};
use hookweir_tests::{eventually, eventually_by};

use super::read::{AT_ONCE, read_now};
use super::writer::Op;
use super::{Embedded, Options};
use crate::{
    Amount, Appended, Error, Expired, Journal, NewEvent, Next, Old, Selection, Seq, Settled, Settlement,
};

fn lane() -> EndpointKey {
    EndpointKey::new(TenantId::new("acme").unwrap(), EndpointId::new("a").unwrap())
}

fn event(id: &str, size: usize) -> NewEvent {
    let data = Bytes::from(vec![b'x'; size]);
    NewEvent {
        fingerprint: Digest::of(&data),
        idempotency_key: None,
        endpoints: vec![lane().endpoint],
        event: Arc::new(Event {
            tenant: lane().tenant,
            id: EventId::new(id).unwrap(),
            event_type: EventType::new("order.created").unwrap(),
            source: "/".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: Timestamp::from_millis(1000),
            content_type: "text/plain".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data,
        }),
    }
}

fn failed_attempt(journal: &Embedded, seq: Seq, body: usize) -> Settlement {
    let shaped = Shaped {
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
        body: Bytes::from(vec![b'y'; body]),
    };
    Settlement {
        endpoint: lane(),
        seq,
        epoch: journal.shared.epoch(),
        attempt: Some(Attempt {
            number: 1,
            started: Timestamp::from_millis(2000),
            duration_ms: 1,
            outcome: Outcome::Retry,
            reason: None,
            answer: None,
            plugins: Vec::new(),
            exchange: None,
        }),
        next: Next::RetryAt { due: Timestamp::from_millis(3000), reason: None },
        made: crate::Made { shaped: Some(shaped), calls: Vec::new() },
    }
}

async fn execute(journal: &Embedded, sql: &str) -> Result<(), Error> {
    journal.ask(sql.to_owned(), Op::Execute).await
}

async fn stored(journal: &Embedded, id: &str, size: usize) -> Seq {
    match journal.append(vec![event(id, size)]).await.unwrap()[..] {
        [Appended::Stored { seq }] => seq,
        ref other => panic!("{other:?}"),
    }
}

/// Waits for a condition that the journal reaches by itself. The limit only ends a test that would hang.
async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the journal never got there");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_appends_are_refused_and_settlements_wait() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(Embedded::open(directory.path(), Options::default()).unwrap());
    let seq = stored(&journal, "1", 10).await;
    let done = stored(&journal, "2", 3 << 20).await;
    let mut ending = failed_attempt(&journal, done, 0);
    ending.next = Next::Final { status: Status::Delivered, reason: None };
    journal.settle(vec![ending]).await.unwrap();
    // The file may not grow beyond what it is.
    execute(&journal, "PRAGMA max_page_count = 1").await.unwrap();

    assert!(matches!(journal.append(vec![event("3", 1 << 20)]).await, Err(Error::Full(_))));
    let settling = tokio::spawn({
        let (journal, settlement) = (Arc::clone(&journal), failed_attempt(&journal, seq, 2 << 20));
        async move { journal.settle(vec![settlement]).await }
    });
    until(|| async { journal.health().await.unwrap().writable.is_err() }).await;
    assert!(!settling.is_finished());
    assert_eq!(
        journal.event(&lane().tenant, &EventId::new("1").unwrap()).await.unwrap().unwrap().data.len(),
        10
    );
    assert_eq!(journal.counts(&lane()).await.unwrap().of(Status::Pending), 1, "reads go on");

    // Expiring a large event makes the room that the settlement waits for: nobody has to step in.
    let expired = journal.expire(Old::All, 10).await.unwrap();
    assert_eq!(expired, Expired { events: 1, more: false });
    assert_eq!(settling.await.unwrap().unwrap(), [Settled::Applied]);
    until(|| async { journal.health().await.unwrap().writable.is_ok() }).await;
    stored(&journal, "4", 10).await;
    let due =
        journal.due(&lane(), Timestamp::from_millis(3000), &[], Amount::of(10)).await.unwrap().deliveries;
    assert_eq!((due[0].seq, due[0].shaped.as_ref().unwrap().body.len()), (seq, 2 << 20));
}

#[tokio::test]
async fn a_failing_call_does_not_fail_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Embedded::open(directory.path(), Options::default()).unwrap();
    stored(&journal, "1", 10).await;
    let hold = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    hold.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer waits for the lock, so these end up in one group, or in two.
    let release = async { hold.execute_batch("ROLLBACK").unwrap() };
    let (first, broken, second, ()) = tokio::join!(
        journal.append(vec![event("2", 10)]),
        execute(&journal, "SELECT nothing FROM nowhere"),
        journal.append(vec![event("3", 10)]),
        release,
    );
    assert!(matches!(first.unwrap()[..], [Appended::Stored { .. }]));
    assert!(matches!(broken, Err(Error::Failed(_))));
    assert!(matches!(second.unwrap()[..], [Appended::Stored { .. }]));
    assert_eq!(journal.counts(&lane()).await.unwrap().of(Status::Pending), 3);
}

#[tokio::test]
async fn too_much_that_waits_is_refused_but_not_settlements() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { waiting_calls: 2, ..Options::default() };
    let journal = Embedded::open(directory.path(), options).unwrap();
    let seq = stored(&journal, "0", 10).await;
    let hold = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    hold.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Two calls may be in the writer's hands and two in its inbox: of five appends one at least is too many.
    let release = async { hold.execute_batch("ROLLBACK").unwrap() };
    let (a, b, c, d, e, settled, requeued, ()) = tokio::join!(
        journal.append(vec![event("1", 10)]),
        journal.append(vec![event("2", 10)]),
        journal.append(vec![event("3", 10)]),
        journal.append(vec![event("4", 10)]),
        journal.append(vec![event("5", 10)]),
        journal.settle(vec![failed_attempt(&journal, seq, 10)]),
        journal.requeue(Selection::Recover { endpoint: lane(), since: Timestamp::default() }),
        release,
    );
    let answers = [a, b, c, d, e];
    assert!(answers.iter().any(|answer| matches!(answer, Err(Error::Busy))), "{answers:?}");
    let kept = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(settled.unwrap(), [Settled::Applied]);
    assert_eq!(requeued.unwrap(), 0);
    assert_eq!(
        journal.counts(&lane()).await.unwrap().of(Status::Pending),
        1 + kept,
        "what was refused is not there"
    );
}

#[tokio::test]
async fn hot_statements_use_the_index_that_is_meant_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Embedded::open(directory.path(), Options::default()).unwrap();
    stored(&journal, "1", 10).await;
    let connection = super::read::connect(directory.path(), super::read::Source::Written).unwrap();
    let plan = |sql: &str| -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> =
            statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
        steps.join("; ")
    };
    for (sql, wanted) in [
        (
            "SELECT seq FROM delivery INDEXED BY delivery_pending \
             WHERE lane = 1 AND status = 0 AND due > 0 AND due <= 9 ORDER BY due, seq",
            "SEARCH delivery USING COVERING INDEX delivery_pending (lane=? AND due>? AND due<?)",
        ),
        (
            AT_ONCE,
            "MERGE (UNION ALL); LEFT; SEARCH fresh USING PRIMARY KEY (lane=?); RIGHT; \
             SEARCH delivery USING COVERING INDEX delivery_pending (lane=? AND due=?)",
        ),
        (
            "SELECT due, seq FROM delivery INDEXED BY delivery_pending \
             WHERE lane = 1 AND status = 0 ORDER BY due, seq",
            "SEARCH delivery USING COVERING INDEX delivery_pending (lane=?)",
        ),
        (
            "SELECT seq, status FROM delivery INDEXED BY delivery_ended \
             WHERE lane = 1 AND status = 3 AND status > 1 AND seq BETWEEN 1 AND 9 ORDER BY seq DESC LIMIT 5",
            "SEARCH delivery USING COVERING INDEX delivery_ended (lane=? AND status=? AND seq>? AND seq<?)",
        ),
        (
            "SELECT seq FROM event WHERE seq BETWEEN 1 AND 9 AND tenant = 1 ORDER BY seq DESC",
            "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        ),
        (
            "SELECT status FROM delivery WHERE seq BETWEEN 1 AND 9 AND lane = 1 ORDER BY seq DESC",
            "SEARCH delivery USING PRIMARY KEY (seq>? AND seq<?)",
        ),
        (
            "SELECT lane FROM delivery WHERE seq BETWEEN 1 AND 9 AND attempts > 0 ORDER BY seq DESC",
            "SEARCH delivery USING PRIMARY KEY (seq>? AND seq<?)",
        ),
        (
            "SELECT number, receives, size FROM message INDEXED BY message_waiting \
             WHERE lane = 1 AND state < 2 AND visible <= 9 ORDER BY visible, number LIMIT 5",
            "SEARCH message USING INDEX message_waiting (lane=? AND visible<?)",
        ),
        (
            "SELECT state FROM message INDEXED BY message_waiting WHERE lane = 1 AND state < 2 AND visible > 9",
            "SEARCH message USING COVERING INDEX message_waiting (lane=? AND visible>?)",
        ),
        (
            "SELECT number FROM message INDEXED BY message_dead WHERE lane = 1 AND state = 2 AND number > 9 \
             ORDER BY number LIMIT 5",
            "SEARCH message USING COVERING INDEX message_dead (lane=? AND number>?)",
        ),
        (
            "SELECT status FROM delivery WHERE lane = 1 AND seq = 1 AND status = 0 AND attempts < 1",
            "SEARCH delivery USING PRIMARY KEY (seq=? AND lane=?)",
        ),
    ] {
        assert_eq!(plan(sql), wanted, "{sql}");
    }
}

/// How soon a reader that ends is heard, which is sooner than readers of other processes are looked for.
const HEARD: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn space_that_a_reader_held_up_goes_back_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Embedded::open(directory.path(), Options::default()).unwrap();
    let size = || std::fs::metadata(directory.path().join("journal.db")).unwrap().len();
    for number in 0..40 {
        let put = journal.append(vec![event(&number.to_string(), 200_000)]).await.unwrap();
        let [Appended::Stored { seq }] = put[..] else { panic!("{put:?}") };
        let ended = Next::Final { status: Status::Delivered, reason: None };
        journal.settle(vec![Settlement { next: ended, ..failed_attempt(&journal, seq, 1) }]).await.unwrap();
    }
    let is_large = || if size() > 7_000_000 { Ok(()) } else { Err(size().to_string()) };
    eventually("the log to be moved", async || is_large()).await;
    // One who reads for long.
    let (shared, before) = (Arc::clone(&journal.shared), journal.shared.readers.asked());
    let (begun, begins) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        read_now(&shared, |connection| {
            let events: i64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
            begun.send(events).unwrap();
            ends.recv().unwrap();
            Ok(())
        })
    });
    assert_eq!(begins.recv().unwrap(), 40);
    let asked = journal.shared.readers.asked();
    assert_eq!(journal.expire(Old::All, 38).await.unwrap().events, 38);
    eventually("the writer to find the log held up", async || match journal.shared.readers.asked() {
        now if now > asked => Ok(()),
        now => Err(format!("asked {now} times, {before} of them before")),
    })
    .await;
    assert_eq!(is_large(), Ok(()), "the reader holds up the log");
    end.send(()).unwrap();
    reader.join().unwrap().unwrap();
    let is_small = async || if size() < 2_000_000 { Ok(()) } else { Err(size().to_string()) };
    eventually_by(HEARD, "the file to be cut", is_small).await;
}
