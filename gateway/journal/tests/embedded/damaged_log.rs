//! A log that lost what was answered: refused or gone on with, as the options say, and remembered.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hookweir_journal::engines::embedded::{Embedded, OnDamage, Options};
use hookweir_journal::{DamageKind, DamageSummary, Damages as _, Error, Journal as _, Seq};
use hookweir_model::Timestamp;

use crate::{id, open, put, tenant};

const EVENTS: u64 = 40;
/// Where a frame of the log begins.
const fn frame(number: u64) -> u64 {
    32 + number * 4120
}

/// A journal as a kill leaves it, with all in the log. The events are of a size that no page holds two of.
async fn killed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    for number in 1..=EVENTS {
        put(&journal, &format!("event-{number}"), vec![b'x'; 3000]).await;
    }
    let copy = tempfile::tempdir().expect("a directory");
    copy_files(directory.path(), copy.path());
    journal.close().await;
    copy
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn continued(directory: &Path) -> Embedded {
    let options = Options { on_damage: OnDamage::Continue, ..Options::default() };
    Embedded::open(directory, options).expect("it goes on with what is left")
}

async fn newest(journal: &Embedded) -> u64 {
    let mut newest = 0;
    for number in 1..=EVENTS {
        match journal.event(&tenant(), &id(&format!("event-{number}"))).await.expect("read") {
            Some(event) => {
                assert_eq!(event.data.len(), 3000);
                assert_eq!(newest, number - 1, "nothing before it is missing");
                newest = number;
            }
            None => continue,
        }
    }
    newest
}

#[tokio::test]
async fn what_is_lost_is_refused_by_default_and_told_where_the_journal_goes_on() {
    let directory = killed().await;
    let log = directory.path().join("journal.db-wal");
    let frames = (fs::metadata(&log).expect("the log").len() - 32) / 4120;
    let file = fs::File::options().write(true).open(&log).expect("the log");
    file.set_len(frame(frames / 2)).expect("cut");
    let before = fs::read(&log).expect("the log");

    let error = Embedded::open(directory.path(), Options::default()).expect_err("refused");
    assert!(
        matches!(&error, Error::Corrupt(text) if text.contains("were answered and are missing")),
        "{error}"
    );
    let found = Embedded::check_log(directory.path()).expect("looked at").expect("damage");
    assert_eq!(fs::read(&log).expect("the log"), before, "neither changed anything");
    let (first, last) = found.events.expect("a range");
    assert_eq!((found.kind, last), (DamageKind::Log, Seq(EVENTS)));

    let journal = continued(directory.path());
    assert_eq!(newest(&journal).await, first.0 - 1, "all before the range is there");
    let summary = journal.damage_summary();
    let records = journal.damage(None, 9).await.expect("records");
    assert_eq!(
        (summary.records, summary.events, summary.range),
        (1, last.0 - first.0 + 1, Some((first, last)))
    );
    assert!(records[0].damage.what.contains("journal.db-wal.damaged-"), "{records:?}");
    let seq = put(&journal, "later", "x").await;
    assert!(seq > last, "a number that was answered is not given again");
    journal.close().await;

    // The record stays until it is acknowledged, and nothing is found a second time.
    let journal = open(directory.path());
    assert_eq!(journal.damage_summary(), summary);
    journal.acknowledge_damage(records[0].number, Timestamp::from_millis(1)).await.expect("kept");
    journal.close().await;
    assert_eq!(open(directory.path()).damage_summary(), DamageSummary::default());
    assert_eq!(Embedded::check_log(directory.path()).expect("looked at"), None);
}

#[tokio::test]
async fn what_can_be_restored_is_restored_whatever_the_options_say() {
    let directory = killed().await;
    // The page of the table of counts is in every transaction: the log has it many times.
    let log = directory.path().join("journal.db-wal");
    let bytes = fs::read(&log).expect("the log");
    let page = |number: u64| {
        let at = usize::try_from(frame(number)).expect("small");
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let frames = (bytes.len() as u64 - 32) / 4120;
    let again = (20..frames / 2).find(|at| (at + 1..frames).any(|later| page(later) == page(*at)));
    let file = fs::File::options().write(true).open(&log).expect("the log");
    file.write_all_at(&[0xa5; 512], frame(again.expect("a page that is there again")) + 1024)
        .expect("written");

    let journal = open(directory.path());
    assert_eq!(newest(&journal).await, EVENTS);
    let summary = journal.damage_summary();
    assert_eq!((summary.records, summary.events, summary.range), (1, 0, None), "{summary:?}");
    assert!(summary.newest.is_some_and(|damage| damage.what.contains("nothing is lost")));
}

#[tokio::test]
async fn an_orderly_stop_leaves_nothing_to_miss() {
    let directory = killed().await;
    open(directory.path()).close().await;
    for name in ["journal.db-wal", "journal.mark", "journal.db-shm"] {
        let copy = tempfile::tempdir().expect("a directory");
        copy_files(directory.path(), copy.path());
        let _ = fs::remove_file(copy.path().join(name));
        let journal = open(copy.path());
        assert_eq!(newest(&journal).await, EVENTS, "without {name}");
        assert_eq!(journal.damage_summary(), DamageSummary::default(), "without {name}");
    }
    // A main file of before: what was answered since is missed.
    let old = tempfile::tempdir().expect("a directory");
    copy_files(directory.path(), old.path());
    let journal = open(directory.path());
    put(&journal, "later", "x").await;
    journal.close().await;
    fs::copy(old.path().join("journal.db"), directory.path().join("journal.db")).expect("copied");
    let error = Embedded::open(directory.path(), Options::default()).expect_err("refused");
    assert!(error.to_string().contains("older than what was answered"), "{error}");
    let range = Some((Seq(EVENTS + 1), Seq(EVENTS + 1)));
    assert_eq!(continued(directory.path()).damage_summary().range, range);
}
