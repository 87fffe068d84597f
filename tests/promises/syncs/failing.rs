//! A sync that fails: what it should have brought to the disk is lost, though it can be read as before, and the next sync
//! succeeds. No 202 is false then: not after the gateway has ended and is started again on the same disk, and not when
//! the power is cut, before that or after.

use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;
use hookweir_tests::{Disk, Failing, Gateway, Grain, eventually, within};

use super::{config, events, folder_of, folder_on, lost, start};
use crate::ledger::{Ledger, Load, arrivals};
use crate::namespace::{block_on, is_inside, run_inside};

const SENDERS: usize = 4;
/// So large that the log is moved to the main file some times.
const BYTES: usize = 8000;
/// Which syncs fail, each in a run of its own: all up to the first number, and up to the second in a long run.
const ALL: u64 = 60;
const LAST: u64 = 400;
/// Of an ordinary run, every so many beyond the first number, and every so many after which all others fail too.
const STRIDES: (u64, u64) = (43, 6);
/// Runs at a time: a gateway that ends takes a second to tell its callers.
const AT_A_TIME: usize = 8;
/// Acknowledged events after a sync has failed without that it has ended the gateway.
const AFTER: usize = 30;

#[test]
fn no_202_is_false_whatever_sync_fails() {
    run_inside("syncs::failing::inside");
}

/// Not a test by itself: what the test above runs in its namespace.
#[test]
fn inside() {
    if is_inside() {
        fail_each();
    }
}

fn fail_each() {
    let is_long = std::env::var_os("HOOKWEIR_LONG").is_some();
    let failing = (1..=LAST).flat_map(|sync| [Failing::Once(sync), Failing::From(sync)]);
    let failing = failing.filter(|failing| match failing {
        _ if is_long => true,
        Failing::Once(sync) => *sync <= ALL || sync % STRIDES.0 == 0,
        Failing::From(sync) => *sync <= ALL && sync % STRIDES.1 == 0,
        Failing::NextOf(_) => true,
    });
    println!("ended by  acknowledged  after the restart  lost");
    let next = Mutex::new(failing.zip(0..));
    let all = Mutex::new(Row::default());
    let work = || {
        let take = || next.lock().expect("no run panics while it takes its turn").next();
        while let Some((failing, seed)) = take() {
            block_on(async {
                let row = fail(failing, seed).await;
                all.lock().expect("no run panics while it adds").add(row);
            });
        }
    };
    // A panic of any is one of the test.
    thread::scope(|scope| (0..AT_A_TIME).for_each(|_| drop(scope.spawn(work))));
    let all = all.into_inner().expect("all have added");
    println!(
        "ledger: {} syncs failed, {} starts refused, {} gateways ended by themselves; {} acknowledged, {} after a restart, \
         0 lost",
        all.runs, all.refused, all.ended, all.acknowledged, all.since
    );
    assert!(all.refused > 0 && all.ended > 0 && all.acknowledged > 100 && all.since > 100);
}

/// What came of some syncs that failed.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    runs: usize,
    refused: usize,
    ended: usize,
    acknowledged: usize,
    since: usize,
}

impl Row {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.refused += other.refused;
        self.ended += other.ended;
        self.acknowledged += other.acknowledged;
        self.since += other.since;
    }
}

async fn fail(failing: Failing, seed: u64) -> Row {
    let mut rng = Rng::with_seed(seed);
    let (receiver, config) = config().await;
    let disk = Disk::mount(seed);
    disk.fail(Some(failing));
    let ledger = Arc::new(Ledger::default());
    let mut row = Row { runs: 1, ..Row::default() };
    let ended = match Gateway::listen_in(folder_on(&disk), config.clone()).await {
        Err(refused) => {
            assert!(refused.code.is_some_and(|code| code > 0), "{failing:?}: {refused:?}");
            row.refused = 1;
            "refusal"
        }
        Ok(gateway) => {
            let sync = match failing {
                Failing::Once(sync) | Failing::From(sync) => sync,
                Failing::NextOf(_) => 0,
            };
            let ended = run(gateway, &disk, sync, &ledger).await;
            row.ended = usize::from(ended);
            if ended { "itself" } else { "a kill" }
        }
    };
    disk.fail(None);
    let acknowledged = ledger.acknowledged();
    row.acknowledged = acknowledged.len();

    // The power is cut at once.
    let before = arrivals(&receiver);
    let grain = Grain::random(&mut rng);
    let what = format!("{failing:?}, power cut ({grain:?})");
    let mut gateway = start(&what, folder_of(&disk.freeze().after_cut(grain, seed)), &config).await;
    assert_eq!(lost(&gateway, &receiver, &acknowledged, &before).await, [""; 0], "{what}");
    gateway.kill9().await;

    // The power stays, the gateway is started again, and the power is cut while it starts or works.
    let what = format!("{failing:?}, started again");
    let seen = Arc::clone(&ledger);
    let cut = disk.freeze_after(rng.u64(1..400), move || seen.acknowledged());
    let mut gateway = start(&what, folder_on(&disk), &config).await;
    assert_eq!(lost(&gateway, &receiver, &acknowledged, &before).await, [""; 0], "{what}");
    let load = Load::start_with(gateway.accept_address(), SENDERS, &ledger, events("again", BYTES, 16));
    let (frozen, acknowledged) = within("the disk to be written to", cut).await.expect("the disk is there");
    gateway.kill9().await;
    load.ended().await;
    row.since = acknowledged.len() - row.acknowledged;
    let grain = Grain::random(&mut rng);
    let what = format!("{failing:?}, started again, power cut ({grain:?})");
    let mut gateway = start(&what, folder_of(&frozen.after_cut(grain, seed)), &config).await;
    assert_eq!(lost(&gateway, &receiver, &acknowledged, &before).await, [""; 0], "{what}");
    gateway.kill9().await;
    println!("{ended:8}  {:12}  {:17}  0  {failing:?}", row.acknowledged, row.since);
    row
}

/// Sends events until the sync has failed and what follows from it has come. Says whether the gateway has ended by itself.
async fn run(mut gateway: Gateway, disk: &Disk, sync: u64, ledger: &Arc<Ledger>) -> bool {
    let load = Load::start_with(gateway.accept_address(), SENDERS, ledger, events("first", BYTES, 16));
    eventually("the sync to be asked for", async || match disk.syncs() {
        syncs if syncs >= sync => Ok(()),
        syncs => Err(format!("{syncs} syncs")),
    })
    .await;
    let enough = ledger.acknowledged().len() + AFTER;
    let ended = tokio::select! {
        status = gateway.exited() => {
            assert!(!status.success(), "it ends as it should not: {status}");
            true
        }
        () = ledger.wait_for(enough) => {
            gateway.kill9().await;
            false
        }
    };
    load.ended().await;
    ended
}

/// A sync of the main file is made in the background. Pages that an earlier pass wrote are not written again by the next one,
/// so that it must not be tried again.
#[test]
fn a_gateway_ends_after_a_failed_sync_of_the_main_file() {
    run_inside("syncs::failing::of_the_main_file");
}

/// Not a test by itself: what the test above runs in its namespace.
#[test]
fn of_the_main_file() {
    if is_inside() {
        block_on(fail_main_file());
    }
}

async fn fail_main_file() {
    let (receiver, config) = config().await;
    let disk = Disk::mount(0);
    let mut gateway = start("the first start", folder_on(&disk), &config).await;
    disk.fail(Some(Failing::NextOf("journal.db")));
    let ledger = Arc::new(Ledger::default());
    let load = Load::start_with(gateway.accept_address(), SENDERS, &ledger, events("main", BYTES, 16));
    let status = gateway.exited().await;
    assert!(!status.success(), "{status}");
    load.ended().await;
    let (acknowledged, before) = (ledger.acknowledged(), arrivals(&receiver));
    let mut gateway =
        start("after it", folder_of(&disk.freeze().after_cut(Grain::Nothing, 0)), &config).await;
    assert_eq!(lost(&gateway, &receiver, &acknowledged, &before).await, [""; 0]);
    gateway.kill9().await;
    println!("ledger: {} acknowledged before the gateway ended, 0 lost", acknowledged.len());
}
