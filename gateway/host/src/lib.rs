//! The plugin host: it compiles, loads and calls the tenants' WebAssembly components, and is the only crate that
//! names wasmtime.
//!
//! On an event's path it stands between dispatch and delivery: [`Host::run`] puts an event through an endpoint's
//! filters and transformers. Each event gets a fresh instance, unless its tenant chose otherwise, and each call
//! bounded time, memory and output, and nothing of the machine: no clock, no file, no network, no secret. A guest's failure is a value, never a panic.
//!
//! The modules in the order of a plugin's life:
//!
//! | module | does |
//! |---|---|
//! | `inspect` | looks at an upload: is it a component, what does it import and export |
//! | `compile` | compiles it in a child process with limits |
//! | `bulk` | before that, makes its longest instructions interruptible |
//! | `cache` | keeps the compiled form on disk |
//! | `load` | maps it into memory: the one module with `unsafe` |
//! | `plugin` | binds it to its imports and finds its exports |
//! | `threads`, `fair` | hand its calls to threads, tenant by tenant |
//! | `chain` | calls filters and transformers in order and checks what they hand over |
//! | `instance`, `limits`, `log`, `ticker` | one call: its store, bounds, log lines and clock |
//! | `warm` | keeps instances between events, where the tenant wants that |
//! | `fault` | says in a sentence what went wrong |

mod bindings;
#[cfg(feature = "compiler")]
mod bulk;
mod cache;
mod chain;
mod compile;
mod contract;
mod engine;
mod error;
mod fair;
mod fault;
mod host;
mod inspect;
mod instance;
mod limits;
mod load;
mod log;
mod plugin;
mod text;
mod threads;
mod ticker;
mod warm;

pub use compile::{COMPILE_DEADLINE, Compiler, LONGEST_COMPILE, compile_child};
pub use contract::{Fault, FaultKind, Job, Limits, Outgoing, Ran, Reuse, Step, Used, Verdict};
pub use error::{HostError, LoadError};
pub use host::{Config, Host};
pub use inspect::{Exports, Inspection, Language, Producer};
pub use plugin::Plugin;
