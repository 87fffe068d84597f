//! Guests that do their worst. Each ends as a fault of its own kind, in a sentence, and disturbs nobody.

use std::time::Duration;

use bytes::Bytes;
use hookweir_host::{FaultKind, Limits, Verdict};
use hookweir_model::PluginRole::{self, Filter, Transformer};

use crate::guest::{self, CONTENT_TYPE, KEEP, MEMORY, Made, drop_with, filter, transformer};
use crate::setup::{Setup, job, resident, step};

struct Case {
    name: &'static str,
    role: PluginRole,
    wasm: Bytes,
    kind: FaultKind,
    /// How the sentence starts.
    message: &'static str,
}

fn case(name: &'static str, role: PluginRole, wasm: Bytes, kind: FaultKind, message: &'static str) -> Case {
    Case { name, role, wasm, kind, message }
}

/// How much more memory may be in use after a hostile call. An attack takes 16 MiB and more at a time, many times.
const RESIDENT_SLACK: usize = 48 << 20;

async fn assert_each_fails(cases: Vec<Case>) {
    let setup = Setup::alone(2).await;
    // What is loaded and touched only once is not the guest's doing.
    setup.assert_still_serves().await;
    let before = resident();
    for Case { name, role, wasm, kind, message } in cases {
        let fault = setup.fault(role, wasm, Limits::default()).await;
        assert_eq!(fault.kind, kind, "{name}: {}", fault.message);
        assert!(fault.message.starts_with(message), "{name}: {}", fault.message);
        setup.assert_still_serves().await;
        let after = resident();
        assert!(after < before + RESIDENT_SLACK, "{name}: {before} bytes were in use, and then {after}");
    }
}

#[tokio::test]
async fn time() {
    let over = "it used more than its 10 ms of processor time";
    let endless = "(loop $again (br $again)) (unreachable)";
    let start = |body: &str| format!("(func $start {body}) (start $start)");
    assert_each_fails(vec![
        case("endless loop", Filter, filter("", endless), FaultKind::Deadline, over),
        case("endless loop of a transformer", Transformer, transformer("", endless), FaultKind::Deadline, over),
        case(
            "endless loop with stores",
            Filter,
            filter("", "(loop $again (i64.store (i32.const 2048) (i64.const 7)) (br $again)) (unreachable)"),
            FaultKind::Deadline,
            over,
        ),
        case(
            "endless loop at the start",
            Filter,
            filter(&start("(loop $again (br $again))"), KEEP),
            FaultKind::Deadline,
            over,
        ),
        case(
            "endless loop in the allocator",
            Filter,
            guest::component(
                "filter-plugin",
                &format!(
                    r#"(memory (export "memory") 1)
                       (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                         (loop $again (br $again)) (unreachable))
                       {}"#,
                    guest::filter_function(KEEP)
                ),
            ),
            FaultKind::Deadline,
            over,
        ),
        case(
            "endless loop of large fills",
            Filter,
            filter(
                "",
                "(drop (memory.grow (i32.const 200)))
                 (loop $again
                   (memory.fill (i32.const 8192) (i32.const 7) (i32.const 13000000))
                   (br $again))
                 (unreachable)",
            ),
            FaultKind::Deadline,
            over,
        ),
        case(
            "log flood",
            Filter,
            filter(
                "",
                "(loop $again (call $log (i32.const 1) (i32.const 0) (i32.const 8000)) (br $again)) (unreachable)",
            ),
            FaultKind::Deadline,
            over,
        ),
        case(
            "config flood",
            Filter,
            filter("", "(loop $again (call $config (i32.const 2048)) (global.set $top (i32.const 16384)) (br $again))
                 (unreachable)"),
            FaultKind::Deadline,
            over,
        ),
    ])
    .await;
}

#[tokio::test]
async fn memory_and_stack() {
    let wanted = "it wanted ";
    let grow = "(loop $again (drop (memory.grow (i32.const 1))) (br $again)) (unreachable)";
    assert_each_fails(vec![
        case(
            "memory by the page",
            Filter,
            filter("", grow),
            FaultKind::Memory,
            "it wanted 16842752 bytes of memory; its limit is 16777216",
        ),
        case(
            "memory by the page, touched",
            Filter,
            filter(
                "(global $end (mut i32) (i32.const 262144))",
                "(loop $again
                   (drop (memory.grow (i32.const 1)))
                   (i32.store (global.get $end) (i32.const 7))
                   (global.set $end (i32.add (global.get $end) (i32.const 65536)))
                   (br $again))
                 (unreachable)",
            ),
            FaultKind::Memory,
            "it wanted 16842752 bytes",
        ),
        case(
            "four gigabytes at once",
            Filter,
            filter("", "(drop (memory.grow (i32.const 65532))) (unreachable)"),
            FaultKind::Memory,
            "it wanted 4294967296 bytes",
        ),
        case(
            "memory at the start, over the call's limit",
            Filter,
            guest::component(
                "filter-plugin",
                &format!(
                    "{} {}",
                    MEMORY.replace("(memory (export \"memory\") 4)", "(memory (export \"memory\") 257)"),
                    guest::filter_function(KEEP)
                ),
            ),
            FaultKind::Memory,
            "it wanted 16842752 bytes",
        ),
        case(
            "a large table",
            Filter,
            filter("(table $t 1 funcref)", "(drop (table.grow $t (ref.null func) (i32.const 20000))) (unreachable)"),
            FaultKind::Memory,
            "it wanted a table of 20001 elements; the limit is 20000",
        ),
        case(
            "a table that grows for ever",
            Filter,
            filter(
                "(table $t 1 funcref)",
                "(loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again)) (unreachable)",
            ),
            FaultKind::Memory,
            wanted,
        ),
        case(
            "deep recursion",
            Filter,
            filter(
                "(func $deep (param i32) (result i32)
                   (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))",
                "(call $deep (i32.const 0))",
            ),
            FaultKind::Stack,
            "it used up its stack",
        ),
        case(
            "mutual recursion through a table",
            Filter,
            filter(
                "(type $t (func (param i32) (result i32)))
                 (table funcref (elem $ping $pong))
                 (func $ping (type $t) (i32.add (call_indirect (type $t) (local.get 0) (i32.const 1)) (i32.const 1)))
                 (func $pong (type $t) (i32.add (call_indirect (type $t) (local.get 0) (i32.const 0)) (i32.const 1)))",
                "(call $ping (i32.const 0))",
            ),
            FaultKind::Stack,
            "it used up its stack",
        ),
    ])
    .await;
}

#[tokio::test]
async fn traps() {
    assert_each_fails(vec![
        case("unreachable", Filter, filter("", "(unreachable)"), FaultKind::Trap, "it gave up"),
        case(
            "unreachable at the start",
            Filter,
            filter("(func $start (unreachable)) (start $start)", KEEP),
            FaultKind::Trap,
            "it gave up",
        ),
        case(
            "division by zero",
            Filter,
            filter("", "(i32.div_u (i32.const 1) (i32.load (i32.const 2048)))"),
            FaultKind::Trap,
            "it trapped: wasm trap: integer divide by zero",
        ),
        case(
            "a load outside memory",
            Filter,
            filter("", "(i32.load (i32.const -4))"),
            FaultKind::Trap,
            "it trapped: wasm trap: out of bounds memory access",
        ),
        case(
            "an indirect call to nothing",
            Filter,
            filter(
                "(type $t (func (result i32))) (table 4 funcref)",
                "(call_indirect (type $t) (i32.const 3))",
            ),
            FaultKind::Trap,
            "it trapped: wasm trap: uninitialized element",
        ),
        case(
            "a host call from inside the allocator",
            Filter,
            guest::component(
                "filter-plugin",
                &format!(
                    r#"(memory (export "memory") 1)
                       (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                         (call $log (i32.const 1) (i32.const 0) (i32.const 4)) (i32.const 8192))
                       {}"#,
                    guest::filter_function(KEEP)
                ),
            ),
            FaultKind::Trap,
            "it trapped: wasm trap: cannot leave component instance",
        ),
    ])
    .await;
}

#[tokio::test]
async fn output() {
    let unreadable = "what it handed over can't be read: ";
    let too_much = "it handed over more than 2097152 bytes";
    let made = |items: &str, made: Made<'_>| transformer(&format!("{CONTENT_TYPE} {items}"), &made.body());
    let grown =
        |body: &str| transformer(CONTENT_TYPE, &format!("(drop (memory.grow (i32.const 100))) {body}"));
    let allocator = |address: &str| {
        guest::component(
            "filter-plugin",
            &format!(
                r#"(memory (export "memory") 1)
                   (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const {address}))
                   {}"#,
                guest::filter_function(KEEP)
            ),
        )
    };
    assert_each_fails(vec![
        case(
            "three megabytes",
            Transformer,
            grown(&Made { data: ("(i32.const 0)", "(i32.const 3145728)"), ..Made::EMPTY }.body()),
            FaultKind::Output,
            too_much,
        ),
        case(
            "a byte too many",
            Transformer,
            grown(&Made { data: ("(i32.const 0)", "(i32.const 2097150)"), ..Made::EMPTY }.body()),
            FaultKind::Output,
            too_much,
        ),
        case(
            "four hundred thousand headers",
            Transformer,
            grown(&Made { headers: ("(i32.const 4096)", "(i32.const 400000)"), ..Made::EMPTY }.body()),
            FaultKind::Output,
            too_much,
        ),
        case(
            "a reason of three megabytes",
            Filter,
            filter(
                "",
                &format!(
                    "(drop (memory.grow (i32.const 100))) {}",
                    drop_with("(i32.const 0)", "(i32.const 3145728)")
                ),
            ),
            FaultKind::Output,
            too_much,
        ),
        case(
            "text that is not UTF-8",
            Transformer,
            made(
                r#"(data (i32.const 700) "\ff\fe")"#,
                Made { content_type: ("(i32.const 700)", "(i32.const 2)"), ..Made::EMPTY },
            ),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "a list beyond the memory's end",
            Transformer,
            made("", Made { data: ("(i32.const 262140)", "(i32.const 100)"), ..Made::EMPTY }),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "a negative length",
            Transformer,
            made("", Made { data: ("(i32.const 0)", "(i32.const -1)"), ..Made::EMPTY }),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "a list that is not aligned",
            Transformer,
            made("", Made { headers: ("(i32.const 257)", "(i32.const 1)"), ..Made::EMPTY }),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "a result beyond the memory's end",
            Filter,
            filter("", "(i32.const -16)"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "a result that is not aligned",
            Filter,
            filter("", "(i32.const 1025)"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "neither ok nor error",
            Filter,
            filter("", "(i32.store (i32.const 1024) (i32.const 7)) (i32.const 1024)"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "neither keep nor drop",
            Filter,
            filter("", "(i32.store (i32.const 1028) (i32.const 9)) (i32.const 1024)"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "an allocator that points outside",
            Filter,
            allocator("-8"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
        case(
            "an allocator that is not aligned",
            Filter,
            allocator("8193"),
            FaultKind::InvalidOutput,
            unreadable,
        ),
    ])
    .await;
}

#[tokio::test]
async fn headers() {
    let with_header = |name: &str, value: &str, name_length: usize, value_length: usize| {
        let items = guest::header_data(name, value, name_length, value_length);
        let made = Made { headers: ("(i32.const 256)", "(i32.const 1)"), ..Made::EMPTY };
        transformer(&format!("{CONTENT_TYPE} {items}"), &made.body())
    };
    let plain = |name: &'static str, value: &'static str| with_header(name, value, name.len(), value.len());
    let owned = |name: &str| {
        let text = format!("its headers can't be sent: header \"{name}\" is set by the gateway or by HTTP");
        Box::leak(text.into_boxed_str()) as &'static str
    };
    let mut cases: Vec<Case> = [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "webhook-id",
        "Webhook-Timestamp",
        "hookweir-attempt",
        "X-ICE-SIGNATURE",
    ]
    .into_iter()
    .map(|name| case(name, Transformer, plain(name, "v"), FaultKind::InvalidOutput, owned(name)))
    .collect();
    cases.extend([
        case(
            "CR LF in a value",
            Transformer,
            with_header("x-a", r"1\0d\0ahost: b", 3, 10),
            FaultKind::InvalidOutput,
            "its headers can't be sent: the value of header \"x-a\"",
        ),
        case(
            "NUL in a value",
            Transformer,
            with_header("x-a", r"1\00", 3, 2),
            FaultKind::InvalidOutput,
            "its headers can't be sent: the value of header \"x-a\"",
        ),
        case(
            "LF in a name",
            Transformer,
            with_header(r"x\0aa", "1", 3, 1),
            FaultKind::InvalidOutput,
            "its headers can't be sent: \"x\\na\" is not a header name",
        ),
    ]);
    assert_each_fails(cases).await;
}

#[tokio::test]
async fn a_guests_own_failures_keep_their_kind_and_text() {
    let text = r#"(data (i32.const 700) "no\0athanks")"#;
    assert_each_fails(vec![
        case(
            "invalid",
            Filter,
            filter(text, &guest::fail_with(0, 700, 9)),
            FaultKind::Invalid,
            "no\\nthanks",
        ),
        case(
            "unavailable",
            Transformer,
            transformer(text, &guest::fail_with(1, 700, 9)),
            FaultKind::Unavailable,
            "no\\nthanks",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_lower_limit_is_the_one_that_counts() {
    let setup = Setup::new(1).await;
    let endless = filter("", "(loop $again (br $again)) (unreachable)");
    let limits = Limits { deadline: Duration::from_millis(3), ..Limits::default() };
    let fault = setup.fault(Filter, endless, limits).await;
    assert_eq!(fault.message, "it used more than its 3 ms of processor time");

    let limits = Limits { memory: 3 << 16, ..Limits::default() };
    let fault = setup.fault(Filter, filter("", KEEP), limits).await;
    assert_eq!(fault.message, "it wanted 262144 bytes of memory; its limit is 196608");

    let limits = Limits { output: 100, ..Limits::default() };
    let made = Made { data: ("(i32.const 0)", "(i32.const 98)"), ..Made::EMPTY };
    let fault = setup.fault(Transformer, transformer(CONTENT_TYPE, &made.body()), limits).await;
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Output, "it handed over more than 100 bytes")
    );
}

#[tokio::test]
async fn the_log_is_cut_and_can_not_forge_lines() {
    let setup = Setup::new(1).await;
    let items = r#"(data (i32.const 700) "a\1b[31m\0aerror: forged</script>")"#;
    let log = |times: u32| {
        format!(
            "(local $count i32)
             (loop $again
               (call $log (i32.const 2) (i32.const 700) (i32.const 29))
               (local.set $count (i32.add (local.get $count) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $count) (i32.const {times}))))
             {KEEP}"
        )
    };
    let ran = setup.run(Filter, filter(items, &log(1)), Limits::default()).await;
    assert_eq!(ran.verdict, Verdict::Keep(None));
    assert_eq!(ran.calls[0].log, "warn: a\\u{1b}[31m\\nerror: forged</script>");

    let ran = setup.run(Filter, filter(items, &log(500)), Limits::default()).await;
    assert_eq!(ran.verdict, Verdict::Keep(None), "what goes over the limit is cut, not a failure");
    let lines = &ran.calls[0].log;
    assert!((1_000..=1_024).contains(&lines.len()), "{}", lines.len());
    assert!(
        lines.ends_with('…') && lines.lines().all(|line| line.starts_with("warn: a") || line.ends_with('…'))
    );
}

/// The counter is in a global and in memory. Slots of the pool are used again, so what one call leaves there must not
/// be seen by the next.
#[tokio::test]
async fn no_state_outlives_a_call() {
    let setup = Setup::new(2).await;
    let count = "(global.set $count (i32.add (global.get $count) (i32.const 1)))
                 (i32.store8 (i32.const 900) (i32.add (i32.load8_u (i32.const 900)) (i32.const 1)))
                 (i32.store8 (i32.const 901) (i32.add (i32.const 48) (global.get $count)))
                 (i32.store8 (i32.const 900) (i32.add (i32.const 48) (i32.load8_u (i32.const 900))))";
    let guest = filter(
        "(global $count (mut i32) (i32.const 0))",
        &format!("{count} {}", drop_with("(i32.const 900)", "(i32.const 2)")),
    );
    let plugin = setup.load(guest).await;
    for tenant in ["a", "b", "a", "a", "b", "c"].iter().cycle().take(300) {
        let ran = setup.host.run(job(tenant, b"{}", vec![step("count", Filter, &plugin)])).await;
        match ran.verdict {
            Verdict::Drop { reason, .. } => assert_eq!(reason, "11"),
            other => panic!("{other:?}"),
        }
    }
}
