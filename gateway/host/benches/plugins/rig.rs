//! Hosts, events and clocks of the benchmark.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hookweir_host::{Compiler, Config, Host, Limits, Plugin, Reuse, Step};
use hookweir_model::{Event, EventId, EventType, PluginId, PluginRole, TenantId, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::COMPILE;

pub(crate) fn host(folder: &Path, threads: usize) -> Result<Host, Box<dyn Error>> {
    let compiler = Compiler { program: std::env::current_exe()?, args: vec![COMPILE.into()] };
    Ok(Host::new(Config { threads, ..Config::new(folder.join("cache"), compiler) })?)
}

/// A component that was built from source, or that comes with the repository.
pub(crate) fn component(name: &str) -> Result<Vec<u8>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places: [PathBuf; 2] = [root.join("target/plugins"), root.join("plugins/dist")];
    let found = places.iter().find_map(|place| std::fs::read(place.join(name).with_extension("wasm")).ok());
    found.ok_or_else(|| format!("{name}.wasm is not in target/plugins: `tests/run languages` builds it"))
}

pub(crate) fn step(
    id: &str,
    role: PluginRole,
    plugin: &Arc<Plugin>,
    config: &str,
    reuse: bool,
) -> Result<Step, Box<dyn Error>> {
    Ok(Step {
        id: PluginId::new(id)?,
        role,
        plugin: Arc::clone(plugin),
        config: config.into(),
        // Room for an interpreter.
        limits: Limits { deadline: Duration::from_millis(100), memory: 64 << 20, ..Limits::default() },
        reuse: reuse.then(Reuse::default),
    })
}

/// An order with items enough to have about `size` bytes.
pub(crate) fn order(tenant: &str, size: usize) -> Result<Arc<Event>, Box<dyn Error>> {
    let (mut items, mut data) = (Vec::new(), Vec::new());
    while data.len() < size {
        items.push(serde_json::json!({"sku": format!("sku-{}", items.len()), "quantity": 2, "price": 1250}));
        data = serde_json::to_vec(
            &serde_json::json!({"id": "A-7", "customer": "Ann", "total": 25_000, "items": items}),
        )?;
    }
    Ok(Arc::new(Event {
        tenant: TenantId::new(tenant)?,
        id: EventId::new("evt_1")?,
        event_type: EventType::new("order.created")?,
        source: "/shop".to_owned(),
        subject: None,
        time: "2026-01-31T12:00:00Z".to_owned(),
        received: Timestamp::from_millis(0),
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data: data.into(),
    }))
}

/// Processor time of this whole process: what every thread of it has burnt.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The middle one, of an odd number best.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
