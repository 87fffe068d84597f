//! Power cuts: what was acknowledged is in the journal of a disk that was cut off at any moment.
//!
//! The journal lies on an ext4 file system of its own, in a file behind a loop device. What has not been synced is in the
//! page cache of that file system alone, and is not in the file. So a copy of the file at one moment, mounted, is what a
//! power cut at that moment would have left. The gateway stands still while it is copied, and the copy is taken again
//! until two are the same, so that nothing was written meanwhile.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use hookweir_tests::{Config, Gateway, Receiver, Reply, one_endpoint};
use serde_json::Value;
use tempfile::TempDir;

use crate::ledger::{Ledger, Load, drained};
use crate::namespace::{block_on, is_inside, run, run_inside, text};

const SENDERS: usize = 16;
/// Acknowledged events between two cuts, and up to so many more.
const BETWEEN: usize = 150;
/// Images of an ordinary run, and of a long one, which goes on over several expiries.
const IMAGES: (usize, usize) = (5, 50);

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    run_inside("power_cut::inside");
}

/// Not a test by itself: what the test above runs in its namespace.
#[test]
fn inside() {
    if is_inside() {
        block_on(cut());
    }
}

async fn cut() {
    let images = if std::env::var_os("HOOKWEIR_LONG").is_some() { IMAGES.1 } else { IMAGES.0 };
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = Config {
        // Finished events are removed as soon as the gateway looks for them.
        journal: "retention = \"1s\"".to_owned(),
        ..Config::new(one_endpoint(&receiver.url("/hook"), ""))
    };
    let disks = tempfile::tempdir().expect("a folder");
    let disk = disks.path().join("disk");
    // The gateway keeps 256 MiB free.
    run("truncate", &["-s", "512M", text(&disk)]);
    run("mkfs.ext4", &["-q", "-F", text(&disk)]);
    let gateway = start(&disk, &config).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(gateway.accept_address(), SENDERS, &ledger);
    let (mut lost, mut expired, begun) = (0, 0, Instant::now());
    println!("image  seconds  acknowledged  arrived before  pending after  events there  lost");
    for image in 1..=images {
        ledger.wait_for(ledger.acknowledged().len() + BETWEEN + fastrand::usize(0..100)).await;
        gateway.suspend().await;
        let copy = disks.path().join("copy");
        copy_still(&disk, &copy);
        let acknowledged = ledger.acknowledged();
        let before = receiver.requests();
        let arrived: HashSet<String> = before.iter().map(|request| request.event().to_owned()).collect();

        let after = start(&copy, &config).await;
        let admin = after.admin();
        let ready = admin.json("/readyz").await;
        assert_eq!(ready["damage"], Value::Null, "image {image}: {ready}");
        drained(&admin, "hook").await;
        let since = receiver.requests();
        let since: HashSet<&str> = since[before.len()..].iter().map(|request| request.event()).collect();
        let is_lost = |id: &&String| !arrived.contains(*id) && !since.contains(id.as_str());
        let lost_here = acknowledged.iter().filter(is_lost).count();
        let there = admin.count("acme", "hook", "delivered").await;
        println!(
            "{image:5}  {:7.1}  {:12}  {:14}  {:13}  {there:12}  {lost_here}",
            begun.elapsed().as_secs_f64(),
            acknowledged.len(),
            arrived.len(),
            ready["pending"].to_string(),
        );
        lost += lost_here;
        expired =
            expired.max(acknowledged.len().saturating_sub(usize::try_from(there).unwrap_or(usize::MAX)));
        end(after).await;
        gateway.resume();
    }
    end(gateway).await;
    load.ended().await;
    println!(
        "ledger: {images} images, {} acknowledged, {lost} lost, no damage reported; at most {expired} events had expired",
        ledger.acknowledged().len()
    );
    assert_eq!(lost, 0, "acknowledged, and neither delivered before the cut nor after it");
}

/// A gateway whose journal is on this disk.
async fn start(disk: &Path, config: &Config) -> Gateway {
    let folder: TempDir = tempfile::tempdir().expect("a folder for the gateway");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a place to mount it");
    // What is not synced is not written by itself while the test lasts.
    run("mount", &["-o", "loop,commit=300", text(disk), text(&data)]);
    match Gateway::try_start_in(folder, config.clone()).await {
        Ok(gateway) => gateway,
        Err(refused) => panic!("the gateway did not start on {}:\n{}", disk.display(), refused.stderr),
    }
}

/// Ends a gateway and gives its disk back.
async fn end(mut gateway: Gateway) {
    gateway.kill9().await;
    run("umount", &[text(&gateway.folder().join("data"))]);
}

/// Copies a disk that nobody writes to: until the copy is what the disk still is.
fn copy_still(disk: &Path, copy: &Path) {
    for _ in 0..100 {
        run("cp", &["--sparse=always", text(disk), text(copy)]);
        let same = Command::new("cmp").args(["-s", text(disk), text(copy)]).status();
        if same.expect("cmp, of diffutils").success() {
            return;
        }
    }
    panic!("the disk was written to all the time, though the gateway stood still");
}
