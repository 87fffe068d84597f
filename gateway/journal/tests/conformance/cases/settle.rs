//! Attempts and next states: atomic, once, and under the present epoch only.

use hookweir_journal::{Made, Next, Seq, Settled, Settlement};
use hookweir_model::{
    Answer, Attempt, Digest, Epoch, Exchange, Outcome, PluginCall, PluginId, PluginRole, Status, Timings,
};

use crate::sample::{
    at, attempt, delivery, due, ended, key, lane, own, put, retry_at, settle, settle_with, shaped,
};
use crate::subject::Subject;

fn call(role: PluginRole) -> PluginCall {
    PluginCall {
        plugin: PluginId::new("large-only").unwrap(),
        digest: Digest::of(b"wasm"),
        role,
        micros: 41,
        memory: 1 << 20,
        log: "line\n\0".to_owned(),
    }
}

fn exchange() -> Box<Exchange> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Box::new(Exchange {
        request_headers: vec![header("x-a", "1"), header("x-a", "\u{fffd}\"")],
        answer_headers: vec![header("server", "")],
        timings: Timings {
            lookup_us: None,
            connect_us: Some(0),
            tls_us: Some(u64::MAX),
            first_byte_us: Some(7),
        },
        tried: vec!["127.0.0.2:80: no answer".to_owned()],
    })
}

pub(crate) async fn an_attempt_and_its_outcome_are_kept(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    let epoch = own(journal, &to).await;
    let failed = Attempt {
        number: 1,
        started: at(10),
        duration_ms: 3000,
        outcome: Outcome::Blocked,
        reason: Some("blocked address".to_owned()),
        answer: None,
        plugins: vec![call(PluginRole::Filter), call(PluginRole::Transformer)],
        exchange: Some(exchange()),
    };
    let bodiless = Attempt {
        outcome: Outcome::Retry,
        answer: Some(Answer { status: Some(503), body: String::new() }),
        ..attempt(2, Outcome::Retry)
    };
    let delivered = Attempt {
        exchange: Some(exchange()),
        answer: Some(Answer { status: Some(200), body: "ok ü\0".repeat(1000) }),
        ..attempt(3, Outcome::Delivered)
    };
    for (attempt, next) in [
        (&failed, Next::RetryAt { due: at(50), reason: Some("why".to_owned()) }),
        (&bodiless, retry_at(60)),
        (&delivered, ended(Status::Delivered)),
    ] {
        let settlement = Settlement {
            made: Made::default(),
            endpoint: to.clone(),
            seq,
            epoch,
            attempt: Some(attempt.clone()),
            next,
        };
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
        made: Made::default(),
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
        made: Made::default(),
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
        made: Made::default(),
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
    settle_with(journal, &to, seq, 1, retry_at(5), Some(shaped("first"))).await;
    assert_eq!(due(journal, &to, 5).await[0].shaped, Some(shaped("first")));
    settle(journal, &to, seq, 2, retry_at(6)).await;
    settle_with(journal, &to, seq, 3, retry_at(7), Some(shaped("other"))).await;
    let found = due(journal, &to, 7).await;
    assert_eq!((found[0].attempts, &found[0].shaped), (3, &Some(shaped("first"))));
    assert_eq!(due(journal, &lane("b"), 7).await[0].shaped, None, "another delivery has its own");
}

pub(crate) async fn shaped_bytes_stay_however_it_ends(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    for (name, last) in [("1", Status::Delivered), ("2", Status::Exhausted), ("3", Status::Failed)] {
        let seq = put(journal, name, &["a"]).await;
        assert_eq!(journal.made(&key(name, "a")).await.unwrap(), Made::default());
        settle_with(journal, &to, seq, 1, retry_at(5), Some(shaped(name))).await;
        settle(journal, &to, seq, 2, ended(last)).await;
        let made = Made { shaped: Some(shaped(name)), calls: Vec::new() };
        assert_eq!(journal.made(&key(name, "a")).await.unwrap(), made, "{last}");
        journal.requeue(hookweir_journal::Selection::Retry(key(name, "a"))).await.unwrap();
        let found = due(journal, &to, 5).await;
        assert_eq!(found.last().unwrap().shaped, made.shaped, "{last}");
    }
    let seq = put(journal, "at-once", &["a"]).await;
    settle_with(journal, &to, seq, 1, ended(Status::Delivered), Some(shaped("kept all"))).await;
    assert_eq!(journal.made(&key("at-once", "a")).await.unwrap().shaped, Some(shaped("kept all")));
    assert_eq!(journal.made(&key("nobody", "a")).await.unwrap(), Made::default());
}

pub(crate) async fn a_pending_delivery_is_cancelled_and_no_other(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let (fresh, retried) = (put(journal, "fresh", &["a", "b"]).await, put(journal, "retried", &["a"]).await);
    settle(journal, &to, retried, 1, retry_at(5)).await;
    let done = put(journal, "done", &["a"]).await;
    settle(journal, &to, done, 1, ended(Status::Delivered)).await;
    for (name, wanted) in [("fresh", true), ("retried", true), ("fresh", false), ("done", false)] {
        assert_eq!(journal.cancel(&key(name, "a"), "enough").await.unwrap(), wanted, "{name}");
    }
    for missing in [key("nobody", "a"), key("done", "b"), key("done", "nobody")] {
        let answer = journal.cancel(&missing, "enough").await;
        assert!(matches!(answer, Err(hookweir_journal::Error::NotFound("delivery"))), "{answer:?}");
    }
    assert_eq!(due(journal, &to, 9).await.len(), 0);
    assert_eq!(due(journal, &lane("b"), 9).await.len(), 1, "another endpoint's stays");
    let shown = delivery(journal, &key("retried", "a")).await;
    assert_eq!((shown.status, shown.attempts, shown.due), (Status::Cancelled, 1, None));
    assert_eq!(shown.reason.as_deref(), Some("enough"));
    // An attempt that was under way is not recorded any more, and an operator may send it again.
    assert_eq!(settle(journal, &to, fresh, 1, ended(Status::Delivered)).await, Settled::Repeated);
    journal.requeue(hookweir_journal::Selection::Retry(key("fresh", "a"))).await.unwrap();
    assert_eq!(due(journal, &to, 9).await.len(), 1);
}

pub(crate) async fn the_plugins_that_dropped_an_event_are_kept_while_it_is_filtered(subject: Subject) {
    let journal = &subject.journal;
    let seq = put(journal, "1", &["a"]).await;
    let epoch = own(journal, &lane("a")).await;
    let settlement = |attempt, next, calls| Settlement {
        endpoint: lane("a"),
        seq,
        epoch,
        attempt,
        next,
        made: Made { shaped: None, calls },
    };
    let filtered = |calls| settlement(None, ended(Status::Filtered), calls);
    let calls = async || journal.made(&key("1", "a")).await.unwrap().calls;
    journal.settle(vec![filtered(vec![call(PluginRole::Filter)])]).await.unwrap();
    assert_eq!(calls().await, [call(PluginRole::Filter)]);
    assert_eq!(journal.attempts(&key("1", "a")).await.unwrap(), []);
    // Sent again, it waits; dropped again, the new calls stand in place of the old ones.
    let again = async || {
        let selection = hookweir_journal::Selection::Retry(key("1", "a"));
        journal.requeue(selection).await.unwrap();
        assert_eq!(calls().await, []);
    };
    again().await;
    let both = vec![call(PluginRole::Filter), call(PluginRole::Filter)];
    journal.settle(vec![filtered(both.clone())]).await.unwrap();
    assert_eq!(calls().await, both);
    again().await;
    let delivered = settlement(Some(attempt(1, Outcome::Delivered)), ended(Status::Delivered), Vec::new());
    journal.settle(vec![delivered]).await.unwrap();
    assert_eq!(calls().await, []);
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
        made: Made::default(),
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
