//! What gives way where there is little room, and what goes back to the disk.

use std::fs;
use std::path::Path;

use hookweir_journal::engines::embedded::{Embedded, Options};
use hookweir_journal::{Appended, Journal as _, Next, Old, Seq};
use hookweir_model::Status;
use rusqlite::Connection;

use crate::{id, new, open, settle, tenant, until};

const DELIVERED: Next = Next::Final { status: Status::Delivered, reason: None };
const EXHAUSTED: Next = Next::Final { status: Status::Exhausted, reason: None };

fn small(path: &Path) -> Embedded {
    let options = Options { max_size: Some(4 << 20), ..Options::default() };
    Embedded::open(path, options).expect("the journal opens")
}

async fn taken(journal: &Embedded, name: &str) -> Seq {
    match journal.append(vec![new(name, vec![b'x'; 2048])]).await.as_deref() {
        Ok([Appended::Stored { seq }]) => *seq,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_events_give_way_before_one_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = small(directory.path());
    taken(&journal, "waits").await;
    let lost = taken(&journal, "lost").await;
    settle(&journal, lost, EXHAUSTED, None).await;
    // Nearly three times what has room.
    for number in 0..5000 {
        let seq = taken(&journal, &number.to_string()).await;
        settle(&journal, seq, DELIVERED, None).await;
    }
    let removed = journal.stats().removed_early;
    assert!(
        (3000..5000).contains(&removed),
        "{removed} events of 2 KB were removed early, of 10 MB in 4 MiB"
    );
    for (name, is_there) in [("waits", true), ("lost", true), ("0", false), ("4999", true)] {
        let found = journal.event(&tenant(), &id(name)).await.expect("read");
        assert_eq!(found.is_some(), is_there, "{name}");
    }
    assert_eq!(journal.health().await.expect("health").writable, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_gives_way_last_and_what_is_pending_never() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = small(directory.path());
    for number in 0..5000 {
        let seq = taken(&journal, &format!("lost-{number}")).await;
        settle(&journal, seq, EXHAUSTED, None).await;
    }
    assert!(journal.stats().removed_early > 3000, "{:?}", journal.stats());
    let mut pending = 0;
    let refusal = loop {
        match journal.append(vec![new(&format!("pending-{pending}"), vec![b'x'; 2048])]).await {
            Ok(_) => pending += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(refusal.contains("`journal.max_size` is 4194304"), "{refusal}");
    assert!((800..2000).contains(&pending), "{pending} pending events of 2 KB in 4 MiB");
    for name in ["pending-0", &format!("pending-{}", pending - 1)] {
        assert!(journal.event(&tenant(), &id(name)).await.expect("read").is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn freed_space_goes_back_to_the_disk_while_nothing_else_is_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let size = || fs::metadata(directory.path().join("journal.db")).expect("the file").len();
    let journal = open(directory.path());
    for number in 0..40 {
        let put = journal.append(vec![new(&number.to_string(), vec![b'x'; 200_000])]).await.expect("stored");
        let [Appended::Stored { seq }] = put[..] else { panic!("{put:?}") };
        settle(&journal, seq, DELIVERED, None).await;
    }
    until(|| async { size() > 7_000_000 }).await;
    let expired = journal.expire(Old::All, 38).await.expect("expired");
    assert_eq!(expired.events, 38);
    until(|| async { size() < 2_000_000 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_shrink_is_written_anew_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path());
    taken(&journal, "kept").await;
    journal.close().await;
    let file = directory.path().join("journal.db");
    let mode = || {
        let file = Connection::open(&file).expect("the file");
        file.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)).expect("its mode")
    };
    assert_eq!(mode(), 2);
    let connection = Connection::open(&file).expect("the file");
    connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = 0; VACUUM").expect("no map");
    drop(connection);
    assert_eq!(mode(), 0);
    let journal = open(directory.path());
    assert!(journal.event(&tenant(), &id("kept")).await.expect("read").is_some());
    journal.close().await;
    assert_eq!(mode(), 2);
}

#[tokio::test]
async fn a_folder_whose_parents_are_missing_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mount").join("journal");
    let error = Embedded::open(&path, Options::default()).expect_err("refused").to_string();
    assert!(error.contains("mount its disk"), "{error}");
    assert!(!directory.path().join("mount").exists());
    fs::create_dir(directory.path().join("mount")).expect("a folder");
    Embedded::open(&path, Options::default()).expect("the folder itself is made").close().await;
}
