//! What can be tried, in which order, and when next.

use std::sync::Arc;

use hookweir_journal::{Amount, DueDelivery, LaneHead, Seq};
use hookweir_model::{EndpointKey, Shard, Status};

use crate::sample::{
    at, due, ended, endpoint, event, lane, new, put, put_event, retry_at, seqs, settle, settle_with, shaped,
    tenant,
};
use crate::subject::Subject;

pub(crate) async fn fresh_deliveries_come_in_the_order_of_their_events(subject: Subject) {
    let journal = &subject.journal;
    let mut stored = Vec::new();
    for name in ["3", "1", "2"] {
        stored.push(put(journal, name, &["a"]).await);
    }
    // Due at once, whatever the clock says.
    for now in [i64::MIN, 0, i64::MAX] {
        assert_eq!(seqs(&due(journal, &lane("a"), now).await), stored, "{now}");
    }
    let two = journal.due(&lane("a"), at(0), &[], Amount::of(2)).await.unwrap().deliveries;
    assert_eq!(seqs(&two), stored[..2]);
    assert_eq!((two[0].attempts, two[0].earlier_rounds, &two[0].shaped), (0, 0, &None));
    assert!(journal.due(&lane("a"), at(0), &[], Amount::of(0)).await.unwrap().deliveries.is_empty());
    assert!(due(journal, &lane("b"), 0).await.is_empty());
}

pub(crate) async fn retries_come_first_and_by_due_time(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let mut stored = Vec::new();
    for name in ["0", "1", "2", "3", "4"] {
        stored.push(put(journal, name, &["a"]).await);
    }
    // Events 1, 2 and 4 are tried; 2 and 4 are due at the same time.
    for (index, time) in [(1, 3000), (2, 2000), (4, 2000)] {
        settle(journal, &to, stored[index], 1, retry_at(time)).await;
    }
    for (now, wanted) in
        [(1999, vec![0, 3]), (2000, vec![2, 4, 0, 3]), (2999, vec![2, 4, 0, 3]), (3000, vec![2, 4, 1, 0, 3])]
    {
        let wanted: Vec<Seq> = wanted.into_iter().map(|index: usize| stored[index]).collect();
        let found = due(journal, &to, now).await;
        assert_eq!(seqs(&found), wanted, "{now}");
        assert!(
            found.iter().all(|delivery| delivery.attempts
                == u32::from(delivery.seq != stored[0] && delivery.seq != stored[3]))
        );
    }
    let three = journal.due(&to, at(3000), &[], Amount::of(3)).await.unwrap().deliveries;
    assert_eq!(seqs(&three), [stored[2], stored[4], stored[1]]);
}

pub(crate) async fn those_in_hand_are_left_out_and_do_not_count(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let mut stored = Vec::new();
    for number in 0..50 {
        stored.push(put(journal, &number.to_string(), &["a"]).await);
    }
    settle(journal, &to, stored[10], 1, retry_at(5)).await;
    settle(journal, &to, stored[11], 1, retry_at(6)).await;
    // In no order, with a repetition and with one that is not there.
    let mut skip: Vec<Seq> =
        stored.iter().rev().copied().filter(|seq| *seq <= stored[20] && *seq != stored[11]).collect();
    skip.extend([stored[0], Seq(u64::MAX), Seq(0)]);
    let found = journal.due(&to, at(100), &skip, Amount::of(3)).await.unwrap().deliveries;
    assert_eq!(seqs(&found), [stored[11], stored[21], stored[22]]);
    let everything: Vec<Seq> = stored.clone();
    assert!(journal.due(&to, at(100), &everything, Amount::of(3)).await.unwrap().deliveries.is_empty());
    assert_eq!(journal.next_due(&to, &everything).await.unwrap(), None);
}

pub(crate) async fn a_read_stays_within_its_bytes(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let of_size = |name: &str, size: usize| {
        let mut event = event(name);
        event.data = vec![b'1'; size].into();
        event
    };
    let mut stored = Vec::new();
    for (name, size) in [("0", 1000), ("1", 20_000), ("2", 10), ("3", 10)] {
        stored.push(put_event(journal, of_size(name, size), &["a"]).await);
    }
    // A retry counts with what it sent, whatever the event was.
    settle_with(journal, &to, stored[3], 1, retry_at(5), Some(shaped(&"x".repeat(3000)))).await;
    let cost = |bytes: usize| bytes + DueDelivery::OVERHEAD;
    let (retry, first, large) = (cost(3010), cost(1000), cost(20_000));
    for (skip, deliveries, bytes, wanted, next) in [
        (vec![], 9, retry - 1, vec![], Some(retry)),
        (vec![], 9, retry, vec![3], Some(first)),
        (vec![], 9, retry + first, vec![3, 0], Some(large)),
        (vec![], 9, retry + first + large - 1, vec![3, 0], Some(large)),
        (vec![], 9, retry + first + large, vec![3, 0, 1], Some(cost(10))),
        (vec![], 9, usize::MAX, vec![3, 0, 1, 2], None),
        (vec![], 2, retry + first, vec![3, 0], None),
        (vec![1, 3], 9, first + cost(10), vec![0, 2], None),
        (vec![0, 1, 2, 3], 9, 0, vec![], None),
    ] {
        let skip: Vec<Seq> = skip.into_iter().map(|place: usize| stored[place]).collect();
        let found = journal.due(&to, at(9), &skip, Amount { deliveries, bytes }).await.unwrap();
        let wanted: Vec<Seq> = wanted.into_iter().map(|place: usize| stored[place]).collect();
        assert_eq!((seqs(&found.deliveries), found.next_bytes), (wanted, next), "{deliveries}, {bytes}");
        assert!(found.deliveries.iter().map(DueDelivery::bytes).sum::<usize>() <= bytes);
    }
}

pub(crate) async fn nothing_that_is_final_or_not_yet_due_is_answered(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    for (name, status) in [
        ("1", Status::Delivered),
        ("2", Status::Filtered),
        ("3", Status::Exhausted),
        ("4", Status::Failed),
        ("5", Status::Cancelled),
        ("6", Status::Expired),
    ] {
        let seq = put(journal, name, &["a"]).await;
        settle(journal, &to, seq, 1, ended(status)).await;
    }
    let later = put(journal, "7", &["a"]).await;
    settle(journal, &to, later, 1, retry_at(500)).await;
    assert!(due(journal, &to, 499).await.is_empty());
    assert_eq!(seqs(&due(journal, &to, 500).await), [later]);
    assert_eq!(
        journal.next_due(&to, &[]).await.unwrap(),
        Some(LaneHead { endpoint: to, due: Some(at(500)) })
    );
}

pub(crate) async fn the_next_due_time_is_the_least_that_is_not_in_hand(subject: Subject) {
    let journal = &subject.journal;
    let to = lane("a");
    let head = |due| Some(LaneHead { endpoint: lane("a"), due });
    assert_eq!(journal.next_due(&to, &[]).await.unwrap(), None);
    let first = put(journal, "1", &["a"]).await;
    let second = put(journal, "2", &["a"]).await;
    let third = put(journal, "3", &["a"]).await;
    settle(journal, &to, first, 1, retry_at(900)).await;
    settle(journal, &to, second, 1, retry_at(800)).await;
    for (skip, wanted) in [
        (vec![], head(None)),
        (vec![third], head(Some(at(800)))),
        (vec![second, third], head(Some(at(900)))),
        (vec![third, first, second], None),
    ] {
        assert_eq!(journal.next_due(&to, &skip).await.unwrap(), wanted, "{skip:?}");
    }
}

pub(crate) async fn a_shard_knows_its_waiting_endpoints(subject: Subject) {
    let journal = &subject.journal;
    let names = ["a", "b", "c", "d", "e"];
    let mut done = Vec::new();
    for name in names {
        done.push(put(journal, &format!("to-{name}"), &[name]).await);
    }
    let mut theirs = new(event("theirs"), &["a"]);
    Arc::make_mut(&mut theirs.event).tenant = tenant("other");
    journal.append(vec![theirs]).await.unwrap();
    settle(journal, &lane("b"), done[1], 1, ended(Status::Delivered)).await;
    settle(journal, &lane("c"), done[2], 1, retry_at(700)).await;
    let mut found = Vec::new();
    for shard in Shard::all() {
        for head in journal.lanes(shard).await.unwrap() {
            assert_eq!(Shard::of(&head.endpoint), shard);
            found.push((head.endpoint, head.due));
        }
    }
    found.sort();
    let mut wanted: Vec<_> = ["a", "d", "e"].map(|name| (lane(name), None)).to_vec();
    wanted.push((lane("c"), Some(at(700))));
    wanted.push((EndpointKey::new(tenant("other"), endpoint("a")), None));
    wanted.sort();
    assert_eq!(found, wanted);
}

pub(crate) async fn a_read_changes_nothing(subject: Subject) {
    let journal = &subject.journal;
    put(journal, "1", &["a"]).await;
    let first = due(journal, &lane("a"), 0).await;
    let second = due(journal, &lane("a"), 0).await;
    assert_eq!(seqs(&first), seqs(&second));
    assert_eq!(journal.counts(&lane("a")).await.unwrap().of(Status::Pending), 1);
}
