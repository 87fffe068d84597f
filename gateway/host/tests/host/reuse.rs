//! Reuse, by a tenant's choice: what an instance sees of earlier events, and when it is renewed.

use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::{FaultKind, Plugin, Ran, Reuse, Step, Verdict};
use hookweir_model::PluginRole::{Filter, Transformer};

use crate::guest::{self, CONTENT_TYPE, EVENT_DATA, KEEP, MEMORY, Made, drop_with, filter};
use crate::setup::{LIMITS, Setup, job, step};

/// Drops every event and says, as one letter from `1` on, how many calls its instance has seen. An event `!` traps, and
/// one `?` is answered with a failure of the guest's own.
fn counting_filter() -> Bytes {
    let count = "(i32.store (i32.const 1024) (i32.const 0))
                 (global.set $count (i32.add (global.get $count) (i32.const 1)))
                 (i32.store8 (i32.const 900) (i32.add (i32.const 48) (global.get $count)))";
    let is =
        |letter: char| format!("(i32.eq (i32.load8_u {}) (i32.const {}))", EVENT_DATA.0, u32::from(letter));
    let invalid = guest::fail_with(0, 900, 1);
    let tell = drop_with("(i32.const 900)", "(i32.const 1)");
    filter(
        "(global $count (mut i32) (i32.const 0))",
        &format!(
            "{count} (if {} (then (unreachable))) (if (result i32) {} (then {invalid}) (else {tell}))",
            is('!'),
            is('?')
        ),
    )
}

fn reused(plugin: &Arc<Plugin>, events: u32) -> Step {
    Step { reuse: Some(Reuse { events }), ..step("counter", Filter, plugin) }
}

/// What the guest said: its count, or the kind of its fault.
fn said(ran: &Ran) -> Result<&str, FaultKind> {
    match &ran.verdict {
        Verdict::Drop { reason, .. } => Ok(reason),
        Verdict::Fault(fault) => Err(fault.kind),
        Verdict::Keep(_) => panic!("{ran:?}"),
    }
}

#[tokio::test]
async fn an_instance_sees_the_events_of_its_own_tenant_alone() {
    let setup = Setup::new(1).await;
    let plugin = setup.load(counting_filter()).await;
    for (tenant, reuse, count) in [
        ("a", true, "1"),
        ("a", true, "2"),
        ("b", true, "1"),
        ("a", false, "1"),
        ("a", true, "3"),
        ("b", true, "2"),
        ("b", false, "1"),
    ] {
        let step = if reuse { reused(&plugin, 100) } else { step("counter", Filter, &plugin) };
        let ran = setup.host.run(job(tenant, b"x", vec![step])).await;
        assert_eq!(said(&ran), Ok(count), "{tenant} {reuse}");
        assert_eq!(ran.used[0].fresh, count == "1");
    }
}

#[tokio::test]
async fn another_plugin_configuration_or_limit_means_another_instance() {
    let setup = Setup::new(1).await;
    let plugin = setup.load(counting_filter()).await;
    let run = async |step: Step| {
        let ran = setup.host.run(job("a", b"x", vec![step])).await;
        said(&ran).unwrap().to_owned()
    };
    assert_eq!(run(reused(&plugin, 100)).await, "1");
    assert_eq!(run(Step { id: "other".parse().unwrap(), ..reused(&plugin, 100) }).await, "1");
    assert_eq!(run(reused(&plugin, 100)).await, "2");
    assert_eq!(run(Step { config: "{\"a\":1}".into(), ..reused(&plugin, 100) }).await, "1");
    assert_eq!(run(reused(&plugin, 100)).await, "1", "the old one went when the configuration changed");
    let tighter = hookweir_host::Limits { memory: 1 << 20, ..LIMITS };
    assert_eq!(run(Step { limits: tighter, ..reused(&plugin, 100) }).await, "1");
    setup.host.cool();
    assert_eq!(run(Step { limits: tighter, ..reused(&plugin, 100) }).await, "1", "cooled instances are gone");
}

#[tokio::test]
async fn it_is_renewed_after_its_events_and_after_a_fault() {
    let setup = Setup::new(1).await;
    let plugin = setup.load(counting_filter()).await;
    for (event, said_by_guest) in [
        (b"x", Ok("1")),
        (b"x", Ok("2")),
        (b"x", Ok("3")),
        (b"x", Ok("1")),
        (b"?", Err(FaultKind::Invalid)),
        (b"x", Ok("3")),
        (b"x", Ok("1")),
        (b"!", Err(FaultKind::Trap)),
        (b"x", Ok("1")),
        (b"x", Ok("2")),
    ] {
        let ran = setup.host.run(job("a", event, vec![reused(&plugin, 3)])).await;
        assert_eq!(said(&ran), said_by_guest, "{}", char::from(event[0]));
    }
}

/// A guest that can serve one event only: it traps at the second call. Reuse must not cost the second event.
#[tokio::test]
async fn what_a_warm_instance_can_not_do_a_fresh_one_does() {
    let setup = Setup::new(1).await;
    let once = filter(
        "(global $spent (mut i32) (i32.const 0))",
        &format!(
            "(if (global.get $spent) (then (unreachable))) (global.set $spent (i32.const 1)) {}",
            drop_with(EVENT_DATA.0, EVENT_DATA.1)
        ),
    );
    // It grows its memory by a MiB a call, and may have five.
    let hoarder =
        filter("", &format!("(drop (memory.grow (i32.const 16))) {}", drop_with(EVENT_DATA.0, EVENT_DATA.1)));
    for wasm in [once, hoarder] {
        let plugin = setup.load(wasm).await;
        let limits = hookweir_host::Limits { memory: 5 << 20, ..LIMITS };
        for _ in 0..20 {
            let step = Step { limits, ..reused(&plugin, 1_000) };
            let ran = setup.host.run(job("a", b"hello", vec![step])).await;
            assert_eq!(said(&ran), Ok("hello"));
            assert_eq!(ran.calls.len(), 1);
        }
    }
}

/// One plugin as filter and transformer of the same event, reused: both calls and all events meet the same instance.
#[tokio::test]
async fn a_plugin_that_does_both_is_reused_whole() {
    let setup = Setup::new(1).await;
    let count = "(global.set $count (i32.add (global.get $count) (i32.const 1)))";
    let tell = Made { data: ("(i32.const 900)", "(i32.const 1)"), ..Made::EMPTY }.body();
    let plugin = setup
        .load(guest::component(
            "plugin",
            &format!(
                "{MEMORY} {CONTENT_TYPE} (global $count (mut i32) (i32.const 0)) {} {}",
                guest::filter_function(&format!("{count} {KEEP}")),
                guest::transform_function(&format!(
                    "{count} (i32.store8 (i32.const 900) (i32.add (i32.const 48) (global.get $count))) {tell}"
                )),
            ),
        ))
        .await;
    for count in [b"2", b"4", b"2", b"4"] {
        let both = [Filter, Transformer]
            .map(|role| Step { reuse: Some(Reuse { events: 2 }), ..step("both", role, &plugin) });
        let ran = setup.host.run(job("a", b"{}", both.to_vec())).await;
        let Verdict::Keep(Some(made)) = ran.verdict else { panic!("{:?}", ran.verdict) };
        assert_eq!(made.data.as_ref(), count);
    }
}

#[tokio::test]
async fn what_a_call_took_is_told() {
    let setup = Setup::new(1).await;
    let grow =
        filter("", &format!("(drop (memory.grow (i32.const 16))) {}", drop_with(EVENT_DATA.0, EVENT_DATA.1)));
    let grower = setup.load(grow).await;
    let endless = setup.load(filter("", "(loop $again (br $again)) (unreachable)")).await;
    let ran = setup.host.run(job("a", b"hello", vec![step("grower", Filter, &grower)])).await;
    let [used] = ran.used.as_slice() else { panic!("{ran:?}") };
    assert_eq!((used.memory, used.output, used.log, used.fresh), (20 * 65_536, 5, 0, true));
    let ran = setup.host.run(job("a", b"hello", vec![step("endless", Filter, &endless)])).await;
    let [used] = ran.used.as_slice() else { panic!("{ran:?}") };
    let deadline = LIMITS.deadline;
    assert!(used.processor > deadline && used.output == 0, "{used:?}");
}
