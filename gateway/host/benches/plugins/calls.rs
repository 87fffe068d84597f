//! Microseconds of processor time an event, filter and transformer together: threads, queues, instances and all. Beside
//! them what the host accounts to the guests, which leaves out queues and the taking apart.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, Host, Job, Step, Verdict};
use hookweir_model::Event;
use hookweir_model::PluginRole::{Filter, Transformer};
use serde::Serialize;
use serde_json::Value;

use crate::rig::{component, host, median, order, processor, step};

/// Events under way at a time, as a busy gateway has them.
const UNDER_WAY: usize = 32;
/// Each figure is the median of so many batches.
const BATCHES: usize = 9;

/// The two that come with hookweir: an instance each.
const TWO_PLUGINS: &str = "Rust, two plugins";

/// What is called for an event.
struct Row {
    name: &'static str,
    instance: &'static str,
    steps: Arc<[Step]>,
    /// Events in a batch, so that each takes about as long.
    batch: usize,
}

// As in the gateway: a thread of a runtime that has one alone is woken through the system for every result.
#[tokio::main(flavor = "multi_thread")]
pub(crate) async fn run(quick: bool, only: Option<&str>) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let host = host(folder.path(), std::thread::available_parallelism().map_or(1, usize::from))?;
    let rows = rows(&host, only.unwrap_or_default()).await?;
    println!("microseconds of processor time an event, filter + transformer; medians of {BATCHES} batches");
    for size in [1 << 10, 16 << 10] {
        let event = order("bench", size)?;
        let scale = if quick { 10 } else { 1 };
        let native = native_micros(&event, 20_000 / scale * (1 << 10) / size)?;
        println!("\n{} bytes of data; native serde_json {native:.1} us", event.data.len());
        println!(
            "  {:<22} {:>9} {:>9} {:>9} {:>15} {:>13} {:>13}",
            "", "fresh", "reused", "ratio", "fresh / native", "guest, fresh", "guest, reused"
        );
        for pair in rows.chunks(2) {
            let mut measured = Vec::new();
            for row in pair {
                let batch = (row.batch / scale * (1 << 10) / size).max(UNDER_WAY);
                let (whole, guest) = batches(&host, row, &event, batch).await?.into_iter().unzip();
                measured.push((median(whole), median(guest)));
            }
            if let ([fresh, reused], [row, _]) = (measured.as_slice(), pair) {
                // Those two do another job than the native code.
                let native =
                    if row.name == TWO_PLUGINS { "-".to_owned() } else { format!("{:.1}", fresh.0 / native) };
                println!(
                    "  {:<22} {:>9.1} {:>9.1} {:>9.2} {native:>15} {:>13.1} {:>13.1}",
                    row.name,
                    fresh.0,
                    reused.0,
                    fresh.0 / reused.0,
                    fresh.1,
                    reused.1
                );
            }
        }
    }
    host.close();
    Ok(())
}

/// Each plugin twice, fresh and reused.
async fn rows(host: &Host, only: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    let keep_above = host.load(Bytes::from(component("keep-above")?), COMPILE_DEADLINE).await?;
    let to_slack = host.load(Bytes::from(component("to-slack")?), COMPILE_DEADLINE).await?;
    for reuse in [false, true] {
        let filter = step("keep-above", Filter, &keep_above, r#"{"field":"total","minimum":100}"#, reuse)?;
        let transformer =
            step("to-slack", Transformer, &to_slack, r#"{"fields":["total","items.0.sku"]}"#, reuse)?;
        rows.push(Row {
            name: TWO_PLUGINS,
            instance: instance(reuse),
            steps: [filter, transformer].into(),
            batch: 5_000,
        });
    }
    for (file, name, batch) in [
        ("rust", "Rust, one plugin", 5_000),
        ("c", "C", 5_000),
        ("javascript", "JavaScript (QuickJS)", 1_000),
        ("python", "Python", 200),
    ] {
        let plugin = host.load(Bytes::from(component(file)?), COMPILE_DEADLINE).await?;
        for reuse in [false, true] {
            let steps =
                [Filter, Transformer].map(|role| step(file, role, &plugin, r#"{"minimum":100}"#, reuse));
            let [filter, transformer] = steps;
            rows.push(Row { name, instance: instance(reuse), steps: [filter?, transformer?].into(), batch });
        }
    }
    rows.retain(|row| row.name.contains(only));
    Ok(rows)
}

const fn instance(reuse: bool) -> &'static str {
    if reuse { "reused" } else { "fresh" }
}

/// Of each batch: all that the process took for an event, and what the guests took of it.
async fn batches(
    host: &Host,
    row: &Row,
    event: &Arc<Event>,
    batch: usize,
) -> Result<Vec<(f64, f64)>, Box<dyn Error>> {
    let mut micros = Vec::with_capacity(BATCHES);
    for round in 0..=BATCHES {
        let before = processor();
        let workers: Vec<_> = (0..UNDER_WAY)
            .map(|_| {
                let (host, steps, event) = (host.clone(), Arc::clone(&row.steps), Arc::clone(event));
                tokio::spawn(async move {
                    let mut guest = Duration::ZERO;
                    for _ in 0..batch / UNDER_WAY {
                        let job = Job {
                            tenant: event.tenant.clone(),
                            event: Arc::clone(&event),
                            steps: Arc::clone(&steps),
                        };
                        let ran = host.run(job).await;
                        guest += ran.used.iter().map(|used| used.processor).sum::<Duration>();
                        match ran.verdict {
                            Verdict::Keep(Some(made)) => drop(black_box(made)),
                            other => return Err(format!("{other:?}")),
                        }
                    }
                    Ok(guest)
                })
            })
            .collect();
        let mut guest = Duration::ZERO;
        for worker in workers {
            guest += worker.await?.map_err(|fault| format!("{}, {}: {fault}", row.name, row.instance))?;
        }
        let an_event = 1e6 / (batch / UNDER_WAY * UNDER_WAY) as f64;
        // The first round warms up.
        if round > 0 {
            micros.push(((processor() - before).as_secs_f64() * an_event, guest.as_secs_f64() * an_event));
        }
    }
    Ok(micros)
}

/// The plugins' job without a sandbox, on this thread.
fn native_micros(event: &Event, batch: usize) -> Result<f64, Box<dyn Error>> {
    let mut micros = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let before = processor();
        for _ in 0..batch {
            black_box(native(black_box(&event.data))?);
        }
        micros.push((processor() - before).as_secs_f64() * 1e6 / batch as f64);
    }
    Ok(median(micros))
}

#[derive(Serialize)]
struct Digest<'a> {
    count: usize,
    customer: Option<&'a str>,
    id: &'a str,
    items: Vec<Item<'a>>,
    subtotal: i64,
}

#[derive(Serialize)]
struct Item<'a> {
    quantity: i64,
    sku: &'a str,
}

fn native(data: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    // Once for the filter and once for the transformer, as the plugins read it.
    let order: Value = serde_json::from_slice(data)?;
    let config: Value = serde_json::from_str(r#"{"minimum":100}"#)?;
    if black_box(order["total"].as_i64() < config["minimum"].as_i64()) {
        return Err("below the minimum".into());
    }
    let order: Value = serde_json::from_slice(data)?;
    let (mut items, mut subtotal) = (Vec::new(), 0);
    for item in order["items"].as_array().ok_or("no items")? {
        let quantity = item["quantity"].as_i64().ok_or("no quantity")?;
        subtotal += quantity * item["price"].as_i64().ok_or("no price")?;
        items.push(Item { quantity, sku: item["sku"].as_str().ok_or("no sku")? });
    }
    let (customer, id) = (order["customer"].as_str(), order["id"].as_str().ok_or("no id")?);
    Ok(serde_json::to_vec(&Digest { count: items.len(), customer, id, items, subtotal })?)
}
