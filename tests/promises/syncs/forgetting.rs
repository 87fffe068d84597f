//! A power cut between any two system calls, of a disk that keeps what a sync has covered and of the rest what it will:
//! nothing, all, or some state of each sector or page.

use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use hookweir_tests::{Disk, Grain, within};

use super::{config, events, folder_of, folder_on, lost, start};
use crate::ledger::{Ledger, Load, arrivals};
use crate::namespace::{block_on, is_inside, run_inside};

const SENDERS: usize = 8;
/// Moments at load at which the power is cut, of an ordinary run and a long one.
const CUTS: (u64, u64) = (12, 300);
/// Changes and syncs between two of these, at most.
const BETWEEN: u64 = 2000;
/// The same for a gateway's first start on an empty disk: every so many changes.
const STRIDES: (usize, usize) = (17, 1);

#[test]
fn nothing_acknowledged_is_lost_by_a_disk_that_forgets() {
    run_inside("syncs::forgetting::at_load");
}

#[test]
fn a_first_start_that_is_cut_off_is_followed_by_another() {
    run_inside("syncs::forgetting::at_first");
}

/// Of an ordinary run and a long one.
fn of<T>(choice: (T, T)) -> T {
    if std::env::var_os("HOOKWEIR_LONG").is_some() { choice.1 } else { choice.0 }
}

/// Not a test by itself: what a test above runs in its namespace.
#[test]
fn at_load() {
    if is_inside() {
        block_on(cut_at_load());
    }
}

async fn cut_at_load() {
    let (receiver, mut config) = config().await;
    // So little that finished events are removed all the time, pages given back, and the log moved.
    config.journal = "max_size = \"6MiB\"".to_owned();
    let disk = Disk::mount(0);
    let mut gateway = start("the first start", folder_on(&disk), &config).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start_with(gateway.accept_address(), SENDERS, &ledger, events("load", 2000, 64));
    let begun = Instant::now();
    println!("cut  seconds  steps  left of the rest  acknowledged  arrived before  lost");
    for seed in 0..of(CUTS) {
        let mut rng = Rng::with_seed(seed);
        let (steps, grain) = (rng.u64(1..BETWEEN), Grain::random(&mut rng));
        let seen = Arc::clone(&ledger);
        let cut = disk.freeze_after(steps, move || seen.acknowledged());
        let (frozen, acknowledged) =
            within("the disk to be written to", cut).await.expect("the disk is there");
        gateway.suspend().await;
        let before = arrivals(&receiver);
        let what = format!("cut {seed} ({grain:?})");
        let mut after = start(&what, folder_of(&frozen.after_cut(grain, seed)), &config).await;
        let lost = lost(&after, &receiver, &acknowledged, &before).await;
        println!(
            "{seed:3}  {:7.1}  {steps:5}  {:16}  {:12}  {:14}  {}",
            begun.elapsed().as_secs_f64(),
            format!("{grain:?}"),
            acknowledged.len(),
            before.len(),
            lost.len()
        );
        assert_eq!(lost, [""; 0], "{what}");
        after.kill9().await;
        gateway.resume();
    }
    let removed = gateway.admin().metric("hookweir_journal_removed_early_total").await;
    gateway.kill9().await;
    load.ended().await;
    println!(
        "ledger: {} power cuts, {} acknowledged, 0 lost, no damage reported; {removed} finished events were removed",
        of(CUTS),
        ledger.acknowledged().len()
    );
    assert!(removed > 0, "the journal has never been short of room");
}

/// Not a test by itself: what a test above runs in its namespace.
#[test]
fn at_first() {
    if is_inside() {
        block_on(cut_at_first());
    }
}

async fn cut_at_first() {
    let (receiver, config) = config().await;
    // How many changes and syncs a first start takes.
    let all = {
        let disk = Disk::mount(0);
        start("a first start", folder_on(&disk), &config).await.kill9().await;
        disk.steps()
    };
    let mut cuts = 0;
    for step in (1..=all).step_by(of(STRIDES)) {
        let disk = Disk::mount(step);
        let cut = disk.freeze_after(step, || ());
        start("a first start", folder_on(&disk), &config).await.kill9().await;
        let (frozen, ()) = within("the disk to be written to", cut).await.expect("the disk is there");
        for grain in [Grain::Nothing, Grain::Parts(512)] {
            let what = format!("cut at step {step} of {all} ({grain:?})");
            let mut gateway = start(&what, folder_of(&frozen.after_cut(grain, step)), &config).await;
            let id = gateway.sender().event("goes.sent", "1").await;
            receiver.wait_for_event(&id).await;
            gateway.kill9().await;
            cuts += 1;
        }
    }
    println!(
        "ledger: {cuts} power cuts in the {all} changes and syncs of a first start, each followed by a quiet start"
    );
}
