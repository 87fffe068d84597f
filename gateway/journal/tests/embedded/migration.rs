//! What earlier versions wrote is brought up when it is opened, and says the same as before.

use std::path::Path;

use hookweir_journal::{Amount, Journal, Old, Queues};
use hookweir_model::{Digest, PluginState, Status, Timestamp, Upload};
use rusqlite::Connection;

use crate::{assert_filled, message, open, plugin, receive, settle_again, tenant};

/// The migrations of the engine, and the rows that [`fill`](crate::fill) and a message made when each was the last.
const VERSIONS: [(&str, &str); 3] = [
    (include_str!("../../src/engines/embedded/schema/1.sql"), include_str!("written/1.sql")),
    (include_str!("../../src/engines/embedded/schema/2.sql"), include_str!("written/2.sql")),
    (include_str!("../../src/engines/embedded/schema/3.sql"), include_str!("written/3.sql")),
];

/// Makes the file as a version left it.
fn write(directory: &Path, version: usize) {
    let connection = Connection::open(directory.join("journal.db")).expect("a file");
    for (schema, rows) in &VERSIONS[..version] {
        connection.execute_batch(schema).expect("tables");
        connection.execute_batch(rows).expect("rows");
    }
    connection.execute_batch(&format!("PRAGMA user_version = {version}")).expect("written");
}

#[tokio::test]
async fn a_journal_of_an_earlier_version_is_brought_up() {
    for version in 1..=VERSIONS.len() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), version);
        let journal = open(directory.path());
        if version < 2 {
            assert_eq!(journal.plugin_states().await.expect("read"), []);
            let upload =
                Upload { current: Digest::of(b"\0asm"), previous: None, at: Timestamp::from_millis(3) };
            let state = PluginState { upload: Some(upload), paused: None };
            journal.put_plugin_state(&plugin(), &state).await.expect("its blob is there still");
        }
        if version < 3 {
            assert_eq!(journal.queues().await.expect("read"), []);
            journal
                .enqueue(&crate::lane(), vec![message("queued", "body")])
                .await
                .expect("it takes messages");
        }
        assert_filled(&journal).await;
        assert_eq!(journal.pending_bytes(&tenant()).await.expect("read"), 4, "version {version}");
        let received = journal.receive(receive(1, 2)).await.expect("it hands out messages");
        let ids: Vec<_> = received.messages.iter().map(|message| message.content.id.as_str()).collect();
        assert_eq!(ids, ["queued"], "version {version}");
        // What was pending in the tables of then ends in those of now.
        settle_again(&journal).await;
        let counts = journal.counts(&crate::lane()).await.expect("read");
        assert_eq!((counts.of(Status::Pending), counts.of(Status::Delivered)), (0, 3), "version {version}");
        let due = journal
            .due(&crate::lane(), Timestamp::from_millis(i64::MAX), &[], Amount::of(9))
            .await
            .expect("read")
            .deliveries;
        assert!(due.is_empty(), "version {version}: {due:?}");
        let expired = journal.expire(Old::All, 9).await.expect("expired");
        assert_eq!(expired.events, 3, "version {version}");
        assert_eq!(journal.event(&tenant(), &crate::id("fresh")).await.expect("read"), None);
    }
}
