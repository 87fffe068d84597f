//! Guests written by hand in WebAssembly text, for what no honest toolchain makes.

use std::path::Path;

use hookweir_tests::repository;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A filter whose call does `body`, which leaves the address of its result. Address 1024 and up is free for it.
pub(super) fn filter(body: &str) -> Vec<u8> {
    component("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", body)
}

/// A transformer whose call does `body`, which leaves the address of its result. Address 1024 and up is free for it.
pub(super) fn transformer(body: &str) -> Vec<u8> {
    component("transformer-plugin", "hookweir:plugin/transformer@0.1.0#transform", body)
}

/// A core module with the shape of a guest. The event is copied from 64 KiB on; it must fit a page.
fn component(world: &str, export: &str, body: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
          (memory (export "memory") 2)
          (global $next (mut i32) (i32.const 65536))
          (data (i32.const 512) "application/json")
          (data (i32.const 544) "host")
          (data (i32.const 552) "elsewhere")
          (data (i32.const 568) "\ff\fe")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.get $next)
            (global.set $next (i32.add (global.get $next) (local.get 3))))
          (func $again (param i32) (result i32) (i32.add (i32.const 1) (call $again (local.get 0))))
          (func (export "{export}") (param $event i32) (result i32) {body}))"#
    );
    let mut module = wat::parse_str(module).expect("the guest's text to be WebAssembly");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit")).expect("the package in wit/");
    let world = resolve.select_world(&[package], Some(world)).expect("the world in wit/");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the world to be embedded");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .expect("the guest to fit its world")
        .encode()
        .expect("the guest to be a component")
}

/// Writes a plugin to `folder` and answers the table that configures it for `tenant`.
pub(super) fn install(folder: &Path, tenant: &str, name: &str, wasm: &[u8]) -> String {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, wasm).expect("the plugin to be written");
    format!("[tenants.{tenant}.plugins.{name}]\nfile = \"{}\"\n", path.display())
}
