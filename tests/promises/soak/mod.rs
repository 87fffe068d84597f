//! A soak: events are accepted all the time while faults come at random, by a fixed seed. At the end every event that was
//! accepted is accounted for, by its id and to the event: by what the gateway says of itself, and by what senders,
//! receivers, consumers and a broker's reader saw.
//!
//! The test runs itself in a mount namespace, where the gateway's folder lies on a small file system.

mod accounts;
mod events;
mod faults;
mod outside;
mod world;

use std::env;
use std::time::{Duration, Instant};

use self::faults::Deck;
use self::world::World;
use crate::namespace::{block_on, is_inside, run_inside};

/// What the order of faults, their parameters and all events are made from.
const SEED: u64 = 1_200;
/// How long faults come, at least. Each kind comes once whatever the time.
const ORDINARY: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(1_200);

#[test]
fn every_event_is_accounted_for_after_faults_at_random() {
    run_inside("soak::inside");
}

/// Not a test by itself: what the test above runs in its namespace.
#[test]
fn inside() {
    if is_inside() {
        block_on(soak(if env::var_os("HOOKWEIR_LONG").is_some() { LONG } else { ORDINARY }));
    }
}

async fn soak(time: Duration) {
    let began = Instant::now();
    let mut world = World::begin(SEED).await;
    let mut deck = Deck::new(SEED);
    let mut faults = 0;
    while began.elapsed() < time || !deck.is_through() {
        let fault = deck.draw();
        println!("{:7.1} s  {fault:?}; {} accepted", began.elapsed().as_secs_f64(), world.ledger.count());
        world.meet(fault).await;
        faults += 1;
    }
    world.heal().await;
    println!("{:7.1} s  all is well again after {faults} faults", began.elapsed().as_secs_f64());
    accounts::last_life_counts_itself(&mut world).await;
    accounts::are_balanced(&mut world).await;
    println!("{:7.1} s  every event is accounted for", began.elapsed().as_secs_f64());
}
