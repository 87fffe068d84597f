//! Guests written by hand in WebAssembly text, for what no honest toolchain makes.

use std::path::Path;

use hookweir_tests::repository;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A filter whose call does `body`, which leaves the address of its result. Address 1024 and up is free for it.
pub(crate) fn filter(body: &str) -> Vec<u8> {
    component("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", body)
}

/// A transformer whose call does `body`, which leaves the address of its result. Address 1024 and up is free for it.
pub(crate) fn transformer(body: &str) -> Vec<u8> {
    component("transformer-plugin", "hookweir:plugin/transformer@0.1.0#transform", body)
}

/// A filter that drops every event, with `text` as its reason.
pub(crate) fn dropping(text: &str) -> Vec<u8> {
    let tell = "(i32.store8 (i32.const 1028) (i32.const 1))";
    telling("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", tell, text)
}

/// A transformer that can make nothing of any event and says `text`, to its log too.
pub(crate) fn refusing(text: &str) -> Vec<u8> {
    let tell = "(call $log (i32.const 2) (i32.const 4096) (global.get $length)) (i32.store8 (i32.const 1024) (i32.const 1))";
    telling("transformer-plugin", "hookweir:plugin/transformer@0.1.0#transform", tell, text)
}

fn telling(world: &str, export: &str, tell: &str, text: &str) -> Vec<u8> {
    let data: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let module = format!(
        r#"(module
          (import "hookweir:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
          (memory (export "memory") 2)
          (global $next (mut i32) (i32.const 65536))
          (global $length i32 (i32.const {length}))
          (data (i32.const 4096) "{data}")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.get $next)
            (global.set $next (i32.add (global.get $next) (local.get 3))))
          (func (export "{export}") (param i32) (result i32)
            {tell}
            (i32.store (i32.const 1032) (i32.const 4096)) (i32.store (i32.const 1036) (global.get $length))
            (i32.const 1024)))"#,
        length = text.len(),
    );
    encode(world, &module)
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
    encode(world, &module)
}

fn encode(world: &str, module: &str) -> Vec<u8> {
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
pub(crate) fn install(folder: &Path, tenant: &str, name: &str, wasm: &[u8]) -> String {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, wasm).expect("the plugin to be written");
    format!("[tenants.{tenant}.plugins.{name}]\nfile = \"{}\"\n", path.display())
}
