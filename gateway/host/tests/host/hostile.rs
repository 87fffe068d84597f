//! Guests that do their worst. Each ends by a limit that is named, and disturbs nobody.
//!
//! `cases` is the table of all cases; most run through the same checks, which are in `harness`. The guests are in
//! `tests/fixtures/hostile`, a file each, but for those whose size is what makes them hostile.

mod bombs;
mod canary;
mod cases;
mod crowd;
mod harness;
mod headers;

use std::collections::BTreeSet;
use std::time::Duration;

use hookweir_host::{FaultKind, Limits, Step, Verdict};
use hookweir_model::PluginRole::{Filter, Transformer};

use crate::guest::{self, CONTENT_TYPE, KEEP, Made, filter, transformer};
use crate::setup::{LIMITS, Setup, compiler, job, step};
use cases::{CASES, ELSEWHERE, Guest};
use harness::{Harness, MEASURED, SLACK, assert_deadline, deadline, processor};

/// One table of one process, so the cases run one after the other; what each came to is printed.
#[tokio::test]
async fn every_case() {
    for compiler in CASES.iter().map(|case| case.compiler).collect::<BTreeSet<_>>() {
        let harness = Harness::new(compiler).await;
        for case in CASES.iter().filter(|case| case.compiler == compiler) {
            println!("{}", harness.run(case).await);
        }
    }
}

#[test]
fn no_case_and_no_fixture_is_left_out() {
    let numbers: BTreeSet<u8> =
        CASES.iter().map(|case| case.number).chain(ELSEWHERE.iter().map(|(number, _)| *number)).collect();
    assert_eq!(numbers, (1..=34).collect());

    let used: BTreeSet<String> = CASES
        .iter()
        .filter_map(|case| match case.guest {
            Guest::File(name) => Some(name),
            Guest::Made(..) => None,
        })
        .chain(ELSEWHERE.iter().filter_map(|(_, name)| *name))
        .map(|name| format!("{name}.wat"))
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(guest::hostile_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, used);
}

#[tokio::test]
async fn a_guests_own_failures_keep_their_kind_and_text() {
    let setup = Setup::new(1).await;
    let text = r#"(data (i32.const 700) "no\0athanks")"#;
    let invalid = filter(text, &guest::fail_with(0, 700, 9));
    let unavailable = transformer(text, &guest::fail_with(1, 700, 9));
    for (role, wasm, kind) in
        [(Filter, invalid, FaultKind::Invalid), (Transformer, unavailable, FaultKind::Unavailable)]
    {
        let fault = setup.fault(role, wasm, LIMITS).await;
        assert_eq!((fault.kind, fault.message.as_str()), (kind, "no\\nthanks"));
    }
}

#[tokio::test]
async fn compiling_ends_by_the_deadline_that_was_given() {
    let setup = Setup::new(1).await;
    let loaded = setup.host.load(bombs::one_function(), Duration::from_secs(1)).await;
    let text = loaded.unwrap_err().to_string();
    let sentence = "it takes too long to compile: more than 1 s of processor time, or 10 s in all; ";
    assert!(text.starts_with(sentence), "{text}");
}

#[tokio::test]
async fn a_lower_limit_is_the_one_that_counts() {
    let setup = Setup::new(1).await;
    let endless = guest::hostile("01-endless-loop");
    let limits = Limits { deadline: Duration::from_millis(3), ..LIMITS };
    let fault = setup.fault(Filter, endless, limits).await;
    assert_eq!(fault.message, "it used more than its 3 ms of processor time");

    let limits = Limits { memory: 3 << 16, ..LIMITS };
    let fault = setup.fault(Filter, filter("", KEEP), limits).await;
    assert_eq!(fault.message, "it wanted 262144 bytes of memory; its limit is 196608");

    let limits = Limits { output: 100, ..LIMITS };
    let made = Made { data: ("(i32.const 0)", "(i32.const 98)"), ..Made::EMPTY };
    let fault = setup.fault(Transformer, transformer(CONTENT_TYPE, &made.body()), limits).await;
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Output, "it handed over more than 100 bytes")
    );
}

#[tokio::test]
async fn a_log_over_its_limit_is_cut() {
    let setup = Setup::new(1).await;
    let ran = setup.run(Filter, guest::hostile("26-short-log-lines"), LIMITS).await;
    assert_eq!(ran.verdict, Verdict::Keep(None), "what goes over the limit is cut, not a failure");
    let lines = &ran.calls[0].log;
    assert!((1_000..=1_024).contains(&lines.len()), "{}", lines.len());
    assert!(lines.ends_with('…') && lines.starts_with("warn: line\nwarn: line\n"), "{lines}");
}

/// Case 12, up to the largest memory that a configuration can allow: the loop's one instruction is longer than the
/// deadline.
#[tokio::test]
async fn one_instruction_is_interrupted() {
    let setup = Setup::alone_with(1, compiler()).await;
    for mebibytes in [16, 64] {
        let limits = Limits { memory: mebibytes << 20, ..LIMITS };
        let fill = format!(
            "(drop (memory.grow (i32.const {})))
             (loop $again
               (memory.fill (i32.const 8192) (i32.const 7) (i32.const {}))
               (br $again))
             (unreachable)",
            16 * mebibytes - 4,
            (mebibytes << 20) - 8192
        );
        let plugin = setup.load(filter("", &fill)).await;
        let step = Step { limits, ..step("guest", Filter, &plugin) };
        let mut times = [Duration::ZERO; MEASURED];
        for time in &mut times {
            let started = processor();
            let ran = setup.host.run(job("evil", b"{}", vec![step.clone()])).await;
            *time = processor().saturating_sub(started);
            assert_deadline(&ran);
        }
        times.sort();
        let used = times[MEASURED / 2];
        assert!(used <= deadline() + SLACK, "{mebibytes} MiB: {used:?} of processor time");
        println!("| 12 | {mebibytes} MiB of memory are filled in a loop | deadline | {used:.1?} |");
    }
    setup.assert_still_serves().await;
}

/// Case 31. Slots of the pool are used again, so what one call leaves there must not be seen by the next.
#[tokio::test]
async fn no_state_outlives_a_call() {
    let setup = Setup::new(2).await;
    let plugin = setup.load(guest::hostile("31-counter")).await;
    for tenant in ["a", "b", "a", "a", "b", "c"].iter().cycle().take(300) {
        let ran = setup.host.run(job(tenant, b"{}", vec![step("count", Filter, &plugin)])).await;
        match ran.verdict {
            Verdict::Drop { reason, .. } => assert_eq!(reason, "11"),
            other => panic!("{other:?}"),
        }
    }
}
