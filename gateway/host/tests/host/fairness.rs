//! A tenant whose plugins hang costs the others a turn, not their service.

use std::sync::{Arc, Mutex};

use hookweir_host::{FaultKind, Verdict};
use hookweir_model::PluginRole::Filter;

use crate::guest::{self, filter};
use crate::setup::{Setup, job, step};

#[tokio::test]
async fn stuck_plugins_of_one_tenant_leave_the_others_their_turn() {
    for threads in [1, 2] {
        let setup = Setup::new(threads).await;
        let stuck = setup.load(filter("", "(loop $again (br $again)) (unreachable)")).await;
        let good = setup.load(guest::echo_filter()).await;
        let ended = Arc::new(Mutex::new(Vec::new()));
        let spawn = |tenant: &'static str, plugin: &Arc<hookweir_host::Plugin>| {
            let host = setup.host.clone();
            let job = job(tenant, b"hello", vec![step("plugin", Filter, plugin)]);
            let ended = Arc::clone(&ended);
            tokio::spawn(async move {
                let ran = host.run(job).await;
                ended.lock().unwrap().push(tenant);
                ran.verdict
            })
        };
        // All of the stuck ones are in line before the first good one.
        let stuck: Vec<_> = (0..64).map(|_| spawn("a", &stuck)).collect();
        let good: Vec<_> = (0..32).map(|_| spawn("b", &good)).collect();
        for verdict in stuck {
            let verdict = verdict.await.unwrap();
            assert!(
                matches!(&verdict, Verdict::Fault(fault) if fault.kind == FaultKind::Deadline),
                "{verdict:?}"
            );
        }
        for verdict in good {
            let verdict = verdict.await.unwrap();
            assert!(matches!(&verdict, Verdict::Drop { reason, .. } if reason == "hello"), "{verdict:?}");
        }
        let ended = ended.lock().unwrap();
        let last_good = ended.iter().rposition(|tenant| *tenant == "b").unwrap();
        let stuck_before = ended.iter().take(last_good).filter(|tenant| **tenant == "a").count();
        // By turns, at most one stuck call stands before each good one; without turns, all 64 would.
        assert!(stuck_before <= 34, "{threads} threads: {stuck_before} stuck calls ended first");
    }
}

#[tokio::test]
async fn a_closed_host_answers_and_does_not_hang() {
    let setup = Setup::new(2).await;
    let good = setup.load(guest::echo_filter()).await;
    setup.host.close();
    let ran = setup.host.run(job("a", b"{}", vec![step("echo", Filter, &good)])).await;
    let Verdict::Fault(fault) = ran.verdict else { panic!("{:?}", ran.verdict) };
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Host, "the plugin host is closed"));
    setup.host.close();
}
