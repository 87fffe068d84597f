//! Maps a compiled plugin into memory. This is the one module of hookweir with an `unsafe` block of its own.

#![expect(unsafe_code, reason = "mapping machine code from a file can't be checked by the compiler")]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps the compiled component in `file`.
///
/// The caller hands over only what [`crate::cache::Cache`] answered: see the audit below.
pub(crate) fn map(engine: &Engine, file: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must hold what wasmtime's own compiler wrote, and must not change while it is mapped.
    // - It was written by the compile child that this gateway started, from its own program, into a folder of mode
    //   0700 that this process's user owns (`cache` checks both); a tenant's bytes never get there but through the
    //   compiler.
    // - Its SHA-256 was compared with the one noted when it was written, so that a damaged disk or a torn write is
    //   found before it is run; and its header names a component.
    // - Nobody writes to a file under its final name: a new one is renamed over it, which leaves the mapping alone.
    // - wasmtime itself refuses a file of another version, other settings or other processor features.
    unsafe { Component::deserialize_file(engine, file) }
}
