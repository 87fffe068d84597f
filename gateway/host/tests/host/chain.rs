//! Filters and transformers in order, on one event.

use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::{FaultKind, Outgoing, Step, Verdict};
use hookweir_model::PluginRole::{Filter, Transformer};
use hookweir_model::TenantId;

use crate::guest::{
    self, CONTENT_TYPE, EVENT_CONTENT_TYPE, EVENT_DATA, KEEP, MEMORY, Made, drop_with, filter, transformer,
};
use crate::setup::{Setup, event, job, step};

/// Hands over the event's data as it is, with one header and the content type `a/b`.
fn pass_with_header(name: &str, value: &str) -> Bytes {
    let items = guest::header_data(name, value, name.len(), value.len());
    let made = Made { headers: ("(i32.const 256)", "(i32.const 1)"), data: EVENT_DATA, ..Made::EMPTY };
    transformer(&format!("{CONTENT_TYPE} {items}"), &made.body())
}

#[tokio::test]
async fn no_plugins_keep_the_event_as_it_came() {
    let setup = Setup::new(1).await;
    let ran = setup.host.run(job("a", b"{}", Vec::new())).await;
    assert_eq!(ran.verdict, Verdict::Keep(None));
    assert!(ran.calls.is_empty());
}

#[tokio::test]
async fn the_first_filter_that_drops_ends_the_chain() {
    let setup = Setup::new(1).await;
    let keep = setup.load(filter("", KEEP)).await;
    let echo = setup.load(guest::echo_filter()).await;
    let trap = setup.load(filter("", "(unreachable)")).await;
    let steps =
        vec![step("keep", Filter, &keep), step("echo", Filter, &echo), step("never-called", Filter, &trap)];
    let ran = setup.host.run(job("a", b"the data", steps)).await;
    let Verdict::Drop { plugin, digest, reason } = ran.verdict else { panic!("{:?}", ran.verdict) };
    assert_eq!((plugin.as_str(), digest, reason.as_str()), ("echo", echo.digest(), "the data"));
    let called: Vec<_> =
        ran.calls.iter().map(|call| (call.plugin.as_str(), call.digest, call.role)).collect();
    assert_eq!(called, [("keep", keep.digest(), Filter), ("echo", echo.digest(), Filter)]);
}

#[tokio::test]
async fn each_transformer_gets_what_the_last_one_made() {
    let setup = Setup::new(1).await;
    let first = setup.load(pass_with_header("X-First", "1")).await;
    let second = setup.load(pass_with_header("x-second", "2")).await;
    let again = setup.load(pass_with_header("x-first", "3")).await;
    // Makes the content type that it was given its data, and gives none of its own headers.
    let tell_type = Made { data: EVENT_CONTENT_TYPE, ..Made::EMPTY };
    let tell = setup.load(transformer(CONTENT_TYPE, &tell_type.body())).await;

    let alone = setup.host.run(job("a", b"{}", vec![step("tell", Transformer, &tell)])).await;
    let outgoing = |headers: &[(&str, &str)], data: &'static [u8]| {
        Verdict::Keep(Some(Outgoing {
            content_type: "a/b".to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            data: Bytes::from_static(data),
        }))
    };
    assert_eq!(alone.verdict, outgoing(&[], b"application/json"));

    let steps = [("first", &first), ("second", &second), ("again", &again), ("tell", &tell)];
    let steps = steps.into_iter().map(|(id, plugin)| step(id, Transformer, plugin)).collect();
    let ran = setup.host.run(job("a", b"{}", steps)).await;
    assert_eq!(ran.verdict, outgoing(&[("x-second", "2"), ("x-first", "3")], b"a/b"));
    assert_eq!(ran.calls.len(), 4);
}

#[tokio::test]
async fn a_failed_transformer_ends_the_chain_and_nothing_is_sent() {
    let setup = Setup::new(1).await;
    let first = setup.load(pass_with_header("x-first", "1")).await;
    let trap = setup.load(transformer("", "(unreachable)")).await;
    let steps = vec![
        step("first", Transformer, &first),
        step("trap", Transformer, &trap),
        step("never-called", Transformer, &first),
    ];
    let ran = setup.host.run(job("a", b"{}", steps)).await;
    let Verdict::Fault(fault) = ran.verdict else { panic!("{:?}", ran.verdict) };
    assert_eq!((fault.plugin.as_str(), fault.digest, fault.kind), ("trap", trap.digest(), FaultKind::Trap));
    assert_eq!(ran.calls.len(), 2, "the failed call is listed too");
}

#[tokio::test]
async fn a_guest_reads_its_own_steps_config() {
    let setup = Setup::new(1).await;
    let tell = "(call $config (i32.const 2048))";
    let body = format!("{tell} {}", drop_with("(i32.load (i32.const 2048))", "(i32.load (i32.const 2052))"));
    let plugin = setup.load(filter("", &body)).await;
    for config in [r#"{"minimum":100}"#, "{}", "{\"name\":\"é😀\"}"] {
        let step = Step { config: config.into(), ..step("tell", Filter, &plugin) };
        let ran = setup.host.run(job("a", b"{}", vec![step])).await;
        let Verdict::Drop { reason, .. } = ran.verdict else { panic!("{:?}", ran.verdict) };
        assert_eq!(reason, config);
    }
}

/// A plugin that does both counts its calls: its filter one, its transformer a second, which it hands over.
fn counter() -> Bytes {
    let count = "(global.set $count (i32.add (global.get $count) (i32.const 1)))";
    let tell = Made { data: ("(i32.const 900)", "(i32.const 1)"), ..Made::EMPTY }.body();
    guest::component(
        "plugin",
        &format!(
            "{MEMORY} {CONTENT_TYPE} (global $count (mut i32) (i32.const 0)) {} {}",
            guest::filter_function(&format!("{count} {KEEP}")),
            guest::transform_function(&format!(
                "{count} (i32.store8 (i32.const 900) (i32.add (i32.const 48) (global.get $count))) {tell}"
            )),
        ),
    )
}

#[tokio::test]
async fn one_instance_serves_both_calls_of_one_event_and_no_other() {
    let setup = Setup::new(2).await;
    let plugin = setup.load(counter()).await;
    let other_config = Step { config: "{\"a\":1}".into(), ..step("counter", Transformer, &plugin) };
    let table = [
        (vec![step("counter", Filter, &plugin), step("counter", Transformer, &plugin)], "2"),
        (vec![step("counter", Transformer, &plugin)], "1"),
        (vec![step("counter", Filter, &plugin), step("another", Transformer, &plugin)], "1"),
        (vec![step("counter", Filter, &plugin), other_config], "1"),
    ];
    for (steps, count) in table.iter().cycle().take(40) {
        let ran = setup.host.run(job("a", b"{}", steps.clone())).await;
        let Verdict::Keep(Some(made)) = ran.verdict else { panic!("{:?}", ran.verdict) };
        assert_eq!(made.data, count.as_bytes());
    }
}

#[tokio::test]
async fn more_plugins_than_instances_that_may_be_kept() {
    let setup = Setup::new(2).await;
    let plugin = setup.load(counter()).await;
    let ids: Vec<String> = (0..12).map(|number| format!("counter-{number}")).collect();
    let both = [Filter, Transformer];
    let steps: Vec<Step> =
        both.iter().flat_map(|role| ids.iter().map(|id| step(id, *role, &plugin))).collect();
    let jobs: Vec<_> = (0..20)
        .map(|_| {
            let host = setup.host.clone();
            let steps = steps.clone();
            tokio::spawn(async move { host.run(job("a", b"{}", steps)).await })
        })
        .collect();
    for job in jobs {
        let ran = job.await.unwrap();
        assert!(matches!(ran.verdict, Verdict::Keep(Some(_))), "{:?}", ran.verdict);
        assert_eq!(ran.calls.len(), 24);
    }
}

#[tokio::test]
async fn a_plugin_is_not_called_for_what_it_is_not() {
    let setup = Setup::new(1).await;
    let plugin = setup.load(filter("", KEEP)).await;
    assert_eq!((plugin.exports().filter, plugin.exports().transformer), (true, false));
    let ran = setup.host.run(job("a", b"{}", vec![step("keep", Transformer, &plugin)])).await;
    let Verdict::Fault(fault) = ran.verdict else { panic!("{:?}", ran.verdict) };
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Host, "it is configured as a transformer, which it is not")
    );
}

#[tokio::test]
async fn every_part_of_the_event_arrives() {
    // Each part's address and length lie at this offset in the record; the attributes' first name and value at 52.
    let setup = Setup::new(1).await;
    let tenant = TenantId::new("a").unwrap();
    let mut whole = Arc::unwrap_or_clone(event(&tenant, b"\x00{data}"));
    whole.subject = Some("order/1".to_owned());
    whole.attributes = vec![("x-é".to_owned(), "1".to_owned()), ("x-é".to_owned(), "2".to_owned())];
    let whole = Arc::new(whole);
    let at = |offset: u32| {
        (
            format!("(i32.load offset={offset} (local.get $event))"),
            format!("(i32.load offset={} (local.get $event))", offset + 4),
        )
    };
    let attribute = |offset: u32| {
        let base = "(i32.load offset=52 (local.get $event))";
        (format!("(i32.load offset={offset} {base})"), format!("(i32.load offset={} {base})", offset + 4))
    };
    let table = [
        ("id", at(0), "evt_1"),
        ("type", at(8), "order.created"),
        ("source", at(16), "/shop"),
        ("subject", at(28), "order/1"),
        ("time", at(36), "2026-01-31T12:00:00Z"),
        ("content type", at(44), "application/json"),
        ("first attribute's name", attribute(0), "x-é"),
        ("first attribute's value", attribute(8), "1"),
        ("second attribute's value", attribute(24), "2"),
        ("data", at(60), "\\u{0}{data}"),
    ];
    for (name, (address, length), text) in table {
        let plugin = setup.load(filter("", &drop_with(&address, &length))).await;
        let steps = vec![step("tell", Filter, &plugin)];
        let job =
            hookweir_host::Job { tenant: tenant.clone(), event: Arc::clone(&whole), steps: steps.into() };
        let ran = setup.host.run(job).await;
        let Verdict::Drop { reason, .. } = ran.verdict else { panic!("{name}: {:?}", ran.verdict) };
        assert_eq!(reason, text, "{name}");
    }
}
