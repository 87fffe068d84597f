//! Records of damage.

use hookweir_journal::{Damage, DamageKind, DamageSummary, MAX_DAMAGE_RECORDS, Seq};

use crate::sample::{at, endpoint, id, tenant};
use crate::subject::Subject;

fn log(first: u64, last: u64) -> Damage {
    Damage {
        kind: DamageKind::Log,
        events: Some((Seq(first), Seq(last))),
        tenant: None,
        endpoint: None,
        event: None,
        what: "the log was cut".to_owned(),
        found: at(5),
    }
}

fn delivery(event: &str) -> Damage {
    Damage {
        kind: DamageKind::Delivery,
        events: None,
        tenant: Some(tenant("acme")),
        endpoint: Some(endpoint("a")),
        event: Some(id(event)),
        what: "its row was unreadable".to_owned(),
        found: at(6),
    }
}

pub(crate) async fn records_are_kept_and_listed_newest_first(subject: Subject) {
    let journal = &subject.journal;
    assert_eq!(journal.damage(None, 10).await.unwrap(), []);
    assert_eq!(journal.damage_summary(), DamageSummary::default());
    assert_eq!(journal.record_damage(vec![log(3, 7), delivery("1")]).await.unwrap(), 2);
    assert_eq!(journal.record_damage(vec![log(9, 9)]).await.unwrap(), 1);
    let records = journal.damage(None, 10).await.unwrap();
    let listed: Vec<&Damage> = records.iter().map(|record| &record.damage).collect();
    assert_eq!(listed, [&log(9, 9), &delivery("1"), &log(3, 7)]);
    assert!(records.iter().all(|record| record.acknowledged.is_none()));
    let page = journal.damage(Some(records[0].number), 1).await.unwrap();
    assert_eq!(page, records[1..2]);
    let wanted =
        DamageSummary { records: 3, events: 6, range: Some((Seq(3), Seq(9))), newest: Some(log(9, 9)) };
    assert_eq!(journal.damage_summary(), wanted);
}

pub(crate) async fn what_is_known_is_not_recorded_twice(subject: Subject) {
    let journal = &subject.journal;
    journal.record_damage(vec![log(3, 7), delivery("1")]).await.unwrap();
    let later = Damage { found: at(9), what: "in other words".to_owned(), ..delivery("1") };
    let other = Damage { endpoint: Some(endpoint("b")), ..delivery("1") };
    assert_eq!(journal.record_damage(vec![later.clone(), other, log(3, 7)]).await.unwrap(), 1);
    assert_eq!(journal.damage_summary().records, 3);
    let newest = journal.damage(None, 1).await.unwrap()[0].number;
    journal.acknowledge_damage(newest, at(10)).await.unwrap();
    assert_eq!(journal.record_damage(vec![later]).await.unwrap(), 1, "it was found again since");
}

pub(crate) async fn acknowledged_damage_counts_no_more(subject: Subject) {
    let journal = &subject.journal;
    journal.record_damage(vec![log(3, 7), log(8, 8), delivery("1")]).await.unwrap();
    let middle = journal.damage(None, 10).await.unwrap()[1].number;
    assert_eq!(journal.acknowledge_damage(middle, at(20)).await.unwrap(), 2);
    assert_eq!(journal.acknowledge_damage(middle, at(21)).await.unwrap(), 0);
    let acknowledged: Vec<_> =
        journal.damage(None, 10).await.unwrap().into_iter().map(|record| record.acknowledged).collect();
    assert_eq!(acknowledged, [None, Some(at(20)), Some(at(20))]);
    let wanted = DamageSummary { records: 1, events: 0, range: None, newest: Some(delivery("1")) };
    assert_eq!(journal.damage_summary(), wanted);
}

pub(crate) async fn records_are_bounded(subject: Subject) {
    let journal = &subject.journal;
    let found: Vec<Damage> = (1..=MAX_DAMAGE_RECORDS + 1).map(|number| log(number, number)).collect();
    assert_eq!(journal.record_damage(found).await.unwrap(), MAX_DAMAGE_RECORDS);
    assert_eq!(journal.record_damage(vec![delivery("1")]).await.unwrap(), 0, "there is no room");
    let oldest = journal.damage(Some(2), 10).await.unwrap()[0].number;
    assert_eq!(journal.acknowledge_damage(oldest, at(20)).await.unwrap(), 1);
    assert_eq!(journal.record_damage(vec![delivery("1"), delivery("2")]).await.unwrap(), 1);
    assert_eq!(journal.damage_summary().records, MAX_DAMAGE_RECORDS);
}
