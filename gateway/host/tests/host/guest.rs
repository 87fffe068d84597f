//! Guests written as WebAssembly text.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A guest of the given world. `items` are the items of its core module; it must define a memory and an allocator.
pub(crate) fn component(world: &str, items: &str) -> Bytes {
    wrap(world, wat::parse_str(format!("(module {IMPORTS} {items})")).expect("the guest's text is valid"))
}

/// Where the hostile guests are.
pub(crate) fn hostile_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile")
}

/// A guest from `tests/fixtures/hostile`. A core module that has the function of a filter or transformer becomes a
/// component of that world; anything else is taken as it is.
pub(crate) fn hostile(name: &str) -> Bytes {
    let text = std::fs::read_to_string(hostile_dir().join(name).with_extension("wat")).unwrap();
    let binary = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let does = |role: &str| {
        Parser::is_core_wasm(&binary) && text.contains(&format!("(export \"hookweir:plugin/{role}"))
    };
    match (does("filter"), does("transformer")) {
        (false, false) => binary.into(),
        (true, false) => wrap("filter-plugin", binary),
        (false, true) => wrap("transformer-plugin", binary),
        (true, true) => wrap("plugin", binary),
    }
}

/// The contract.
pub(crate) fn wit_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

/// Makes a component of a core module that has what the world asks for.
pub(crate) fn wrap(world: &str, module: Vec<u8>) -> Bytes {
    wrap_for(&wit_dir(), world, module)
}

/// The same for a contract in another folder.
pub(crate) fn wrap_for(wit: &Path, world: &str, mut module: Vec<u8>) -> Bytes {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).expect("wit/ can be read");
    let world = resolve.select_world(&[package], Some(world)).expect("wit/ has the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata fits");
    ComponentEncoder::default()
        .module(&module)
        .expect("the module fits its world")
        .encode()
        .expect("a component can be made")
        .into()
}

/// What the host grants. Unused imports cost nothing.
const IMPORTS: &str = r#"
  (import "hookweir:plugin/host@0.1.0" "log" (func $log (param $level i32) (param $text i32) (param $length i32)))
  (import "hookweir:plugin/host@0.1.0" "config" (func $config (param $result i32)))
"#;

/// Four pages of memory, and an allocator that only goes up. What a guest keeps for itself lies below 8192.
pub(crate) const MEMORY: &str = r#"
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
"#;

/// The function of a filter. The body leaves the address of a `result<verdict, failure>`; `$event` is the event's.
pub(crate) fn filter_function(body: &str) -> String {
    format!(r#"(func (export "hookweir:plugin/filter@0.1.0#filter") (param $event i32) (result i32) {body})"#)
}

/// The function of a transformer. The body leaves the address of a `result<outgoing, failure>`.
pub(crate) fn transform_function(body: &str) -> String {
    format!(
        r#"(func (export "hookweir:plugin/transformer@0.1.0#transform") (param $event i32) (result i32) {body})"#
    )
}

/// A filter with the usual memory, further items, and this body.
pub(crate) fn filter(items: &str, body: &str) -> Bytes {
    component("filter-plugin", &format!("{MEMORY} {items} {}", filter_function(body)))
}

/// A transformer with the usual memory, further items, and this body.
pub(crate) fn transformer(items: &str, body: &str) -> Bytes {
    component("transformer-plugin", &format!("{MEMORY} {items} {}", transform_function(body)))
}

/// Keeps the event: zeroed memory is `ok(keep)`.
pub(crate) const KEEP: &str = "(i32.const 1024)";

/// Drops the event, with a text at the given address (an expression) of the given length (an expression) as reason.
pub(crate) fn drop_with(address: &str, length: &str) -> String {
    format!(
        "(i32.store (i32.const 1028) (i32.const 1))
         (i32.store (i32.const 1032) {address})
         (i32.store (i32.const 1036) {length})
         (i32.const 1024)"
    )
}

/// Answers `err(invalid)` or `err(unavailable)`, by the discriminant, with a text of the given length.
pub(crate) fn fail_with(discriminant: u32, address: u32, length: u32) -> String {
    format!(
        "(i32.store (i32.const 1024) (i32.const 1))
         (i32.store (i32.const 1028) (i32.const {discriminant}))
         (i32.store (i32.const 1032) (i32.const {address}))
         (i32.store (i32.const 1036) (i32.const {length}))
         (i32.const 1024)"
    )
}

/// Addresses and lengths (expressions) of what a transformer hands over.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub content_type: (&'a str, &'a str),
    /// Of the list; its length counts headers.
    pub headers: (&'a str, &'a str),
    pub data: (&'a str, &'a str),
}

impl Made<'_> {
    /// `a/b` as content type, which the guest has to hold at 512; no headers and no data.
    pub(crate) const EMPTY: Made<'static> = Made {
        content_type: ("(i32.const 512)", "(i32.const 3)"),
        headers: ("(i32.const 0)", "(i32.const 0)"),
        data: ("(i32.const 0)", "(i32.const 0)"),
    };

    pub(crate) fn body(&self) -> String {
        let stores: String = [self.content_type, self.headers, self.data]
            .into_iter()
            .enumerate()
            .map(|(index, (address, length))| {
                let place = 1028 + 8 * index;
                format!(
                    "(i32.store (i32.const {place}) {address}) (i32.store (i32.const {}) {length})",
                    place + 4
                )
            })
            .collect();
        format!("{stores} (i32.const 1024)")
    }
}

/// The content type that [`Made::EMPTY`] points to.
pub(crate) const CONTENT_TYPE: &str = r#"(data (i32.const 512) "a/b")"#;

/// Data segments for one header: the pair at 256 and its texts from 600. A text is written as in WebAssembly text.
pub(crate) fn header_data(name: &str, value: &str, name_length: usize, value_length: usize) -> String {
    let word = |number: usize| -> String {
        u32::try_from(number).unwrap().to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
    };
    let (name_at, value_at) = (600, 600 + name_length);
    format!(
        r#"(data (i32.const 256) "{}{}{}{}") (data (i32.const 600) "{name}{value}")"#,
        word(name_at),
        word(name_length),
        word(value_at),
        word(value_length)
    )
}

/// Where the event's data lies: expressions of its address and length.
pub(crate) const EVENT_DATA: (&str, &str) =
    ("(i32.load offset=60 (local.get $event))", "(i32.load offset=64 (local.get $event))");

/// Where the event's content type lies.
pub(crate) const EVENT_CONTENT_TYPE: (&str, &str) =
    ("(i32.load offset=44 (local.get $event))", "(i32.load offset=48 (local.get $event))");

/// Drops every event and gives its data as reason: by it, a test sees that the call was made, and on what.
pub(crate) fn echo_filter() -> Bytes {
    wrap("filter-plugin", wat::parse_str(echo_module()).expect("the guest's text is valid"))
}

/// The text of its core module.
pub(crate) fn echo_module() -> String {
    let body = drop_with(EVENT_DATA.0, EVENT_DATA.1);
    format!("(module {IMPORTS} {MEMORY} {})", filter_function(&body))
}

const CORE_MODULE_SECTION: u8 = 1;
const CORE_INSTANCE_SECTION: u8 = 2;
const COMPONENT_SECTION: u8 = 4;

/// A plugin which, when it is instantiated, instantiates a core module as well, as if a linker had put it there.
pub(crate) fn beside(plugin: &[u8], module: &[u8]) -> Bytes {
    let mut component = plugin.to_vec();
    let index = modules(&component);
    push_section(&mut component, CORE_MODULE_SECTION, module);
    // One instance, made from the module of that index, with no arguments.
    push_section(&mut component, CORE_INSTANCE_SECTION, &[1, 0, index, 0]);
    component.into()
}

/// A plugin with a component inside that is compiled and not used.
pub(crate) fn nested(plugin: &[u8], component: &[u8]) -> Bytes {
    let mut outer = plugin.to_vec();
    push_section(&mut outer, COMPONENT_SECTION, component);
    outer.into()
}

/// How many core modules a component has, those of components in it not counted.
fn modules(component: &[u8]) -> u8 {
    let mut depth = 0;
    let mut count = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => {
                count += u8::from(depth == 0);
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    count
}

fn push_section(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    let mut length = content.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        component.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    component.extend_from_slice(content);
}
