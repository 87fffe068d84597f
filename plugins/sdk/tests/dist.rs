//! The committed components in `dist`: small, asking for nothing that a gateway does not grant, and free of what the
//! machine that built them was called.

use std::fs;
use std::path::{Path, PathBuf};

use wasmparser::{ComponentExternalKind, Parser, Payload};

const PLUGINS: [(&str, &str); 2] =
    [("keep-above", "hookweir:plugin/filter@0.1.0"), ("to-slack", "hookweir:plugin/transformer@0.1.0")];

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn component(name: &str) -> Vec<u8> {
    let path = plugins().join("dist").join(name).with_extension("wasm");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `plugins/build --dist`", path.display()))
}

/// The names of the instances that the outermost component imports and exports.
fn surface(wasm: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("a component") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(
                    section.into_iter().map(|import| import.expect("an import").name.name.to_owned()),
                );
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.expect("an export");
                    assert_eq!(export.kind, ComponentExternalKind::Instance);
                    exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn components_import_the_gateway_alone() {
    for (name, export) in PLUGINS {
        let (imports, exports) = surface(&component(name));
        assert!(imports.contains(&"hookweir:plugin/host@0.1.0".to_owned()), "{name}: {imports:?}");
        assert!(imports.iter().all(|import| import.starts_with("hookweir:plugin/")), "{name}: {imports:?}");
        assert_eq!(exports, [export], "{name}");
    }
}

#[test]
fn components_are_small() {
    for (name, _) in PLUGINS {
        let size = component(name).len();
        assert!(size < 100_000, "{name} has {size} bytes");
    }
}

#[test]
fn components_hold_no_path_of_a_machine() {
    for (name, _) in PLUGINS {
        let wasm = component(name);
        for path in ["/home/", "/root/", "/Users/", "/tmp/", ".cargo/", "crates.io", "guest-toolchain"] {
            assert!(!wasm.windows(path.len()).any(|bytes| bytes == path.as_bytes()), "{name} holds {path}");
        }
    }
}

#[test]
fn each_plugin_has_its_component() {
    let with_cases = fs::read_dir(plugins()).expect("the plugins").filter_map(|entry| {
        let path = entry.ok()?.path();
        path.join("plugin.toml").is_file().then(|| path.file_name()?.to_str().map(str::to_owned))?
    });
    let mut names: Vec<String> = with_cases.collect();
    names.sort();
    assert_eq!(names, PLUGINS.map(|(name, _)| name));
}
