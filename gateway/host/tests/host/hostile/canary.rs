//! Case 30: nothing of one tenant's call is left for another's. The pool's slots are used again and again, by the same
//! component, so a victim's memory, global or table that is not reset would be seen at once.

use std::sync::Arc;
use std::time::Duration;

use hookweir_host::{Host, Limits, Plugin, Step, Verdict};
use hookweir_model::PluginRole::{self, Filter, Transformer};
use tokio::task::JoinSet;

use crate::guest;
use crate::setup::{LIMITS, Setup, amount, job, step};

/// Alternations of victim and attacker, over all tasks.
const ALTERNATIONS: u64 = 10_000;
const TASKS: u64 = 4;

/// Pages that a call grows its memory by. The last makes it all that a call may have, and is rare in the short form.
const PAGES: [usize; 4] = [0, 4, 12, 252];

/// The proof that the attacker would see the canary: it looks at the instance that wrote it.
#[tokio::test]
async fn the_attacker_sees_a_canary_that_is_there() {
    let setup = Setup::new(1).await;
    let plugin = setup.load(guest::hostile("30-canary")).await;
    let steps = vec![unhurried(Transformer, &plugin), unhurried(Filter, &plugin)];
    let ran = setup.host.run(job("victim", b"12345678", steps)).await;
    assert!(matches!(&ran.verdict, Verdict::Drop { reason, .. } if reason == "mgt"), "{:?}", ran.verdict);
}

#[tokio::test]
async fn no_canary_is_ever_seen_by_another_tenant() {
    let setup = Setup::new(2).await;
    let canary = setup.load(guest::hostile("30-canary")).await;
    // A component of its own for the attacker: the slot that it gets was last another component's.
    let other = setup
        .load(guest::beside(&guest::hostile("30-canary"), &wat::parse_str("(module (memory 1))").unwrap()))
        .await;
    assert_ne!(canary.digest(), other.digest());
    let whole_memory_each = amount(100, 2);

    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let host = setup.host.clone();
        let attackers = [Arc::clone(&canary), Arc::clone(&other)];
        tasks.spawn(async move {
            for turn in (task..ALTERNATIONS).step_by(TASKS as usize) {
                let pages = if turn % whole_memory_each == 0 { 3 } else { turn as usize % 3 };
                alternate(&host, &attackers[0], &attackers[turn as usize % 2], PAGES[pages]).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    println!("case 30: {ALTERNATIONS} alternations, no canary was seen");
}

/// A call of the victim, which writes its canary, and then one of the attacker, which looks for it.
async fn alternate(host: &Host, victim: &Arc<Plugin>, attacker: &Arc<Plugin>, pages: usize) {
    let data = vec![b'x'; pages];
    let wrote = host.run(job("victim", &data, vec![unhurried(Transformer, victim)])).await;
    assert!(matches!(wrote.verdict, Verdict::Keep(Some(_))), "{:?}", wrote.verdict);
    let looked = host.run(job("attacker", &data, vec![unhurried(Filter, attacker)])).await;
    assert_eq!(looked.verdict, Verdict::Keep(None));
}

/// Time is not what is tested here: all of the memory is written and read.
fn unhurried(role: PluginRole, plugin: &Arc<Plugin>) -> Step {
    let limits = Limits { deadline: Duration::from_secs(1), ..LIMITS };
    Step { limits, ..step("canary", role, plugin) }
}
