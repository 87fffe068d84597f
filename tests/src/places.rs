//! Where things lie: the binary under test, the repository, the prebuilt plugins; and a port for a program of ours.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The folder for everything that tests make and keep between runs.
pub fn target() -> PathBuf {
    repository().join("target")
}

/// The binary `hookweir`: `HOOKWEIR_BIN`, or the release build of this repository.
pub fn binary() -> PathBuf {
    let path =
        env::var_os("HOOKWEIR_BIN").map_or_else(|| target().join("release").join("hookweir"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no gateway at {}: run `cargo build --release` first, or set HOOKWEIR_BIN to the binary",
        path.display()
    );
    path
}

/// The plugin `order-digest` in a language, built from source as its README says.
pub fn languages(language: &str) -> PathBuf {
    let path = target().join("plugins").join(format!("{language}.wasm"));
    assert!(path.is_file(), "there is no plugin at {}: `tests/run languages` builds it", path.display());
    path
}

/// A shipped plugin by name: from `HOOKWEIR_PLUGINS`, or the prebuilt one of this repository.
pub fn plugin(name: &str) -> PathBuf {
    let folder = env::var_os("HOOKWEIR_PLUGINS")
        .map_or_else(|| repository().join("plugins").join("dist"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "there is no plugin at {}: run `plugins/build --dist`", path.display());
    path
}

/// A port of loopback that nobody has. It lies below those that the system hands out, so that no connection of another test
/// takes it before the program does that it is for.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..30_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
