//! The binary `hookweir`: a webhook gateway that its tenants can program.
//!
//! The modules tell an event's way in this order: `accept`, then the journal (a crate of its own), then `dispatch`,
//! which uses `live` (the endpoint as it is configured now), `shape`, the delivery crate, `settle` and `retry`. Beside it
//! stand `plugins` (which component is in force, and which is paused) and `operational` (what the gateway tells tenants).
//! ARCHITECTURE.md is the map.
// They panic where the output is closed or full. `cli::show` prints, and `log::say` tells.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod accept;
mod admin;
mod api;
mod app;
mod background;
mod budget;
mod builtin;
mod case;
mod cli;
mod clock;
mod config;
mod core_dumps;
mod dispatch;
mod feed;
mod format;
mod json_text;
mod listen;
mod live;
mod log;
mod memory;
mod metrics;
mod numbers;
mod operational;
mod plugins;
mod pretty;
mod probe;
mod problem;
mod pull;
mod retry;
mod role;
mod rotate;
mod scrape;
mod secret_file;
mod settle;
mod shape;
mod shell;
#[cfg_attr(not(feature = "otlp"), path = "telemetry/off.rs")]
mod telemetry;
mod to_the_end;
mod upkeep;

/// Events are received on one thread, written by another and freed by a third, which the system's allocator serves with
/// locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
