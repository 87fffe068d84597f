//! Case 34: all of one tenant's calls are stuck, and there are many. That its neighbour takes its turns is tested in
//! `fairness`; here, that the crowd costs no more than its own deadlines and leaves nothing behind.

use super::harness::{Harness, MEBIBYTE, SLACK};
use crate::guest;
use crate::setup::resident;

const STUCK: usize = 64;

#[tokio::test]
async fn sixty_four_stuck_calls() {
    let harness = Harness::new(None).await;
    let stuck = harness.load(guest::hostile("01-endless-loop")).await;
    let before = resident();
    let started = super::harness::processor();
    let (ended, ()) = tokio::join!(harness.crowd(&stuck, STUCK), harness.good_calls(100));
    let used = super::harness::processor().saturating_sub(started);
    for verdict in ended {
        super::harness::assert_deadline(&verdict);
    }
    harness.good_calls(100).await;
    let after = resident();
    assert!(after <= before + MEBIBYTE, "{before} bytes were in use, and then {after}");
    let count = u32::try_from(STUCK).unwrap();
    let (each, allowed) = (used / count, super::harness::deadline() + SLACK);
    assert!(each <= allowed, "{each:?} for each call, the neighbour's included");
    println!("| 34 | {STUCK} stuck calls of one tenant | deadline | {each:.1?} each | 100 of 100 |");
}
