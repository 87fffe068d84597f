//! Looks at an uploaded file before anything is spent on it: is it a component, what does it import and export, how
//! much does it want from the start.
//!
//! It reads headers only. It does not validate, which the compile child does under its own limits, and compiles
//! nothing.

use hookweir_model::Digest;
use wasmparser::{ComponentExternalKind, KnownCustom, Parser, Payload, ProducersSectionReader};

use crate::engine::{MEMORY_CEILING, TABLE_CEILING};
use crate::error::LoadError;
use crate::text;

/// What a plugin can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exports {
    pub filter: bool,
    pub transformer: bool,
}

impl Exports {
    /// The world of `hookweir:plugin` that these exports make; `None` where there are none.
    pub const fn world(self) -> Option<&'static str> {
        match (self.filter, self.transformer) {
            (true, false) => Some("filter-plugin"),
            (false, true) => Some("transformer-plugin"),
            (true, true) => Some("plugin"),
            (false, false) => None,
        }
    }
}

/// What can be told of a component without compiling it, whether or not a gateway takes it.
///
/// The names are the component's own, with control characters spelt out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub digest: Digest,
    /// Bytes of the component.
    pub size: usize,
    pub exports: Exports,
    /// Everything that it imports.
    pub imports: Vec<String>,
    /// Everything that it exports.
    pub exported: Vec<String>,
    /// What it says of the languages and tools that it was made with; each once.
    pub producers: Vec<Producer>,
    /// Bytes of the largest memory at its start.
    pub memory: u64,
    /// Elements of the largest table at its start.
    pub table: u64,
}

/// An entry of the `producers` sections of a component and the modules in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    pub name: String,
    /// May be empty.
    pub version: String,
}

/// The language that a plugin was written in, as far as its producers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
    Python,
    C,
}

/// The package that plugins speak, and the part of its version that has to be the same.
const PACKAGE: &str = "hookweir:plugin/";
const VERSION: &str = "0.1.";

/// How many of the exports that were found are named in an error.
const NAMED_EXPORTS: usize = 5;

const PAGE: u64 = 64 << 10;

impl Inspection {
    /// Looks at a component. It fails where there is none.
    pub fn of(wasm: &[u8]) -> Result<Self, LoadError> {
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
        let mut found = Self {
            digest: Digest::of(wasm),
            size: wasm.len(),
            exports: Exports { filter: false, transformer: false },
            imports: Vec::new(),
            exported: Vec::new(),
            producers: Vec::new(),
            memory: 0,
            table: 0,
        };
        found.fill(wasm).map_err(|error| LoadError::Damaged(text::reason(&error.to_string())))?;
        Ok(found)
    }

    /// Says why a gateway does not take it, if so. What it takes may still turn out to be invalid when it is compiled.
    pub fn verdict(&self) -> Result<(), LoadError> {
        let mut refused = self.imports.iter().filter(|name| !is_granted(name));
        if let Some(first) = refused.next() {
            let (name, others) = (first.clone(), refused.count());
            return Err(LoadError::Import { name, others, language: self.language() });
        }
        if self.memory > MEMORY_CEILING as u64 {
            return Err(LoadError::Memory { wanted: self.memory });
        }
        if self.table > TABLE_CEILING as u64 {
            return Err(LoadError::Table { wanted: self.table });
        }
        if self.exports.world().is_none() {
            return Err(LoadError::NoExport {
                found: self.exported.iter().take(NAMED_EXPORTS).cloned().collect(),
            });
        }
        Ok(())
    }

    /// The language that its author wrote. A Python guest carries modules of C and Rust along, so the producers are
    /// looked at from the highest language down.
    pub fn language(&self) -> Option<Language> {
        const SIGNS: [(&str, Language); 10] = [
            ("componentize-py", Language::Python),
            // The step that lets the interpreter start when the component is built.
            ("component-init-transform", Language::Python),
            ("componentize-qjs", Language::JavaScript),
            ("componentizejs", Language::JavaScript),
            ("componentize-js", Language::JavaScript),
            ("javascript", Language::JavaScript),
            ("rust", Language::Rust),
            // All that is left in a stripped plugin.
            ("wit-bindgen-rust", Language::Rust),
            ("clang", Language::C),
            ("c11", Language::C),
        ];
        let has = |sign: &str| self.producers.iter().any(|producer| producer.name.eq_ignore_ascii_case(sign));
        SIGNS.into_iter().find(|(sign, _)| has(sign)).map(|(_, language)| language)
    }

    fn fill(&mut self, wasm: &[u8]) -> wasmparser::Result<()> {
        // Modules and components nest; only the outermost one's imports and exports are the plugin's own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        self.imports.push(text::reason(import?.name.name));
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
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        self.note_producers(producers);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note_export(&mut self, name: &str, kind: ComponentExternalKind) {
        match (own_interface(name), kind) {
            (Some("filter"), ComponentExternalKind::Instance) => self.exports.filter = true,
            (Some("transformer"), ComponentExternalKind::Instance) => self.exports.transformer = true,
            _ => {}
        }
        self.exported.push(text::reason(name));
    }

    /// The section is for people; one that can't be read says nothing and is no fault.
    fn note_producers(&mut self, section: ProducersSectionReader<'_>) {
        for field in section.into_iter().map_while(Result::ok) {
            for value in field.values.into_iter().map_while(Result::ok) {
                let producer = Producer {
                    field: text::reason(field.name),
                    name: text::reason(value.name),
                    version: text::reason(value.version),
                };
                if self.producers.len() < MAX_PRODUCERS && !self.producers.contains(&producer) {
                    self.producers.push(producer);
                }
            }
        }
    }
}

/// How many producers are kept: a known Python guest has a dozen.
const MAX_PRODUCERS: usize = 64;

/// Whether a plugin may import this.
fn is_granted(name: &str) -> bool {
    matches!(own_interface(name), Some("host" | "types"))
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
        let found = Inspection::of(&wat::parse_str(wat).unwrap());
        found.and_then(|found| found.verdict()).unwrap_err().to_string()
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
            let text = Inspection::of(bytes).unwrap_err().to_string();
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
        assert!(wasi.contains("Rust for wasm32-unknown-unknown"), "{wasi}");
        let two = refusal(r#"(component (import "env" (func)) (import "foo" (func)))"#);
        assert!(two.starts_with("it imports `env` and one more interface, which"), "{two}");
        assert!(two.contains("nothing else"), "{two}");
        let newer = refusal(r#"(component (import "hookweir:plugin/host@0.2.0" (instance)))"#);
        assert!(newer.contains("Build the plugin with that version"), "{newer}");
    }

    /// A component whose producers section names these (field, name, version).
    fn produced_by(producers: &[(&str, &str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut section = vec![u8::try_from(producers.len()).unwrap()];
        for (field, name, version) in producers {
            section.extend([text(field), vec![1], text(name), text(version)].concat());
        }
        let content = [text("producers"), section].concat();
        let import = r#"(component (import "wasi:filesystem/types@0.2.3" (instance)))"#;
        let size = u8::try_from(content.len()).unwrap();
        [wat::parse_str(import).unwrap(), vec![0, size], content].concat()
    }

    #[test]
    fn the_language_decides_how_to_build_without_wasi() {
        let entry = |field: &str, name: &str, version: &str| Producer {
            field: field.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let component = produced_by(&[("language", "Rust", ""), ("processed-by", "rustc", "1.95.0")]);
        let found = Inspection::of(&component).unwrap();
        assert_eq!(
            found.producers,
            [entry("language", "Rust", ""), entry("processed-by", "rustc", "1.95.0")]
        );
        for (producers, language, advice) in [
            (&[("language", "Rust", "")][..], Some(Language::Rust), "wasm32-unknown-unknown"),
            (
                &[("language", "C11", ""), ("processed-by", "componentize-py", "0.25.1")],
                Some(Language::Python),
                "--stub-wasi",
            ),
            (&[("language", "JavaScript", "")], Some(Language::JavaScript), "--stub-wasi"),
            (&[("processed-by", "clang", "21")], Some(Language::C), "wasm32-freestanding"),
            (&[("processed-by", "weld", "1")], None, "JavaScript"),
        ] {
            let found = Inspection::of(&produced_by(producers)).unwrap();
            assert_eq!(found.language(), language, "{producers:?}");
            let refused = found.verdict().unwrap_err().to_string();
            assert!(refused.starts_with("it imports `wasi:filesystem/types@0.2.3`, which"), "{refused}");
            assert!(refused.contains(advice), "{refused}");
        }
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
