//! How the binary is linked, where that is known to work.
//!
//! Functions that come out the same, as many instances of generic ones do, are kept once. Addresses that depend on where
//! the program lies in memory are noted in the packed form, which is a fiftieth of the other: it is read at each start,
//! and so stays in memory. Both together make the binary 4 MB smaller.

use std::env;
use std::process::Command;

/// The first C library that starts a program with packed relocations. One that is built here and copied to a machine
/// with an older one would be refused there, and so it would be with the C library's own symbols.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let target = of("TARGET");
    // On this target the compiler brings its own linker, unless the user has chosen another.
    let is_lld = target == "x86_64-unknown-linux-gnu" && !of("CARGO_ENCODED_RUSTFLAGS").contains("link");
    if !is_lld {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    if of("HOST") == target && c_library().is_some_and(|version| version >= PACKED_SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library, from `glibc 2.36`.
fn c_library() -> Option<(u32, u32)> {
    let answered = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(answered.stdout).ok()?;
    let (major, minor) = text.trim().rsplit(' ').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
