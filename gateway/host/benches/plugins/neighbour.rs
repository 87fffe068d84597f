//! What a tenant's stuck plugins cost its neighbour: the neighbour's times at a steady rate, alone and beside 64 calls
//! that never end by themselves. A thread of the lowest priority that spins, without any plugin, is the control: what
//! the neighbour loses beside it is the machine's doing, such as two processors that are one core's halves.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, Host, Job, Limits, Step};
use hookweir_model::PluginRole::{Filter, Transformer};

use crate::rig::{component, host, median, order, step};

const STUCK_CALLS: usize = 64;
const PER_SECOND: u32 = 500;
/// Alone and beside the stuck calls, in turn.
const ROUNDS: usize = 7;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(quick: bool) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let host = host(folder.path(), std::thread::available_parallelism().map_or(1, usize::from))?;
    let plugin = host.load(Bytes::from(component("rust")?), COMPILE_DEADLINE).await?;
    let steps =
        [Filter, Transformer].map(|role| step("order-digest", role, &plugin, r#"{"minimum":100}"#, false));
    let [filter, transformer] = steps;
    let good: Arc<[Step]> = [filter?, transformer?].into();
    let endless = host.load(Bytes::from(endless()?), COMPILE_DEADLINE).await?;
    let stuck = Step { limits: Limits::default(), ..step("endless", Filter, &endless, "{}", false)? };

    let calls = if quick { PER_SECOND } else { 4 * PER_SECOND };
    let (mut alone, mut beside, mut control) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(times(&host, &good, calls).await?);
        let spinning = Spinning::start();
        control.push(times(&host, &good, calls).await?);
        drop(spinning);
        let crowd = Crowd::start(&host, &stuck)?;
        beside.push(times(&host, &good, calls).await?);
        crowd.end().await?;
    }
    println!(
        "\na neighbour's calls at {PER_SECOND} a second, microseconds; medians of {ROUNDS} rounds of {calls} calls"
    );
    let at = |rounds: &[Vec<f64>], part: f64| {
        median(rounds.iter().map(|times| times[(times.len() as f64 * part) as usize]).collect())
    };
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (alone, beside, control) = (at(&alone, part), at(&beside, part), at(&control, part));
        println!(
            "  {name}: alone {alone:.0}, beside {STUCK_CALLS} stuck calls {beside:.0}, ratio {:.2}; beside a thread that \
             spins {control:.0}, ratio {:.2}",
            beside / alone,
            control / alone
        );
    }
    host.close();
    Ok(())
}

/// The neighbour's times, sorted. The next call is handed over whether or not the last one has ended, so that a call
/// which holds up others counts for them too.
async fn times(host: &Host, steps: &Arc<[Step]>, calls: u32) -> Result<Vec<f64>, Box<dyn Error>> {
    let event = order("neighbour", 1 << 10)?;
    let gap = Duration::from_secs(1) / PER_SECOND;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..calls {
        tokio::time::sleep_until((started + gap * number).into()).await;
        // The timer counts milliseconds; how late it was is no part of the call.
        let begun = Instant::now();
        let job = Job { tenant: event.tenant.clone(), event: Arc::clone(&event), steps: Arc::clone(steps) };
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            host.run(job).await;
            begun.elapsed().as_secs_f64() * 1e6
        }));
    }
    let mut times = Vec::with_capacity(tasks.len());
    for task in tasks {
        times.push(task.await?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// A thread of the lowest priority that spins as long as this lives.
struct Spinning {
    over: Arc<AtomicBool>,
}

impl Spinning {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                // Where the system refuses, the control is a harder one.
                let _ = rustix::process::nice(19);
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        Self { over }
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Tasks that each keep one stuck call under way.
struct Crowd {
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn start(host: &Host, stuck: &Step) -> Result<Self, Box<dyn Error>> {
        let over = Arc::new(AtomicBool::new(false));
        let event = order("stuck", 64)?;
        let tasks = (0..STUCK_CALLS)
            .map(|_| {
                let (host, over, event) = (host.clone(), Arc::clone(&over), Arc::clone(&event));
                let steps: Arc<[Step]> = [stuck.clone()].into();
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let (tenant, event) = (event.tenant.clone(), Arc::clone(&event));
                        host.run(Job { tenant, event, steps: Arc::clone(&steps) }).await;
                    }
                })
            })
            .collect();
        Ok(Self { over, tasks })
    }

    async fn end(self) -> Result<(), Box<dyn Error>> {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

/// A filter that never answers.
fn endless() -> Result<Vec<u8>, Box<dyn Error>> {
    let wit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut module = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
             (func (export "hookweir:plugin/filter@0.1.0#filter") (param i32) (result i32)
               (loop $again (br $again)) (unreachable)))"#,
    )?;
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some("filter-plugin"))?;
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding)?;
    Ok(wit_component::ComponentEncoder::default().module(&module)?.encode()?)
}
