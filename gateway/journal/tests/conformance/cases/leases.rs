//! Who may deliver: one owner of a shard under one epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use hookweir_journal::{Lease, Made, Settled, Settlement};
use hookweir_model::{Epoch, Outcome, SHARDS, Shard, Status};

use crate::sample::{attempt, ended, lane, put};
use crate::subject::Subject;

const TTL: Duration = Duration::from_secs(10);

fn shards(leases: &[Lease]) -> BTreeSet<Shard> {
    leases.iter().map(|lease| lease.shard).collect()
}

pub(crate) async fn all_shards_go_to_the_first_who_asks(subject: Subject) {
    let leases = subject.journal.acquire_shards("node-1", TTL).await.unwrap();
    assert_eq!(leases.len(), usize::from(SHARDS));
    assert_eq!(shards(&leases), Shard::all().collect());
    assert_eq!(subject.journal.acquire_shards("node-1", TTL).await.unwrap(), leases, "it has them already");
    assert_eq!(subject.journal.renew("node-1", TTL).await.unwrap(), leases);
}

pub(crate) async fn a_shard_has_one_owner(subject: Subject) {
    subject.journal.acquire_shards("node-1", TTL).await.unwrap();
    assert_eq!(subject.journal.acquire_shards("node-2", TTL).await.unwrap(), []);
    assert_eq!(subject.journal.renew("node-2", TTL).await.unwrap(), []);
    subject.journal.release("node-2").await.unwrap();
    assert_eq!(subject.journal.renew("node-1", TTL).await.unwrap().len(), usize::from(SHARDS));
}

fn delivered(subject_epoch: Epoch, seq: hookweir_journal::Seq, number: u32) -> Settlement {
    Settlement {
        made: Made::default(),
        endpoint: lane("a"),
        seq,
        epoch: subject_epoch,
        attempt: Some(attempt(number, Outcome::Delivered)),
        next: ended(Status::Delivered),
    }
}

fn epoch_of(leases: &[Lease]) -> Epoch {
    let shard = Shard::of(&lane("a"));
    leases.iter().find(|lease| lease.shard == shard).unwrap().epoch
}

pub(crate) async fn a_released_shard_gets_a_new_epoch(subject: Subject) {
    let journal = &subject.journal;
    let seq = put(journal, "1", &["a"]).await;
    let first = epoch_of(&journal.acquire_shards("node-1", TTL).await.unwrap());
    journal.release("node-1").await.unwrap();
    assert_eq!(journal.renew("node-1", TTL).await.unwrap(), []);
    let second = epoch_of(&journal.acquire_shards("node-2", TTL).await.unwrap());
    assert!(second > first);
    assert_eq!(journal.settle(vec![delivered(first, seq, 1)]).await.unwrap(), [Settled::Stale]);
    assert_eq!(journal.settle(vec![delivered(second, seq, 1)]).await.unwrap(), [Settled::Applied]);
    journal.release("node-2").await.unwrap();
    assert!(epoch_of(&journal.acquire_shards("node-1", TTL).await.unwrap()) > second);
}

pub(crate) async fn an_ended_lease_is_given_anew_and_its_owner_refused(subject: Subject) {
    let journal = &subject.journal;
    let seq = put(journal, "1", &["a"]).await;
    let other = put(journal, "2", &["a"]).await;
    let first = epoch_of(&journal.acquire_shards("node-1", TTL).await.unwrap());
    let Some(advance) = &subject.advance else {
        // Leases that do not end: whoever has the shards keeps them.
        assert_eq!(journal.acquire_shards("node-2", Duration::ZERO).await.unwrap(), []);
        assert_eq!(journal.settle(vec![delivered(first, seq, 1)]).await.unwrap(), [Settled::Applied]);
        return;
    };
    advance(TTL - Duration::from_millis(1));
    assert_eq!(journal.acquire_shards("node-2", TTL).await.unwrap(), []);
    advance(Duration::from_millis(1));
    assert_eq!(journal.renew("node-1", TTL).await.unwrap(), [], "a lease that has ended is not prolonged");
    // Nobody has taken the shard yet, so nobody else can have delivered.
    assert_eq!(journal.settle(vec![delivered(first, seq, 1)]).await.unwrap(), [Settled::Applied]);
    let second = epoch_of(&journal.acquire_shards("node-2", TTL).await.unwrap());
    assert!(second > first);
    assert_eq!(journal.settle(vec![delivered(first, other, 1)]).await.unwrap(), [Settled::Stale]);
    assert_eq!(journal.acquire_shards("node-1", TTL).await.unwrap(), []);
    assert_eq!(journal.settle(vec![delivered(second, other, 1)]).await.unwrap(), [Settled::Applied]);
}

pub(crate) async fn a_renewed_lease_goes_on(subject: Subject) {
    let journal = &subject.journal;
    let leases = journal.acquire_shards("node-1", TTL).await.unwrap();
    for _ in 0..5 {
        if let Some(advance) = &subject.advance {
            advance(TTL / 2);
        }
        assert_eq!(journal.renew("node-1", TTL).await.unwrap(), leases);
        assert_eq!(journal.acquire_shards("node-2", TTL).await.unwrap(), []);
    }
}
