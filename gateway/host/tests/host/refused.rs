//! Uploads that can't be loaded. Each is refused in a sentence that says what is wrong and what to do.

use std::path::Path;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, Compiler, LoadError};

use crate::guest::{self, KEEP, MEMORY, filter, filter_function};
use crate::setup::{self, Place, Setup};

fn wat(text: &str) -> Bytes {
    wat::parse_str(text).unwrap().into()
}

#[tokio::test]
async fn what_is_refused_before_it_is_compiled() {
    let _place = Place::shared().await;
    // A compiler that can't even be started: nothing below may get that far.
    let dir = tempfile::tempdir().unwrap();
    let none = Compiler { program: dir.path().join("no-compiler"), args: Vec::new() };
    let host = setup::host_in(dir.path(), 1, none);
    let table = [
        (Bytes::new(), "its file is empty"),
        (
            Bytes::from_static(b"(component)"),
            "it is WebAssembly text; compile it to a binary component first",
        ),
        (
            Bytes::from_static(b"\x7fELF"),
            "it is not WebAssembly: its file does not start with the bytes `\\0asm`",
        ),
        (wat("(module)"), "it is a core WebAssembly module, not a component; link it with wasm-component-ld"),
        (
            wat(r#"(module (import "wasi_snapshot_preview1" "sock_open" (func)))"#),
            "it is a core WebAssembly module (it imports `wasi_snapshot_preview1.sock_open`), not a component",
        ),
        (
            wat(r#"(module (import "env" "foo" (func)))"#),
            "it is a core WebAssembly module (it imports `env.foo`), not a component",
        ),
        (
            wat(r#"(component (import "wasi:clocks/monotonic-clock@0.2.6" (instance)))"#),
            "it imports `wasi:clocks/monotonic-clock@0.2.6`, which this gateway does not grant; a plugin gets no WASI",
        ),
        (
            wat(r#"(component (import "foo" (func)))"#),
            "it imports `foo`, which this gateway does not grant; a plugin may import hookweir:plugin/host",
        ),
        (wat("(component)"), "it exports neither `hookweir:plugin/filter@0.1.0` nor"),
        (
            guest::component(
                "filter-plugin",
                &format!(
                    "{} {}",
                    MEMORY.replace("\"memory\") 4)", "\"memory\") 4096)"),
                    filter_function(KEEP)
                ),
            ),
            "it wants 268435456 bytes of memory at its start; the most that any plugin may have is 67108864",
        ),
        (Bytes::from(vec![0; 25 << 20]), "its file has 26214400 bytes; at most 25165824 are taken"),
    ];
    for (wasm, sentence) in table {
        let text = host.load(wasm, COMPILE_DEADLINE).await.unwrap_err().to_string();
        assert!(text.starts_with(sentence), "{text}");
    }
    let error = host.load(filter("", KEEP), COMPILE_DEADLINE).await.unwrap_err();
    assert!(matches!(error, LoadError::Host(_)), "{error}");
    host.close();
}

#[tokio::test]
async fn what_the_compiler_and_the_linker_refuse() {
    let setup = Setup::new(1).await;
    let good = filter("", KEEP);
    let table = [
        // Whole by its headers, but cut or wrong inside.
        (flip_code(&good), "it is not a valid component: "),
        (
            wat(r#"(component
                     (type $i (instance (export "log" (func (param "n" u32)))))
                     (import "hookweir:plugin/host@0.1.0" (instance (type $i)))
                     (instance $none)
                     (export "hookweir:plugin/filter@0.1.0" (instance $none)))"#),
            "it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): ",
        ),
        (
            wat(r#"(component
                     (instance $none)
                     (export "hookweir:plugin/filter@0.1.0" (instance $none)))"#),
            "it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): it exports no function `filter`",
        ),
        (
            wat(r#"(component
                     (core module $m (func (export "f") (result i32) (i32.const 1)))
                     (core instance $i (instantiate $m))
                     (func $f (result u32) (canon lift (core func $i "f")))
                     (instance $filter (export "filter" (func $f)))
                     (export "hookweir:plugin/filter@0.1.0" (instance $filter)))"#),
            "it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): its `filter` differs from",
        ),
        (
            wat(&format!(
                r#"(component
                     (core module $m)
                     {}
                     (instance $none)
                     (export "hookweir:plugin/filter@0.1.0" (instance $none)))"#,
                "(core instance (instantiate $m))".repeat(61)
            )),
            "it wants more than a plugin may have: ",
        ),
        // Compiled without complaint: it lacks the filter's function, and no more.
        (
            linked(),
            "it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): it exports no function",
        ),
    ];
    for (wasm, sentence) in table {
        let text = setup.host.load(wasm, COMPILE_DEADLINE).await.unwrap_err().to_string();
        assert!(text.starts_with(sentence), "{text}");
        setup.assert_still_serves().await;
    }
}

/// Two components with a memory each, linked, as JavaScript guests are. The engine's own glue between them, which
/// copies the text, is a module with both memories: a setting that forbids such modules once made the compiler panic.
fn linked() -> Bytes {
    wat(r#"(component
             (component $callee
               (core module $m
                 (memory (export "memory") 1)
                 (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
                 (func (export "f") (param i32 i32)))
               (core instance $i (instantiate $m))
               (func (export "f") (param "text" string)
                 (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
             (component $caller
               (import "f" (func $f (param "text" string)))
               (core module $libc (memory (export "memory") 1))
               (core instance $libc (instantiate $libc))
               (core func $lowered (canon lower (func $f) (memory (core memory $libc "memory"))))
               (core module $m (import "" "f" (func (param i32 i32))))
               (core instance (instantiate $m (with "" (instance (export "f" (func $lowered)))))))
             (instance $a (instantiate $callee))
             (instance (instantiate $caller (with "f" (func $a "f"))))
             (instance $none)
             (export "hookweir:plugin/filter@0.1.0" (instance $none)))"#)
}

/// Damages the body of the filter's function: `i32.const 1024` becomes an instruction that does not exist.
fn flip_code(component: &Bytes) -> Bytes {
    let keep = [0x41, 0x80, 0x08, 0x0b];
    let at = component.windows(keep.len()).position(|bytes| bytes == keep).expect("the body is there");
    let mut damaged = component.to_vec();
    damaged[at] = 0xff;
    damaged.into()
}

/// The runtime's clock is paused, so that it jumps to the deadline as soon as everything waits for the child.
#[tokio::test(start_paused = true)]
async fn a_compiler_that_hangs_is_killed() {
    let _place = Place::shared().await;
    let dir = tempfile::tempdir().unwrap();
    let hanging = Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), "exec sleep 1000".into()] };
    let host = setup::host_in(dir.path(), 1, hanging);
    let error = host.load(filter("", KEEP), COMPILE_DEADLINE).await.unwrap_err();
    assert!(matches!(error, LoadError::CompileTime { .. }), "{error}");
    assert_eq!(drafts(dir.path()), Vec::<String>::new());
    host.close();
}

#[tokio::test]
async fn a_compiler_that_fails_is_not_the_plugins_fault() {
    let _place = Place::shared().await;
    let dir = tempfile::tempdir().unwrap();
    for (script, sentence) in [
        ("exit 3", "the compiler failed on it (exit status: 3)"),
        ("kill -SEGV $$", "the compiler failed on it (signal: 11 (SIGSEGV)"),
        ("echo 'no such thing' >&2; exit 1", "the compiler failed on it (exit status: 1)"),
        ("echo not-code", "the gateway could not load it: "),
    ] {
        let broken = Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        let host = setup::host_in(dir.path(), 1, broken);
        let text = host.load(filter("", KEEP), COMPILE_DEADLINE).await.unwrap_err().to_string();
        assert!(text.starts_with(sentence), "{text}");
        host.close();
    }
}

/// Unfinished files that are left in the cache.
fn drafts(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".draft"))
        .collect()
}
