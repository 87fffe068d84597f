//! Attempts and next states: atomic, once, and under the present epoch only.

use hookweir_journal::{Next, Seq, Settled, Settlement};
use hookweir_model::{Answer, Attempt, Digest, Epoch, Outcome, PluginCall, PluginId, PluginRole, Status};

use crate::sample::{at, attempt, delivery, due, ended, key, lane, own, put, retry_at, settle, shaped};
use crate::subject::Subject;

pub(crate) async fn an_attempt_and_its_outcome_are_kept(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    let epoch = own(journal, &to).await;
    let call = |role| PluginCall {
        plugin: PluginId::new("large-only").unwrap(),
        digest: Digest::of(b"wasm"),
        role,
        micros: 41,
        log: "line\n\0".to_owned(),
    };
    let failed = Attempt {
        number: 1,
        started: at(10),
        duration_ms: 3000,
        outcome: Outcome::Blocked,
        reason: Some("blocked address".to_owned()),
        answer: None,
        plugins: vec![call(PluginRole::Filter), call(PluginRole::Transformer)],
    };
    let bodiless = Attempt {
        outcome: Outcome::Retry,
        answer: Some(Answer { status: Some(503), body: String::new() }),
        ..attempt(2, Outcome::Retry)
    };
    let delivered = Attempt {
        answer: Some(Answer { status: Some(200), body: "ok ü\0".repeat(1000) }),
        ..attempt(3, Outcome::Delivered)
    };
    for (attempt, next) in [
        (&failed, Next::RetryAt { due: at(50), shaped: None, reason: Some("why".to_owned()) }),
        (&bodiless, retry_at(60)),
        (&delivered, ended(Status::Delivered)),
    ] {
        let settlement =
            Settlement { endpoint: to.clone(), seq, epoch, attempt: Some(attempt.clone()), next };
        assert_eq!(journal.settle(vec![settlement]).await.unwrap(), [Settled::Applied]);
        if attempt.number == 1 {
            let shown = delivery(journal, &key("1", "a")).await;
            assert_eq!((shown.status, shown.attempts), (Status::Pending, 1));
            assert_eq!((shown.due, shown.reason.as_deref()), (Some(at(50)), Some("why")));
        }
    }
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), [failed, bodiless, delivered]);
    let shown = delivery(journal, &key("1", "a")).await;
    assert_eq!((shown.status, shown.attempts), (Status::Delivered, 3));
    assert_eq!((shown.due, shown.reason), (None, None));
}

pub(crate) async fn an_attempt_is_settled_once(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    assert_eq!(settle(journal, &to, seq, 1, retry_at(100)).await, Settled::Applied);
    assert_eq!(settle(journal, &to, seq, 1, ended(Status::Delivered)).await, Settled::Repeated);
    let shown = delivery(journal, &key("1", "a")).await;
    assert_eq!((shown.status, shown.attempts, shown.due), (Status::Pending, 1, Some(at(100))));
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap().len(), 1);
    // Twice in one batch, too.
    let epoch = own(journal, &to).await;
    let settlement = Settlement {
        endpoint: to.clone(),
        seq,
        epoch,
        attempt: Some(attempt(2, Outcome::Retry)),
        next: retry_at(200),
    };
    let settled = journal.settle(vec![settlement.clone(), settlement]).await.unwrap();
    assert_eq!(settled, [Settled::Applied, Settled::Repeated]);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap().len(), 2);
    assert_eq!(journal.counts(&to).await.unwrap().of(Status::Pending), 1);
}

pub(crate) async fn a_final_delivery_is_not_settled_again(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    settle(journal, &to, seq, 1, ended(Status::Exhausted)).await;
    assert_eq!(settle(journal, &to, seq, 2, ended(Status::Delivered)).await, Settled::Repeated);
    assert_eq!(settle(journal, &to, seq, 3, retry_at(5)).await, Settled::Repeated);
    assert_eq!(delivery(journal, &key("1", "a")).await.status, Status::Exhausted);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap().len(), 1);
    assert!(due(journal, &to, 10).await.is_empty());
}

pub(crate) async fn an_unknown_delivery_is_not_settled(subject: Subject) {
    let journal = &subject.journal;
    let seq = put(journal, "1", &["a"]).await;
    for (to, seq) in [(lane("nobody"), seq), (lane("a"), Seq(seq.0 + 1)), (lane("a"), Seq(0))] {
        assert_eq!(settle(journal, &to, seq, 1, ended(Status::Delivered)).await, Settled::Repeated);
        assert_eq!(journal.counts(&to).await.unwrap().of(Status::Delivered), 0);
    }
    assert_eq!(delivery(journal, &key("1", "a")).await.status, Status::Pending);
}

pub(crate) async fn a_stale_epoch_is_refused(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    let present = own(journal, &to).await;
    let under = |epoch| Settlement {
        endpoint: to.clone(),
        seq,
        epoch,
        attempt: Some(attempt(1, Outcome::Delivered)),
        next: ended(Status::Delivered),
    };
    let wrong = vec![under(Epoch(present.0 - 1)), under(Epoch(present.0 + 1))];
    assert_eq!(journal.settle(wrong).await.unwrap(), [Settled::Stale, Settled::Stale]);
    assert_eq!(delivery(journal, &key("1", "a")).await.status, Status::Pending);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
    assert_eq!(journal.settle(vec![under(present)]).await.unwrap(), [Settled::Applied]);
}

pub(crate) async fn a_delivery_may_end_without_an_attempt(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    let epoch = own(journal, &to).await;
    let reason = Some("dropped by large-only: too small".to_owned());
    let settlement = Settlement {
        endpoint: to.clone(),
        seq,
        epoch,
        attempt: None,
        next: Next::Final { status: Status::Filtered, reason: reason.clone() },
    };
    let settled = journal.settle(vec![settlement.clone(), settlement]).await.unwrap();
    assert_eq!(settled, [Settled::Applied, Settled::Repeated]);
    let shown = delivery(journal, &key("1", "a")).await;
    assert_eq!((shown.status, shown.attempts, shown.reason), (Status::Filtered, 0, reason));
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
}

pub(crate) async fn shaped_bytes_are_kept_for_all_retries(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a", "b"]).await;
    let first = Next::RetryAt { due: at(5), shaped: Some(shaped("first")), reason: None };
    settle(journal, &to, seq, 1, first).await;
    assert_eq!(due(journal, &to, 5).await[0].shaped, Some(shaped("first")));
    settle(journal, &to, seq, 2, retry_at(6)).await;
    let other = Next::RetryAt { due: at(7), shaped: Some(shaped("other")), reason: None };
    settle(journal, &to, seq, 3, other).await;
    let found = due(journal, &to, 7).await;
    assert_eq!((found[0].attempts, &found[0].shaped), (3, &Some(shaped("first"))));
    assert_eq!(due(journal, &lane("b"), 7).await[0].shaped, None, "another delivery has its own");
}

pub(crate) async fn shaped_bytes_go_when_they_are_delivered(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    for (name, last, wanted) in [
        ("1", Status::Delivered, None),
        ("2", Status::Exhausted, Some(shaped("2"))),
        ("3", Status::Failed, Some(shaped("3"))),
    ] {
        let seq = put(journal, name, &["a"]).await;
        settle(journal, &to, seq, 1, Next::RetryAt { due: at(5), shaped: Some(shaped(name)), reason: None })
            .await;
        settle(journal, &to, seq, 2, ended(last)).await;
        journal.requeue(hookweir_journal::Selection::Retry(key(name, "a"))).await.unwrap();
        let found = due(journal, &to, 5).await;
        assert_eq!(found.last().unwrap().shaped, wanted, "{last}");
    }
}

pub(crate) async fn every_final_status_is_kept_with_its_reason(subject: Subject) {
    let journal = &subject.journal;
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Pending) {
        let seq = put(journal, status.as_str(), &["a"]).await;
        let next = Next::Final { status, reason: Some(format!("since {status}")) };
        assert_eq!(settle(journal, &lane("a"), seq, 1, next).await, Settled::Applied);
        let shown = delivery(journal, &key(status.as_str(), "a")).await;
        assert_eq!((shown.status, shown.due), (status, None));
        assert_eq!(shown.reason, Some(format!("since {status}")));
    }
}

pub(crate) async fn a_batch_is_settled_in_its_order(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let first = put(journal, "1", &["a"]).await;
    let second = put(journal, "2", &["a"]).await;
    let epoch = own(journal, &to).await;
    let one = |seq, epoch, number, next| Settlement {
        endpoint: to.clone(),
        seq,
        epoch,
        attempt: Some(attempt(number, Outcome::Retry)),
        next,
    };
    let batch = vec![
        one(second, epoch, 1, retry_at(9)),
        one(first, Epoch(epoch.0 + 9), 1, retry_at(9)),
        one(second, epoch, 2, ended(Status::Exhausted)),
        one(second, epoch, 3, retry_at(9)),
        one(first, epoch, 1, retry_at(9)),
    ];
    let settled = journal.settle(batch).await.unwrap();
    use Settled::{Applied, Repeated, Stale};
    assert_eq!(settled, [Applied, Stale, Applied, Repeated, Applied]);
    assert_eq!(journal.settle(Vec::new()).await.unwrap(), []);
}
