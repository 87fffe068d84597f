//! Compiled plugins on disk: kept, found again, and never trusted when they are damaged.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookweir_host::{COMPILE_DEADLINE, Compiler, HostError, LoadError};
use hookweir_model::Digest;
use hookweir_model::PluginRole::Filter;

use crate::guest::{self, KEEP, filter};
use crate::setup::{self, Setup, job, step};

fn code_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .collect();
    files.sort();
    files
}

/// A compiler that can't be run: what is loaded with it comes from the cache.
fn no_compiler() -> Compiler {
    Compiler { program: "/nonexistent/compiler".into(), args: Vec::new() }
}

#[tokio::test]
async fn a_plugin_is_compiled_once_and_shared() {
    let setup = Setup::new(1).await;
    let wasm = guest::echo_filter();
    let first = setup.load(wasm.clone()).await;
    assert_eq!((first.digest(), first.size()), (Digest::of(&wasm), wasm.len()));
    let second = setup.load(wasm.clone()).await;
    assert!(Arc::ptr_eq(&first, &second));

    let restarted = setup::host_in(setup.cache_dir(), 1, no_compiler());
    let third = restarted.load(wasm, COMPILE_DEADLINE).await.unwrap();
    restarted.run(job("a", b"{}", vec![step("echo", Filter, &third)])).await;
    restarted.close();
}

#[tokio::test]
async fn many_loads_at_once_of_the_same_and_of_others() {
    let setup = Setup::new(1).await;
    let loads: Vec<_> = (0..12)
        .map(|number| {
            let host = setup.host.clone();
            let wasm = filter(&format!("(func (drop (i32.const {})))", number % 3), KEEP);
            tokio::spawn(async move { host.load(wasm, COMPILE_DEADLINE).await.unwrap().digest() })
        })
        .collect();
    let mut digests = Vec::new();
    for load in loads {
        digests.push(load.await.unwrap());
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 3);
    assert_eq!(code_files(setup.cache_dir()).len(), 3);
}

#[tokio::test]
async fn only_the_gateway_can_read_and_write_there() {
    let setup = Setup::new(1).await;
    setup.load(filter("", KEEP)).await;
    let dir = setup.cache_dir().join("cache");
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    setup::host_in(setup.cache_dir(), 1, no_compiler()).close();
    assert_eq!(
        fs::metadata(&dir).unwrap().mode() & 0o777,
        0o700,
        "a folder that is open to others is closed"
    );
}

/// Does something to the file of compiled code, given what it held.
type Damage = fn(&Path, &[u8]);

#[tokio::test]
async fn damaged_files_are_compiled_again() {
    let setup = Setup::new(1).await;
    let wasm = filter("", KEEP);
    drop(setup.load(wasm.clone()).await);
    let [code] = code_files(setup.cache_dir()).try_into().unwrap();
    let whole = fs::read(&code).unwrap();
    let damage: [(&str, Damage); 6] = [
        ("cut", |code, whole| fs::write(code, &whole[..whole.len() / 2]).unwrap()),
        ("empty", |code, _| fs::write(code, b"").unwrap()),
        ("garbage", |code, _| fs::write(code, b"not code").unwrap()),
        ("one bit", |code, whole| {
            let mut flipped = whole.to_vec();
            flipped[whole.len() / 2] ^= 1;
            fs::write(code, flipped).unwrap();
        }),
        ("no sum", |code, _| fs::remove_file(code.with_extension("sha256")).unwrap()),
        ("no code", |code, _| fs::remove_file(code).unwrap()),
    ];
    for (name, damage) in damage {
        damage(&code, &whole);
        // A host that can't compile says so rather than run what it finds.
        let crippled = setup::host_in(setup.cache_dir(), 1, no_compiler());
        let error = crippled.load(wasm.clone(), COMPILE_DEADLINE).await.unwrap_err();
        assert!(matches!(error, LoadError::Host(HostError::Compiler(_))), "{name}: {error}");
        crippled.close();
        let host = setup::host_in(setup.cache_dir(), 1, setup::compiler());
        let plugin = host.load(wasm.clone(), COMPILE_DEADLINE).await.unwrap();
        let ran = host.run(job("a", b"{}", vec![step("keep", Filter, &plugin)])).await;
        assert_eq!(ran.verdict, hookweir_host::Verdict::Keep(None), "{name}");
        host.close();
        assert_eq!(fs::read(&code).unwrap(), whole, "{name}");
    }
}

#[tokio::test]
async fn code_of_another_name_is_not_run() {
    let setup = Setup::new(1).await;
    drop(setup.load(filter("", KEEP)).await);
    drop(setup.load(guest::echo_filter()).await);
    let [one, other] = code_files(setup.cache_dir()).try_into().unwrap();
    // As if the file of one plugin had been put in the place of the other, without its sum.
    fs::copy(&one, &other).unwrap();
    let crippled = setup::host_in(setup.cache_dir(), 1, no_compiler());
    let loads = [
        crippled.load(filter("", KEEP), COMPILE_DEADLINE).await.is_ok(),
        crippled.load(guest::echo_filter(), COMPILE_DEADLINE).await.is_ok(),
    ];
    assert_eq!(loads.iter().filter(|loaded| **loaded).count(), 1);
    crippled.close();
}
