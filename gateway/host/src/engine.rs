//! The engine's settings. Each number stands beside its reason.
//!
//! Two engines are made from the same settings: one that runs plugins, with a pool of memory and no compiler, and one in
//! the compile child, the other way round. Compiled code depends on neither.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The most linear memory that any plugin may be allowed. The configuration's ceiling is the same.
pub(crate) const MEMORY_CEILING: usize = 64 << 20;

/// The most elements of one table. Python's runtime, the largest that was measured, has some 10,000 functions to
/// point at.
pub(crate) const TABLE_CEILING: usize = 20_000;

/// Core instances and tables of one component. A Python guest is linked at start from 38 core modules.
const CORE_INSTANCES: u32 = 60;
const TABLES: u32 = 60;

/// Linear memories of one component: every known toolchain makes one, composed components have a few.
const MEMORIES: u32 = 4;

/// Instances that one job keeps alive at a time, for plugins that both filter and transform its event.
pub(crate) const INSTANCES_PER_JOB: usize = 4;

/// Instances that wait for their tenant's next event, over all tenants. It is only address space that each more costs.
pub(crate) const WARM_INSTANCES: usize = 64;

/// Bytes of a slot's memory and table that stay in memory between two instances: what a small plugin touches. Each slot
/// that was ever used may keep so much.
const RESIDENT_MEMORY: usize = 256 << 10;
const RESIDENT_TABLE: usize = 16 << 10;

/// The stack of the guest. It runs on the plugin thread's own stack, of 2 MiB, and leaves the host's part alone.
const STACK: usize = 512 << 10;

/// The engine that runs plugins on `threads` threads.
pub(crate) fn for_running(threads: usize) -> wasmtime::Result<Engine> {
    let components = threads.saturating_mul(INSTANCES_PER_JOB).saturating_add(WARM_INSTANCES);
    let components = u32::try_from(components).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(components)
        .total_core_instances(components.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(components.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .max_memory_size(MEMORY_CEILING)
        .total_tables(components.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        // Of one core module; wasmtime's default of 1 refuses guests that keep references in a second table.
        .max_tables_per_module(4)
        .table_elements(TABLE_CEILING)
        .total_gc_heaps(components)
        // What a call has touched is put back to its first state by copying, up to these bytes, rather than given back
        // to the kernel: the next instance then meets no page fault. The kernel is asked which pages those are, which
        // alone makes it worth while: half of a small plugin's time with a fresh instance, in repeated pairs.
        .linear_memory_keep_resident(RESIDENT_MEMORY)
        .table_keep_resident(RESIDENT_TABLE)
        .pagemap_scan(Enabled::Auto);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    // It loads what the child has made. Without a compiler it neither sets one up nor keeps its code in memory.
    #[cfg(feature = "compiler")]
    config.enable_compiler(false);
    Engine::new(&config)
}

/// The engine of the compile child. It reserves no pool, which would not fit under the child's memory limit.
#[cfg(feature = "compiler")]
pub(crate) fn for_compiling() -> wasmtime::Result<Engine> {
    Engine::new(&settings())
}

fn settings() -> Config {
    let mut config = Config::new();
    // Cranelift alone: the quicker compiler had several escapes within a year.
    #[cfg(feature = "compiler")]
    config.strategy(wasmtime::Strategy::Cranelift);
    config
        // A guest is stopped at a loop or a call, where it reads a counter that a thread of the host moves on.
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        // A fresh instance for each event is cheap because its memory is a copy-on-write view of the component's file.
        .memory_init_cow(true)
        // A trace of a guest's functions says nothing to its tenant, and costs time at each trap.
        .wasm_backtrace_max_frames(None)
        // Where each instruction came from, and how a debugger finds the way out of a guest, is for such traces alone. Both
        // take memory for every component, and the second is registered in a list that is searched. A panic of the host
        // is caught before the guest's frames.
        .generate_address_map(false)
        .native_unwind_info(false)
        // Relaxed SIMD may answer differently on another processor; a retry on another node must not.
        .relaxed_simd_deterministic(true)
        // Several memories in one module stay allowed: the engine's own glue between linked components has them.
        // What no guest needs is off, since each was the way into an escape or is untried. The collector itself stays
        // compiled in: a build without it could be made to abort (RUSTSEC-2026-0570).
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_component_model(true);
    config
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_compiles_is_run_by_an_engine_without_a_compiler() {
        let component = wat::parse_str("(component (core module (memory 1)))").unwrap();
        let code = for_compiling().unwrap().precompile_component(&component).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        std::fs::write(&path, code).unwrap();
        let running = for_running(2).unwrap();
        crate::load::map(&running, &path).unwrap();
        assert!(running.precompile_component(&component).is_err(), "it has a compiler");
    }
}
