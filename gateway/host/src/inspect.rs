//! Looks at an uploaded file before anything is spent on it: is it a component, what does it import and export, how
//! much does it want from the start.
//!
//! It reads headers only. It does not validate, which the compile child does under its own limits, and compiles
//! nothing.

use wasmparser::{ComponentExternalKind, Parser, Payload};

use crate::engine::{MEMORY_CEILING, TABLE_CEILING};
use crate::error::LoadError;
use crate::text;

/// What a plugin can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exports {
    pub filter: bool,
    pub transformer: bool,
}

/// The package that plugins speak, and the part of its version that has to be the same.
const PACKAGE: &str = "hookweir:plugin/";
const VERSION: &str = "0.1.";

/// How many of the exports that were found are named in an error.
const NAMED_EXPORTS: usize = 5;

const PAGE: u64 = 64 << 10;

/// Says what the component can be used as, or why it can't be loaded.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Exports, LoadError> {
    if wasm.is_empty() {
        return Err(LoadError::Empty);
    }
    if !wasm.starts_with(b"\0asm") {
        let is_text = wasm.trim_ascii_start().starts_with(b"(") && std::str::from_utf8(wasm).is_ok();
        return Err(if is_text { LoadError::Text } else { LoadError::NotWasm });
    }
    if Parser::is_core_wasm(wasm) {
        return Err(LoadError::CoreModule { import: first_import(wasm) });
    }
    let surface = Surface::read(wasm)?;
    if let [first, others @ ..] = surface.refused.as_slice() {
        return Err(LoadError::Import { name: text::reason(first), others: others.len() });
    }
    if surface.memory > MEMORY_CEILING as u64 {
        return Err(LoadError::Memory { wanted: surface.memory });
    }
    if surface.table > TABLE_CEILING as u64 {
        return Err(LoadError::Table { wanted: surface.table });
    }
    if !surface.exports.filter && !surface.exports.transformer {
        let found = surface.other_exports.iter().take(NAMED_EXPORTS).map(|name| text::reason(name)).collect();
        return Err(LoadError::NoExport { found });
    }
    Ok(surface.exports)
}

/// What can be seen of a component from outside, and the largest memory and table of the modules in it.
struct Surface<'a> {
    refused: Vec<&'a str>,
    exports: Exports,
    other_exports: Vec<&'a str>,
    /// Bytes.
    memory: u64,
    /// Elements.
    table: u64,
}

impl<'a> Surface<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, LoadError> {
        let mut surface = Self {
            refused: Vec::new(),
            exports: Exports { filter: false, transformer: false },
            other_exports: Vec::new(),
            memory: 0,
            table: 0,
        };
        surface.fill(wasm).map_err(|error| LoadError::Damaged(text::reason(&error.to_string())))?;
        Ok(surface)
    }

    fn fill(&mut self, wasm: &'a [u8]) -> wasmparser::Result<()> {
        // Modules and components nest; only the outermost one's imports and exports are the plugin's own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let name = import?.name.name;
                        if !matches!(own_interface(name), Some("host" | "types")) {
                            self.refused.push(name);
                        }
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export?;
                        self.note_export(export.name.name, export.kind);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.memory = self.memory.max(memory?.initial.saturating_mul(PAGE));
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        self.table = self.table.max(table?.ty.initial);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note_export(&mut self, name: &'a str, kind: ComponentExternalKind) {
        match (own_interface(name), kind) {
            (Some("filter"), ComponentExternalKind::Instance) => self.exports.filter = true,
            (Some("transformer"), ComponentExternalKind::Instance) => self.exports.transformer = true,
            _ => self.other_exports.push(name),
        }
    }
}

/// The interface that `name` is, if it is one of the plugin package in a version that this gateway speaks.
fn own_interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
    let patch = version.strip_prefix(VERSION)?;
    let released = !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
    released.then_some(interface)
}

/// The first import of a core module, as `module.name`.
fn first_import(wasm: &[u8]) -> Option<String> {
    Parser::new(0).parse_all(wasm).find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => {
            let import = imports.into_imports().next()?.ok()?;
            Some(text::reason(&format!("{}.{}", import.module, import.name)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_own_package_are_told_by_version() {
        for (name, interface) in [
            ("hookweir:plugin/host@0.1.0", Some("host")),
            ("hookweir:plugin/filter@0.1.12", Some("filter")),
            ("hookweir:plugin/host@0.2.0", None),
            ("hookweir:plugin/host@0.10.0", None),
            ("hookweir:plugin/host@0.1.0-rc1", None),
            ("hookweir:plugin/host@0.1.", None),
            ("hookweir:plugin/host", None),
            ("hookweir:plugins/host@0.1.0", None),
            ("wasi:cli/environment@0.2.3", None),
        ] {
            assert_eq!(own_interface(name), interface, "{name}");
        }
    }

    fn refusal(wat: &str) -> String {
        inspect(&wat::parse_str(wat).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, start) in [
            (b"".as_slice(), "its file is empty"),
            (b"(component)", "it is WebAssembly text"),
            (b"\n  (module)", "it is WebAssembly text"),
            (b"(\xff", "it is not WebAssembly"),
            (b"\x7fELF", "it is not WebAssembly"),
            (b"const x = 1", "it is not WebAssembly"),
            (b"\0asm", "it is damaged"),
            (b"\0asm\x0d\0\x01\0\x07\xff", "it is damaged"),
        ] {
            let text = inspect(bytes).unwrap_err().to_string();
            assert!(text.starts_with(start), "{text}");
        }
        assert!(refusal("(module)").starts_with("it is a core WebAssembly module, not a component"));
        let wasi = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
        assert!(refusal(wasi).contains("(it imports `wasi_snapshot_preview1.fd_write`)"));
        assert!(refusal(r#"(module (import "env" "foo" (func)))"#).contains("(it imports `env.foo`)"));
    }

    #[test]
    fn imports_that_are_not_granted_are_named() {
        let wasi = refusal(r#"(component (import "wasi:cli/environment@0.2.3" (instance)))"#);
        assert!(wasi.starts_with("it imports `wasi:cli/environment@0.2.3`, which"), "{wasi}");
        assert!(wasi.contains("wasm32-unknown-unknown") && wasi.contains("--stub-wasi"), "{wasi}");
        let two = refusal(r#"(component (import "env" (func)) (import "foo" (func)))"#);
        assert!(two.starts_with("it imports `env` and one more interface, which"), "{two}");
        assert!(two.contains("nothing else"), "{two}");
        let newer = refusal(r#"(component (import "hookweir:plugin/host@0.2.0" (instance)))"#);
        assert!(newer.contains("Build the plugin with that version"), "{newer}");
    }

    #[test]
    fn exports_that_are_no_plugin_are_named() {
        let nothing = refusal("(component)");
        assert!(nothing.contains("it exports nothing at all"), "{nothing}");
        let other = refusal(r#"(component (instance $i) (export "wasi:http/handler@0.2.0" (instance $i)))"#);
        assert!(other.contains("it exports `wasi:http/handler@0.2.0`"), "{other}");
    }

    #[test]
    fn wants_at_the_start_are_looked_for_in_nested_modules() {
        let memory = refusal("(component (core module (memory 1025)))");
        assert!(memory.starts_with("it wants 67174400 bytes of memory at its start"), "{memory}");
        let table = refusal("(component (component (core module (table 20001 funcref))))");
        assert!(table.starts_with("it wants a table of 20001 elements"), "{table}");
    }
}
