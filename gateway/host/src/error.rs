//! Why a plugin can't be loaded, in sentences for the tenant whose plugin it is, and why the host can't start.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::compile;
use crate::engine::{MEMORY_CEILING, TABLE_CEILING};
use crate::inspect::Language;

/// A plugin can't be loaded. Each text is a sentence about the plugin, to stand after its name.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("its file is empty")]
    Empty,
    #[error("its file has {size} bytes; at most {limit} are taken")]
    TooLarge { size: usize, limit: usize },
    #[error(
        "it is WebAssembly text; compile it to a binary component first, with `wasm-tools parse` and \
         `wasm-tools component new`"
    )]
    Text,
    #[error("it is not WebAssembly: its file does not start with the bytes `\\0asm`")]
    NotWasm,
    #[error(
        "it is a core WebAssembly module{}, not a component; link it with wasm-component-ld, or wrap it with \
         `wasm-tools component new`",
        .import.as_ref().map(|name| format!(" (it imports `{name}`)")).unwrap_or_default()
    )]
    CoreModule { import: Option<String> },
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error(
        "it imports `{name}`{}, which this gateway does not grant; {}",
        more(*.others),
        import_help(.name, *.language)
    )]
    Import {
        name: String,
        /// How many more imports are not granted.
        others: usize,
        /// What it was written in, where that is known.
        language: Option<Language>,
    },
    #[error(
        "it exports neither `hookweir:plugin/filter@0.1.0` nor `hookweir:plugin/transformer@0.1.0`{}",
        instead(.found)
    )]
    NoExport { found: Vec<String> },
    #[error(
        "it wants {wanted} bytes of memory at its start; the most that any plugin may have is {MEMORY_CEILING}"
    )]
    Memory { wanted: u64 },
    #[error("it wants a table of {wanted} elements; the most that any plugin may have is {TABLE_CEILING}")]
    Table { wanted: u64 },
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    #[error(
        "it takes too long to compile: more than {} s of processor time, or {} s in all; make it \
         smaller, or have `compile_deadline` in `[plugins]` of the gateway raised",
        deadline.as_secs_f64(),
        deadline.saturating_mul(compile::PATIENCE).as_secs_f64()
    )]
    CompileTime { deadline: Duration },
    #[error("compiling it takes more than {} bytes of memory", compile::MEMORY)]
    CompileMemory,
    #[error("it compiles to more than {} bytes", compile::OUTPUT)]
    CompileSize,
    #[error(
        "it is not compiled for this gateway, which was built without the compiler: compile it on a machine with the \
         same processor and the same version of the whole hookweir, with `hookweir plugin compile FILE --data DIR`, \
         and copy DIR/plugins into this gateway's data directory"
    )]
    NoCompiler,
    #[error(
        "the compiler was killed, most likely since the machine is out of memory: give it more, or compile the component on a \
         larger one, with `hookweir plugin compile FILE --data DIR`, and copy DIR/plugins into this gateway's data directory"
    )]
    CompilerKilled,
    #[error("the compiler failed on it ({0})")]
    CompilerFailed(String),
    #[error("it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): {0}")]
    Contract(String),
    #[error("it wants more than a plugin may have: {0}")]
    Bounds(String),
    /// Nothing that the tenant can mend.
    #[error("the gateway could not load it: {0}")]
    Host(#[from] HostError),
}

impl LoadError {
    /// Whether the component may be a good one, and could not be compiled here and now.
    pub const fn is_of_compiling(&self) -> bool {
        matches!(
            self,
            Self::CompileTime { .. }
                | Self::CompileMemory
                | Self::CompileSize
                | Self::NoCompiler
                | Self::CompilerKilled
                | Self::CompilerFailed(_)
                | Self::Host(_)
        )
    }
}

/// The host can't do its own work.
#[derive(Debug, Error)]
pub enum HostError {
    #[error("the WebAssembly engine can't be set up: {0}")]
    Engine(String),
    #[error("a plugin thread can't be started")]
    Thread(#[source] io::Error),
    #[error("the plugin cache {} can't be used", .path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("the plugin cache {} belongs to another user", .path.display())]
    CacheOwner { path: PathBuf },
    #[error("the plugin compiler can't be run")]
    Compiler(#[source] io::Error),
    #[error("a task of the plugin host ended early")]
    Task,
}

fn more(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " and one more interface".to_owned(),
        count => format!(" and {count} more interfaces"),
    }
}

fn import_help(name: &str, language: Option<Language>) -> String {
    if name.starts_with("wasi") {
        let how = match language {
            Some(Language::Rust) => RUST.to_owned(),
            Some(Language::JavaScript) => JAVASCRIPT.to_owned(),
            Some(Language::Python) => PYTHON.to_owned(),
            Some(Language::C) => C.to_owned(),
            None => [RUST, JAVASCRIPT, PYTHON, C].join("; "),
        };
        format!("a plugin gets no WASI: no clock, files, network or environment. Build it without: {how}")
    } else if name.starts_with("hookweir:plugin/") {
        "it grants version 0.1 of hookweir:plugin/host and hookweir:plugin/types. Build the plugin with that version"
            .to_owned()
    } else {
        "a plugin may import hookweir:plugin/host and hookweir:plugin/types, version 0.1, and nothing else"
            .to_owned()
    }
}

/// How to build without WASI, by language.
const RUST: &str = "Rust for wasm32-unknown-unknown, linked with wasm-component-ld";
const JAVASCRIPT: &str =
    "JavaScript with `componentize-qjs --stub-wasi`, or componentize-js with all features disabled";
const PYTHON: &str = "Python with `componentize-py componentize --stub-wasi`";
const C: &str = "C for wasm32-freestanding or wasm32-unknown-unknown, without a C library";

fn instead(names: &[String]) -> String {
    if names.is_empty() {
        "; it exports nothing at all. Build it for the world `filter-plugin`, `transformer-plugin` or `plugin`".to_owned()
    } else {
        format!(
            "; it exports {}. Build it for the world `filter-plugin`, `transformer-plugin` or `plugin` of \
             hookweir:plugin 0.1",
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )
    }
}
