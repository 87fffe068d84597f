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

/// A filter and transformer in one, whose calls do these two bodies.
pub(crate) fn plugin(filter: &str, transform: &str) -> Vec<u8> {
    let function = format!(
        "(func (export \"hookweir:plugin/filter@0.1.0#filter\") (param $event i32) (result i32) {filter})"
    );
    component_with("plugin", "hookweir:plugin/transformer@0.1.0#transform", &function, transform)
}

/// A filter that keeps every event and says a text to its log. The guests that say something say of an event whose id begins
/// with a number the text at that place, and begin again after the last; of any other event the first.
pub(crate) fn keeping(texts: &[impl AsRef<str>]) -> Vec<u8> {
    telling("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", LOG, texts)
}

/// A filter that drops every event, with a text as its reason.
pub(crate) fn dropping(texts: &[impl AsRef<str>]) -> Vec<u8> {
    let drop = "(i32.store8 (i32.const 1028) (i32.const 1))";
    telling("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", drop, texts)
}

/// A transformer that can make nothing of any event and says a text, to its log too.
pub(crate) fn refusing(texts: &[impl AsRef<str>]) -> Vec<u8> {
    let refuse = format!("{LOG} (i32.store8 (i32.const 1024) (i32.const 1))");
    telling("transformer-plugin", "hookweir:plugin/transformer@0.1.0#transform", &refuse, texts)
}

/// Warns of the text.
const LOG: &str = "(call $log (i32.const 2) (local.get $text) (local.get $length))";

/// A guest with a table of texts, an address and a length each, and the texts after it.
fn telling(world: &str, export: &str, tell: &str, texts: &[impl AsRef<str>]) -> Vec<u8> {
    let (mut table, mut all) = (String::new(), String::new());
    for text in texts.iter().map(AsRef::as_ref) {
        let address = 4096 + 8 * texts.len() + all.len();
        for number in [address, text.len()] {
            table.extend((0..4).map(|byte| format!("\\{:02x}", number >> (8 * byte) & 0xff)));
        }
        all.push_str(text);
    }
    assert!(
        4096 + 8 * texts.len() + all.len() <= 131_072,
        "the texts have no room below what is copied from outside"
    );
    let all: String = all.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let module = format!(
        r#"(module
          (import "hookweir:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
          (memory (export "memory") 4)
          (global $next (mut i32) (i32.const 131072))
          (data (i32.const 4096) "{table}{all}")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.get $next)
            (global.set $next (i32.add (global.get $next) (local.get 3))))
          ;; Where the table tells of the text for the event, whose first member is its id.
          (func $entry (param $event i32) (result i32)
            (local $at i32) (local $end i32) (local $number i32) (local $digit i32)
            (local.set $at (i32.load (local.get $event)))
            (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $event))))
            (block $read (loop $more
              (br_if $read (i32.eq (local.get $at) (local.get $end)))
              (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
              (br_if $read (i32.gt_u (local.get $digit) (i32.const 9)))
              (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10)) (local.get $digit)))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $more)))
            (i32.add (i32.const 4096) (i32.mul (i32.const 8) (i32.rem_u (local.get $number) (i32.const {count})))))
          (func (export "{export}") (param $event i32) (result i32)
            (local $text i32) (local $length i32)
            (local.set $text (call $entry (local.get $event)))
            (local.set $length (i32.load offset=4 (local.get $text)))
            (local.set $text (i32.load (local.get $text)))
            {tell}
            (i32.store (i32.const 1032) (local.get $text)) (i32.store (i32.const 1036) (local.get $length))
            (i32.const 1024)))"#,
        count = texts.len(),
    );
    encode(world, &module)
}

/// A filter that keeps every event and holds the compiler for minutes: in one of its functions every value depends on many
/// others and lives long.
pub(crate) fn slow_to_compile() -> Vec<u8> {
    const LOCALS: usize = 4_000;
    const STATEMENTS: usize = 60_000;
    let mut function = format!("(func (param i32) (local {}) ", "i32 ".repeat(LOCALS));
    for number in 0..STATEMENTS {
        let [to, one, other] = [number, number * 7_919, number * 104_729].map(|number| number % LOCALS + 1);
        function += &format!(
            "(block (br_if 0 (local.get {one})) (local.set {to} (i32.add (local.get {one}) (local.get {other}))))"
        );
    }
    function.push(')');
    component_with("filter-plugin", "hookweir:plugin/filter@0.1.0#filter", &function, "(i32.const 1024)")
}

/// A core module with the shape of a guest. The event is copied from 64 KiB on; it must fit a page.
fn component(world: &str, export: &str, body: &str) -> Vec<u8> {
    component_with(world, export, "", body)
}

/// The same with functions of its own.
fn component_with(world: &str, export: &str, functions: &str, body: &str) -> Vec<u8> {
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
          {functions}
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
