//! Guests that nobody wrote: random modules and components, and good ones with bits flipped or their end cut off.
//!
//! Whatever is loaded must end as a plugin or as a named refusal, and whatever is called as a verdict or as a named
//! fault. The host must not panic, nor its compiler. A few hundred run each time; `HOOKWEIR_LONG=1` runs 20,000 random
//! guests and 10,000 damaged files. The number of a guest is its seed, so a failure names all that is needed to see it
//! again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use fastrand::Rng;
use hookweir_host::{COMPILE_DEADLINE, Compiler, FaultKind, Host, HostError, LoadError, Verdict};
use hookweir_model::PluginRole::{Filter, Transformer};
use wasm_smith::{Component, Config, Module};

use crate::guest;
use crate::setup::{self, Place, amount, job, step};

/// Compilations at a time; each host allows one.
const WORKERS: u64 = 2;

/// Guests for each host, which leaves its compiled code behind in its folder.
const GUESTS_PER_HOST: u64 = 100;

/// How many guests ended in which way.
type Tally = BTreeMap<String, u64>;

#[tokio::test]
async fn random_guests() {
    try_all("random guests", amount(300, 20_000), random_guest).await;
}

#[tokio::test]
async fn damaged_components() {
    try_all("damaged components", amount(150, 5_000), damaged_guest).await;
}

/// Loads and calls guests of all numbers below `count`, and prints how they ended.
async fn try_all(name: &str, count: u64, make: fn(u64) -> Bytes) {
    let _place = Place::shared().await;
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            tokio::spawn(async move {
                let mut tally = Tally::new();
                let mut numbers = (worker..count).step_by(usize::try_from(WORKERS).unwrap()).peekable();
                while numbers.peek().is_some() {
                    let dir = tempfile::tempdir().unwrap();
                    let host = setup::host_in(dir.path(), 1, setup::compiler());
                    for number in numbers.by_ref().take(usize::try_from(GUESTS_PER_HOST).unwrap()) {
                        let end = load_and_call(&host, number, make(number)).await;
                        *tally.entry(end).or_default() += 1;
                    }
                    host.close();
                }
                tally
            })
        })
        .collect();
    let mut tally = Tally::new();
    for worker in workers {
        for (end, times) in worker.await.unwrap() {
            *tally.entry(end).or_default() += times;
        }
    }
    println!("{name}, {count} in all: {tally:#?}");
    assert_eq!(tally.values().sum::<u64>(), count);
}

/// Puts one guest through all that an upload and an event do, and says how it ended.
async fn load_and_call(host: &Host, number: u64, wasm: Bytes) -> String {
    let plugin = match host.load(wasm, COMPILE_DEADLINE).await {
        Ok(plugin) => plugin,
        Err(error) => return format!("refused: {}", refusal(number, &error)),
    };
    let exports = plugin.exports();
    let roles = [(exports.filter, Filter), (exports.transformer, Transformer)];
    let steps = roles.into_iter().filter(|(has, _)| *has).map(|(_, role)| step("random", role, &plugin));
    match host.run(job("random", br#"{"n":1}"#, steps.collect())).await.verdict {
        Verdict::Keep(_) => "ran: kept".to_owned(),
        Verdict::Drop { .. } => "ran: dropped".to_owned(),
        Verdict::Fault(fault) => {
            assert_ne!(fault.kind, FaultKind::Host, "guest {number}: {}", fault.message);
            format!("ran: {}", fault.kind.as_str())
        }
    }
}

/// The name of a refusal. A gateway that failed, and a compiler that failed, are no such thing.
fn refusal(number: u64, error: &LoadError) -> &'static str {
    match error {
        LoadError::Empty => "empty",
        LoadError::TooLarge { .. } => "too large",
        LoadError::Text => "text",
        LoadError::NotWasm => "not WebAssembly",
        LoadError::CoreModule { .. } => "core module",
        LoadError::Damaged(_) => "damaged",
        LoadError::Import { .. } => "import",
        LoadError::NoExport { .. } => "no export",
        LoadError::Memory { .. } => "memory at the start",
        LoadError::Table { .. } => "table at the start",
        LoadError::Invalid(_) => "not valid",
        LoadError::CompileTime { .. } => "time to compile",
        LoadError::CompileMemory => "memory to compile",
        LoadError::CompileSize => "size when compiled",
        LoadError::Contract(_) => "another interface",
        LoadError::Bounds(_) => "bounds",
        LoadError::NoCompiler
        | LoadError::CompilerKilled
        | LoadError::CompilerFailed(_)
        | LoadError::Host(_) => {
            panic!("guest {number}: {error}")
        }
    }
}

/// Half are random implementations of the plugin world, so that what they hand over is random too. The rest are good
/// plugins with a random module beside them, which starts with each instance, and random components, bare and nested.
fn random_guest(number: u64) -> Bytes {
    match number % 4 {
        0 | 1 => implementation(number),
        2 => guest::beside(&guest::echo_filter(), &generate(number, any_module)),
        _ => {
            let component = generate(number, |bytes| Ok(Component::arbitrary(bytes)?.to_bytes()));
            if number % 8 == 3 { component.into() } else { guest::nested(&guest::echo_filter(), &component) }
        }
    }
}

/// Runs a generator on random bytes, until it makes something of them.
fn generate<T>(number: u64, make: impl Fn(&mut Unstructured<'_>) -> arbitrary::Result<T>) -> T {
    let mut random = Rng::with_seed(number);
    loop {
        let mut bytes = vec![0; 1 << random.u32(9..15)];
        random.fill(&mut bytes);
        if let Ok(made) = make(&mut Unstructured::new(&bytes)) {
            return made;
        }
    }
}

/// What a plugin of both roles exports and may import, for the generator.
const SHAPE: &str = r#"(module
  (import "hookweir:plugin/host@0.1.0" "log" (func (param i32 i32 i32)))
  (import "hookweir:plugin/host@0.1.0" "config" (func (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
  (func (export "hookweir:plugin/filter@0.1.0#filter") (param i32) (result i32) (unreachable))
  (func (export "hookweir:plugin/transformer@0.1.0#transform") (param i32) (result i32) (unreachable))
  (func (export "cabi_post_hookweir:plugin/filter@0.1.0#filter") (param i32) (unreachable))
  (func (export "cabi_post_hookweir:plugin/transformer@0.1.0#transform") (param i32) (unreachable)))"#;

/// A random module with the exports of a plugin.
fn implementation(number: u64) -> Bytes {
    let shape = wat::parse_str(SHAPE).unwrap();
    let module = generate(number, |bytes| {
        let config = Config {
            available_imports: Some(shape.clone()),
            exports: Some(shape.clone()),
            // None beside the one that is exported.
            max_memories: 0,
            ..runnable()
        };
        Ok(Module::new(config, bytes)?.to_bytes())
    });
    guest::wrap("plugin", module)
}

/// A module without imports: of the engine's features in most cases, of any in some.
fn any_module(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let config = if bytes.ratio(1_u8, 4)? { Config::arbitrary(bytes)? } else { runnable() };
    Ok(Module::new(Config { max_imports: 0, ..config }, bytes)?.to_bytes())
}

/// The features that the engine allows, and sizes about its limits.
fn runnable() -> Config {
    Config {
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        max_memory32_bytes: 32 << 20,
        max_table_elements: 30_000,
        max_tables: 4,
        ..Config::default()
    }
}

/// A shipped plugin or a small one, damaged.
fn damaged_guest(number: u64) -> Bytes {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    let whole = match number % 8 {
        0 => fs::read(dist.join("keep-above.wasm")).unwrap(),
        1 => fs::read(dist.join("to-slack.wasm")).unwrap(),
        _ => guest::echo_filter().to_vec(),
    };
    damage(number, whole).into()
}

/// Cuts bytes off the end, or flips up to eight bits, none of them twice.
fn damage(number: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut random = Rng::with_seed(number);
    if random.bool() {
        bytes.truncate(random.usize(..bytes.len()));
        return bytes;
    }
    let all: Range<usize> = 0..bytes.len() * 8;
    for bit in random.choose_multiple(all, random.clone().usize(1..9)) {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes
}

/// A compiled plugin is machine code: one that is damaged must not be run. The host here has no compiler, so all that
/// it can do is to say that the plugin is not there, or run it.
#[tokio::test]
async fn damaged_compiled_plugins() {
    let _place = Place::shared().await;
    let dir = tempfile::tempdir().unwrap();
    let wasm = guest::echo_filter();
    let able = setup::host_in(dir.path(), 1, setup::compiler());
    able.load(wasm.clone(), COMPILE_DEADLINE).await.unwrap();
    able.close();
    let code = compiled(dir.path());
    let whole = fs::read(&code).unwrap();

    let none = Compiler { program: "/nonexistent/compiler".into(), args: Vec::new() };
    let host = setup::host_in(dir.path(), 1, none);
    let count = amount(300, 5_000);
    for number in 0..count {
        fs::write(&code, damage(number, whole.clone())).unwrap();
        let error =
            host.load(wasm.clone(), COMPILE_DEADLINE).await.map(|plugin| plugin.digest()).unwrap_err();
        assert!(matches!(error, LoadError::Host(HostError::Compiler(_))), "file {number}: {error}");
    }
    fs::write(&code, &whole).unwrap();
    assert_eq!(
        host.load(wasm.clone(), COMPILE_DEADLINE).await.unwrap().digest(),
        hookweir_model::Digest::of(&wasm)
    );
    println!("damaged compiled plugins, {count} in all: each was found by its sum");
    host.close();
}

/// The one file of compiled code in a host's folder.
fn compiled(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let mut code = files.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
    code.next().unwrap()
}
