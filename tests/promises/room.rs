//! Room: finished history gives way before an event is refused, and what waits never does.

use std::process::Stdio;

use hookweir_tests::{
    Answer, Config, Gateway, KEY, Output, Receiver, Reply, Sender, binary, eventually, one_endpoint, pid_of,
    run, tenant, within,
};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::disk::Disk;
use crate::ledger::drained;
use crate::namespace::{block_on, is_inside, run_inside};
use crate::output::line_with;

const WRONG_CONFIGURATION: i32 = 78;

fn body(number: usize, bytes: usize) -> String {
    format!(r#"{{"id":"e{number}","type":"a.b","data":"{}"}}"#, "x".repeat(bytes))
}

/// Sends events of 2 KB, sixteen at a time, and answers what was not a 202.
async fn send(sender: &Sender, numbers: std::ops::Range<usize>) -> Vec<Answer> {
    let (mut refused, mut sending) = (Vec::new(), JoinSet::new());
    for number in numbers {
        let sender = sender.clone();
        sending.spawn(async move { sender.post(&[], body(number, 2000)).await });
        if sending.len() >= 16 {
            refused.extend(sending.join_next().await.map(|answer| answer.expect("an answer")));
        }
    }
    refused.extend(sending.join_all().await);
    refused.retain(|answer| answer.status != 202);
    refused
}

#[tokio::test]
async fn a_cap_that_is_small_takes_all_that_is_delivered() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut config = Config::new(one_endpoint(&receiver.url("/"), ""));
    config.journal = "max_size = \"4MiB\"\nretention = \"30d\"".to_owned();
    let gateway = Gateway::start(config).await;
    // About four times what the cap holds. What is pending is never so much.
    for part in 0..16 {
        let refused = send(&gateway.sender(), part * 250..(part + 1) * 250).await;
        assert!(refused.is_empty(), "{} were refused: {}", refused.len(), refused[0]);
        receiver.wait_for((part + 1) * 250).await;
    }
    let removed = gateway.admin().metric("hookweir_journal_removed_early_total").await;
    assert!(removed > 1000, "{removed}");
    gateway.logged(&["WARN", "removed before their retention", "journal.max_size"]).await;
    let warnings = gateway.log().lines().filter(|line| line.contains("before their retention")).count();
    assert_eq!(warnings, 1, "it is said once");
    // The newest are still there.
    gateway.admin().delivery("acme", "e3999", "hook", "delivered").await;
    gateway.admin().get("/v1/tenants/acme/events/e0").await.expect(404);
}

#[tokio::test]
async fn a_disk_that_is_small_takes_all_that_is_delivered() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut config = Config::new(one_endpoint(&receiver.url("/"), ""));
    config.journal = "retention = \"30d\"".to_owned();
    let gateway = Gateway::start_on_small_disk(config, 48).await;
    let sender = gateway.sender();
    eventually("the journal to be open", async || match gateway.admin().try_get("/readyz").await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.to_string()),
    })
    .await;
    let mut refused = Vec::new();
    // 60 MB, of which the disk holds less than 40.
    let (mut sending, bytes) = (JoinSet::new(), 60_000);
    for number in 0..1000 {
        let sender = sender.clone();
        sending.spawn(async move { sender.post(&[], body(number, bytes)).await });
        if sending.len() >= 8 {
            refused.extend(sending.join_next().await.map(|answer| answer.expect("an answer")));
        }
        if number % 100 == 99 {
            // What is pending is never more than 7 MB.
            receiver.wait_for(number - 10).await;
        }
    }
    refused.extend(sending.join_all().await);
    refused.retain(|answer| answer.status != 202);
    assert!(refused.is_empty(), "{} were refused: {}", refused.len(), refused[0]);
    receiver.wait_for(1000).await;
    assert!(gateway.admin().metric("hookweir_journal_removed_early_total").await > 100);
}

#[tokio::test]
async fn what_waits_is_never_removed_and_the_refusal_names_the_cap() {
    let receiver = Receiver::always(Reply::Status(503)).await;
    let mut config = Config::new(one_endpoint(&receiver.url("/"), "enabled = false"));
    config.journal = "max_size = \"4MiB\"".to_owned();
    let gateway = Gateway::start(config.clone()).await;
    let refused = send(&gateway.sender(), 0..3000).await;
    assert!((500..2500).contains(&refused.len()), "{} of 3000 were refused", refused.len());
    for answer in &refused {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")), "{answer}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("`journal.max_size` is 4194304") && !detail.contains("disk"), "{detail}");
    }
    let waiting = 3000 - refused.len();
    assert_eq!(gateway.admin().count("acme", "hook", "pending").await, waiting as u64);
    // They arrive, and then others have room.
    receiver.follow(|_, _| Reply::Status(200));
    config.tenants = config.tenants.replace("enabled = false", "enabled = true");
    gateway.reconfigure(config);
    gateway.reload();
    receiver.wait_for(waiting).await;
    eventually("an event to be taken", async || {
        match gateway.sender().try_post(&[], body(9999, 10)).await? {
            answer if answer.status == 202 => Ok(()),
            answer => Err(answer.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn unread_messages_are_never_removed_for_room() {
    let mut config = Config::new(tenant("acme", KEY) + "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\n");
    config.journal = "max_size = \"4MiB\"".to_owned();
    let gateway = Gateway::start(config).await;
    let refused = send(&gateway.sender(), 0..4000).await;
    assert!(!refused.is_empty());
    // What was accepted last may be on its way to the queue yet.
    drained(&gateway.admin(), "inbox").await;
    let consumer = gateway.consumer("inbox");
    let mut read = 0;
    loop {
        match consumer.receive(json!({ "max": 10 })).await.len() {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, 4000 - refused.len());
}

#[test]
fn a_start_without_room_waits_for_it() {
    run_inside("room::without_room");
}

/// Not a test by itself: what the test above runs in its namespace.
#[test]
fn without_room() {
    if is_inside() {
        block_on(starts_when_there_is_room());
    }
}

/// A supervisor gives up what ends again and again, and its disk may have room the next minute.
async fn starts_when_there_is_room() {
    let disk = Disk::mount(32);
    let config = Config::new(one_endpoint("http://127.0.0.1:9/", "")).text();
    std::fs::write(disk.path().join("hookweir.toml"), config).expect("a configuration");
    disk.fill();
    let start = || {
        let mut command = Command::new(binary());
        command.arg("serve").current_dir(disk.path()).kill_on_drop(true).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the gateway to run")
    };
    let waits = async |gateway: &mut Child| {
        let log = gateway.stderr.take().expect("the log");
        line_with(log, &["WARN", "can't be opened before there is room"]).await;
    };
    let mut gateway = start();
    waits(&mut gateway).await;
    let number = pid_of(&gateway).expect("a gateway that runs");
    kill_process(number, Signal::TERM).expect("it to take a signal");
    let ended = within("the gateway to end", gateway.wait()).await.expect("its exit status");
    assert_eq!(ended.code(), Some(0));

    let mut gateway = start();
    waits(&mut gateway).await;
    disk.clear();
    line_with(gateway.stdout.take().expect("the addresses"), &["accept listening on"]).await;
}

async fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hookweir.toml"), text).expect("a configuration");
    run(Command::new(binary()).current_dir(folder.path()).arg("check"), b"").await
}

#[tokio::test]
async fn a_journal_whose_disk_is_not_mounted_is_refused() {
    let text = "[journal]\npath = \"mount/journal\"\n";
    let output = check(text).await.expect(WRONG_CONFIGURATION);
    for words in ["journal.path: there is no folder mount", "mount its disk", "mkdir -p mount"] {
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
    let mut config = Config::new("");
    config.journal = "retention = \"1d\"".to_owned();
    let text = config.text().replace("path = \"data\"", "path = \"not/mounted/journal\"");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hookweir.toml"), text).expect("a configuration");
    let output = run(Command::new(binary()).current_dir(folder.path()).arg("serve"), b"").await;
    output.expect(WRONG_CONFIGURATION);
    assert!(!folder.path().join("not").exists(), "nothing was made");
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_told() {
    let output = check("[journal]\nreserve = \"1000000GiB\"\n").await.expect(0);
    for words in ["warning: journal.path: no event would ever be taken", "journal.reserve"] {
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
    let output = check("[journal]\nreserve = \"1MiB\"\n").await.expect(WRONG_CONFIGURATION);
    assert!(output.stderr.contains("write at least \"8MiB\""), "{}", output.stderr);
    let mut config = Config::new("");
    config.journal = "reserve = \"64MiB\"".to_owned();
    let gateway = Gateway::start_on_small_disk(config, 48).await;
    gateway.logged(&["WARN", "no event would ever be taken", "48 MiB"]).await;
}
