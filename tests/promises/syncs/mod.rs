//! Syncs: what was acknowledged is on a disk that forgets all that no sync has covered, and whose syncs fail.
//!
//! The journal lies on [`Disk`], a file system of the test's own. What a power cut leaves of it is written into an
//! ordinary folder, and a gateway is started there.

mod failing;
mod forgetting;

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::symlink;

use hookweir_tests::{Admin, Config, Disk, Gateway, Image, Receiver, Reply, endpoint, one_endpoint};
use serde_json::Value;
use tempfile::TempDir;

use crate::ledger::{Make, arrivals, drained};

/// A receiver, and a configuration of which all arrives there but what waits.
async fn config() -> (Receiver, Config) {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let off =
        endpoint("acme", "off", &receiver.url("/off"), "enabled = false\nevent_types = [\"waits.sent\"]");
    let config = Config::new(one_endpoint(&receiver.url("/hook"), "") + &off);
    (receiver, config)
}

/// Makes events whose ids tell which of them wait: of every so many, one goes to the endpoint that is switched off too.
fn events(run: &str, bytes: usize, every: usize) -> Make {
    let (run, data) = (run.to_owned(), "x".repeat(bytes));
    Box::new(move |sender, number| {
        let word = if number % every == 0 { "waits" } else { "goes" };
        format!(r#"{{"id":"{word}-{run}-{sender}-{number}","type":"{word}.sent","data":"{data}"}}"#)
    })
}

/// A folder for a gateway whose journal is on this disk.
fn folder_on(disk: &Disk) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the gateway");
    symlink(disk.path(), folder.path().join("data")).expect("a link to the disk");
    folder
}

/// A folder for a gateway whose journal is what a power cut has left.
fn folder_of(image: &Image) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the gateway");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder for the journal");
    image.write(&data);
    folder
}

/// Starts a gateway in a folder after a power cut, which must find nothing to complain of.
async fn start(what: &str, folder: TempDir, config: &Config) -> Gateway {
    match Gateway::try_start_in(folder, config.clone()).await {
        Ok(gateway) => {
            let ready = gateway.admin().json("/readyz").await;
            assert_eq!(ready["damage"], Value::Null, "{what}: {ready}");
            let log = gateway.log();
            let is_loud = log.lines().any(|line| line.contains("damage") || line.contains("mark"));
            assert!(!is_loud, "{what}: {log}");
            gateway
        }
        Err(refused) => panic!("{what}: the gateway did not start: {}", refused.stderr),
    }
}

/// Of the acknowledged events, those that are not there: not delivered before and since, or not waiting.
async fn lost(
    gateway: &Gateway,
    receiver: &Receiver,
    acknowledged: &BTreeSet<String>,
    before: &HashMap<String, usize>,
) -> Vec<String> {
    let admin = gateway.admin();
    drained(&admin, "hook").await;
    let after = arrivals(receiver);
    let since = |id: &String| after.get(id).copied().unwrap_or(0) > before.get(id).copied().unwrap_or(0);
    let waiting = waiting(&admin).await;
    let is_there = |id: &&String| {
        let has_gone = before.contains_key(*id) || since(id);
        has_gone && (!id.starts_with("waits") || waiting.contains(*id))
    };
    acknowledged.iter().filter(|id| !is_there(id)).cloned().collect()
}

/// The events that wait for the endpoint that is off.
async fn waiting(admin: &Admin) -> BTreeSet<String> {
    let first = "/v1/tenants/acme/deliveries?endpoint=off&status=pending&limit=500".to_owned();
    let (mut all, mut path) = (BTreeSet::new(), Some(first.clone()));
    while let Some(page) = path {
        let page = admin.json(&page).await;
        let entries = page["data"].as_array().expect("a list");
        all.extend(entries.iter().map(|entry| entry["event"].as_str().expect("an id").to_owned()));
        path = page["next"].as_str().map(|cursor| format!("{first}&cursor={cursor}"));
    }
    all
}
