//! Where things lie: the binary under test, the repository, the prebuilt plugins; and a port for a program of ours.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
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

/// The folder with the programs that build plugins, in the versions that the READMEs of `examples/` name.
pub fn toolchains() -> [PathBuf; 2] {
    let languages = target().join("languages");
    ["venv/bin", "node/node_modules/.bin"].map(|folder| {
        let path = languages.join(folder);
        assert!(
            path.is_dir(),
            "there are no toolchains at {}: `tests/run languages` installs them",
            path.display()
        );
        path
    })
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
    free_port_in(10_000..30_000)
}

/// The same, as long as the ports in the documentation are, and none that [`free_port`] gives to another test.
pub fn free_port_of_four_digits() -> u16 {
    free_port_in(2_000..10_000)
}

fn free_port_in(range: Range<u16>) -> u16 {
    loop {
        let port = fastrand::u16(range.clone());
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
