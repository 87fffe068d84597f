//! Retry, recover, replay.

use hookweir_journal::{Amount, Error, Made, Next, REMOVED, Selection, Seq, Settled, Settlement};
use hookweir_model::{DeliveryKey, Status};

use crate::sample::{
    NOON, at, delivery, due, ended, endpoint, event, id, key, lane, new, own, put, put_event, retry_at, seqs,
    settle, settle_with, shaped, tenant,
};
use crate::subject::Subject;

pub(crate) async fn one_delivery_is_sent_again(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Pending) {
        let name = status.as_str();
        let seq = put(journal, name, &["a"]).await;
        let next = Next::Final { status, reason: Some("why".to_owned()) };
        settle(journal, &to, seq, 1, next).await;
        assert_eq!(journal.requeue(Selection::Retry(key(name, "a"))).await.unwrap(), 1);
        let shown = delivery(journal, &key(name, "a")).await;
        assert_eq!((shown.status, shown.attempts, shown.reason), (Status::Pending, 1, None), "{status}");
        assert_eq!(shown.due, Some(at(NOON)), "at once: since it was received");
        assert_eq!(seqs(&due(journal, &to, 0).await), [seq], "{status}");
        assert_eq!(journal.attempts(&key(name, "a")).await.unwrap().len(), 1);
        settle(journal, &to, seq, 2, ended(Status::Delivered)).await;
    }
    assert_eq!(journal.counts(&to).await.unwrap().of(Status::Delivered), 6);
}

pub(crate) async fn a_pending_retry_is_made_due_at_once(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    settle_with(journal, &to, seq, 1, retry_at(i64::MAX), Some(shaped("1"))).await;
    assert!(due(journal, &to, 1000).await.is_empty());
    assert_eq!(journal.requeue(Selection::Retry(key("1", "a"))).await.unwrap(), 1);
    let found = due(journal, &to, 0).await;
    assert_eq!((found[0].attempts, found[0].earlier_rounds), (1, 1));
    assert_eq!(found[0].shaped, Some(shaped("1")));
    assert_eq!(journal.next_due(&to, &[]).await.unwrap().unwrap().due, None);
    assert_eq!(journal.counts(&to).await.unwrap().of(Status::Pending), 1);
}

pub(crate) async fn what_waits_is_made_due_and_its_schedule_goes_on(subject: Subject) {
    const EVENTS: u64 = 2300;
    let journal = &subject.journal;
    let to = lane("a");
    let batch = (0..EVENTS).map(|number| new(event(&number.to_string()), &["a", "b"])).collect();
    journal.append(batch).await.unwrap();
    let mut stored = Vec::new();
    for delivery in journal.due(&to, at(0), &[], Amount::of(EVENTS as usize)).await.unwrap().deliveries {
        stored.push(delivery.seq);
    }
    // All but two wait, of which one is over and one was never tried; some for the same time.
    let epoch = crate::sample::own(journal, &to).await;
    for part in stored[2..].chunks(500) {
        let settlement = |seq: &Seq| hookweir_journal::Settlement {
            made: Made { shaped: Some(shaped("kept")), calls: Vec::new() },
            endpoint: to.clone(),
            seq: *seq,
            epoch,
            attempt: Some(crate::sample::attempt(1, hookweir_model::Outcome::Retry)),
            next: retry_at(1_000_000 + i64::try_from(seq.0 / 7).unwrap()),
        };
        journal.settle(part.iter().map(settlement).collect()).await.unwrap();
    }
    settle(journal, &to, stored[0], 1, ended(Status::Failed)).await;
    settle(journal, &lane("b"), stored[0], 1, retry_at(1_000_000)).await;
    let all = || Selection::Waiting { endpoint: lane("a") };
    assert_eq!(journal.waiting(&to).await.unwrap(), EVENTS - 2);
    assert_eq!(journal.requeue(all()).await.unwrap(), EVENTS - 2);
    assert_eq!(journal.waiting(&to).await.unwrap(), 0);
    assert_eq!(journal.waiting(&lane("b")).await.unwrap(), 1, "another endpoint's is as it was");
    let found = journal.due(&to, at(0), &[], Amount::of(usize::MAX)).await.unwrap().deliveries;
    assert_eq!(seqs(&found), stored[1..], "in the order of the events");
    assert!(found[1..].iter().all(|found| (found.attempts, found.earlier_rounds) == (1, 0)));
    assert!(found[1..].iter().all(|found| found.shaped == Some(shaped("kept"))));
    assert_eq!(journal.counts(&to).await.unwrap().of(Status::Pending), EVENTS - 1);
    assert_eq!(journal.requeue(all()).await.unwrap(), 0);
    settle(journal, &to, stored[5], 2, retry_at(2_000_000)).await;
    assert_eq!(journal.requeue(all()).await.unwrap(), 1, "what waits again is made due again");
    let nobody = Selection::Waiting { endpoint: lane("nobody") };
    assert_eq!(
        (journal.waiting(&lane("nobody")).await.unwrap(), journal.requeue(nobody).await.unwrap()),
        (0, 0)
    );
}

pub(crate) async fn a_new_round_starts_the_schedule_anew(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    settle(journal, &to, seq, 1, retry_at(1)).await;
    settle(journal, &to, seq, 2, ended(Status::Exhausted)).await;
    journal.requeue(Selection::Retry(key("1", "a"))).await.unwrap();
    settle(journal, &to, seq, 3, retry_at(1)).await;
    let found = due(journal, &to, 1).await;
    assert_eq!((found[0].attempts, found[0].earlier_rounds), (3, 2));
    settle(journal, &to, seq, 4, ended(Status::Failed)).await;
    journal.requeue(Selection::Recover { endpoint: to.clone(), since: at(0) }).await.unwrap();
    let found = due(journal, &to, 1).await;
    assert_eq!((found[0].attempts, found[0].earlier_rounds), (4, 4));
    let numbers: Vec<u32> =
        journal.attempts(&key("1", "a")).await.unwrap().iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

pub(crate) async fn recovery_takes_up_what_was_lost_and_nothing_else(subject: Subject) {
    let journal = &subject.journal;
    for status in Status::ALL {
        let seq = put(journal, status.as_str(), &["a", "b"]).await;
        if status != Status::Pending {
            for name in ["a", "b"] {
                settle(journal, &lane(name), seq, 1, ended(status)).await;
            }
        }
    }
    assert_eq!(journal.recoverable(&lane("a"), at(0)).await.unwrap(), 2);
    let recovered = journal.requeue(Selection::Recover { endpoint: lane("a"), since: at(0) }).await.unwrap();
    assert_eq!(recovered, 2);
    assert_eq!(journal.recoverable(&lane("a"), at(0)).await.unwrap(), 0);
    assert_eq!(journal.recoverable(&lane("b"), at(0)).await.unwrap(), 2);
    assert_eq!(journal.recoverable(&lane("nobody"), at(0)).await.unwrap(), 0);
    for status in Status::ALL {
        let wanted = match status {
            Status::Exhausted | Status::Failed => Status::Pending,
            other => other,
        };
        assert_eq!(delivery(journal, &key(status.as_str(), "a")).await.status, wanted);
        assert_eq!(delivery(journal, &key(status.as_str(), "b")).await.status, status);
    }
    let nobody = Selection::Recover { endpoint: lane("nobody"), since: at(0) };
    assert_eq!(journal.requeue(nobody).await.unwrap(), 0);
}

pub(crate) async fn what_the_configuration_cancelled_is_recovered_and_nothing_else_that_was(
    subject: Subject,
) {
    let journal = &subject.journal;
    let removed = || Next::Final { status: Status::Cancelled, reason: Some(REMOVED.to_owned()) };
    let (first, second) = (put(journal, "1", &["a"]).await, put(journal, "2", &["a"]).await);
    put(journal, "3", &["a"]).await;
    settle(journal, &lane("a"), first, 1, retry_at(5)).await;
    for seq in [first, second] {
        let epoch = own(journal, &lane("a")).await;
        let made = Made::default();
        let settlement = Settlement { endpoint: lane("a"), seq, epoch, attempt: None, next: removed(), made };
        assert_eq!(journal.settle(vec![settlement]).await.unwrap(), [Settled::Applied]);
    }
    journal.cancel(&key("3", "a"), "cancelled by an operator").await.unwrap();
    assert_eq!(journal.recoverable(&lane("a"), at(0)).await.unwrap(), 2);
    let recover = Selection::Recover { endpoint: lane("a"), since: at(0) };
    assert_eq!(journal.requeue(recover.clone()).await.unwrap(), 2);
    assert_eq!(journal.requeue(recover).await.unwrap(), 0);
    assert_eq!(journal.counts(&lane("a")).await.unwrap().of(Status::Cancelled), 1);
}

pub(crate) async fn recovery_starts_at_its_time(subject: Subject) {
    let journal = &subject.journal;
    // The clock was set back by an hour between the second and the third.
    for (name, millis) in [("1", 100), ("2", 7_200_000), ("3", 3_600_000), ("4", 7_200_001)] {
        let mut event = event(name);
        event.received = at(millis);
        let seq = put_event(journal, event, &["a"]).await;
        settle(journal, &lane("a"), seq, 1, ended(Status::Failed)).await;
    }
    for (since, wanted) in [(0, 4), (100, 4), (101, 3), (7_200_000, 2), (7_200_001, 1), (i64::MAX, 0)] {
        assert_eq!(journal.recoverable(&lane("a"), at(since)).await.unwrap(), wanted, "{since}");
    }
    let since = Selection::Recover { endpoint: lane("a"), since: at(7_200_000) };
    assert_eq!(journal.requeue(since).await.unwrap(), 2);
    for (name, wanted) in
        [("1", Status::Failed), ("2", Status::Pending), ("3", Status::Failed), ("4", Status::Pending)]
    {
        assert_eq!(delivery(journal, &key(name, "a")).await.status, wanted, "{name}");
    }
    let late = Selection::Recover { endpoint: lane("a"), since: at(i64::MAX) };
    assert_eq!(journal.requeue(late).await.unwrap(), 0);
}

pub(crate) async fn a_large_recovery_is_whole(subject: Subject) {
    const EVENTS: u64 = 2500;
    let journal = &subject.journal;
    let to = lane("a");
    let batch = (0..EVENTS).map(|number| new(event(&number.to_string()), &["a"])).collect();
    journal.append(batch).await.unwrap();
    let epoch = crate::sample::own(journal, &to).await;
    let waiting = journal.due(&to, at(0), &[], Amount::of(EVENTS as usize)).await.unwrap().deliveries;
    let lost = waiting.iter().map(|delivery| hookweir_journal::Settlement {
        made: Made::default(),
        endpoint: to.clone(),
        seq: delivery.seq,
        epoch,
        attempt: None,
        next: ended(if delivery.seq.0 % 2 == 0 { Status::Failed } else { Status::Exhausted }),
    });
    journal.settle(lost.collect()).await.unwrap();
    let recover = || Selection::Recover { endpoint: to.clone(), since: at(0) };
    assert_eq!(journal.requeue(recover()).await.unwrap(), EVENTS);
    assert_eq!(journal.counts(&to).await.unwrap().of(Status::Pending), EVENTS);
    assert_eq!(journal.requeue(recover()).await.unwrap(), 0);
}

pub(crate) async fn a_replay_runs_plugins_again_and_reaches_new_endpoints(subject: Subject) {
    let journal = &subject.journal;
    let seq = put(journal, "1", &["a", "b", "c"]).await;
    for (name, status) in [("a", Status::Exhausted), ("b", Status::Delivered)] {
        settle_with(journal, &lane(name), seq, 1, retry_at(5), Some(shaped(name))).await;
        settle(journal, &lane(name), seq, 2, ended(status)).await;
    }
    let to = ["a", "b", "d", "d"].map(endpoint).to_vec();
    let replay = Selection::Replay { tenant: tenant("acme"), event: id("1"), endpoints: to };
    assert_eq!(journal.requeue(replay).await.unwrap(), 3);
    for (name, attempts) in [("a", 2), ("b", 2), ("c", 0), ("d", 0)] {
        let found = due(journal, &lane(name), 5).await;
        assert_eq!((found[0].attempts, found[0].earlier_rounds), (attempts, attempts), "{name}");
        assert_eq!(found[0].shaped, None, "{name}");
        assert_eq!(found[0].event, event("1"));
    }
    assert_eq!(journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap().len(), 4);
    // Bytes that are shaped anew are kept anew.
    settle_with(journal, &lane("a"), seq, 3, retry_at(6), Some(shaped("anew"))).await;
    assert_eq!(due(journal, &lane("a"), 6).await[0].shaped, Some(shaped("anew")));
    let nobody = Selection::Replay { tenant: tenant("acme"), event: id("1"), endpoints: Vec::new() };
    assert_eq!(journal.requeue(nobody).await.unwrap(), 0);
}

pub(crate) async fn what_is_not_there_is_not_found(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a"]).await;
    put(journal, "2", &["b"]).await;
    let theirs = DeliveryKey { tenant: tenant("other"), ..key("1", "a") };
    for missing in [key("none", "a"), key("1", "none"), key("1", "b"), theirs] {
        let answer = journal.requeue(Selection::Retry(missing.clone())).await;
        assert!(matches!(answer, Err(Error::NotFound("delivery"))), "{missing:?}");
    }
    for (owner, name) in [("acme", "none"), ("other", "1")] {
        let replay =
            Selection::Replay { tenant: tenant(owner), event: id(name), endpoints: vec![endpoint("a")] };
        assert!(matches!(journal.requeue(replay).await, Err(Error::NotFound("event"))), "{owner} {name}");
    }
    assert_eq!(journal.deliveries_of(&tenant("acme"), &id("1")).await.unwrap().len(), 1);
}
