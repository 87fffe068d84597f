//! What a call costs: microseconds per event through filters and transformers, fresh instances each time, beside the
//! same work done natively in the same run.
//!
//! `cargo run --release -p hookweir-host --example calls [SECONDS_PER_ROW]`
//!
//! The shipped plugins are taken from `plugins/dist`, or from the folder that `HOOKWEIR_PLUGINS` names.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir_host::{Compiler, Config, Host, Job, Limits, Step, Verdict, compile_child};
use hookweir_model::{Event, EventId, EventType, PluginId, PluginRole, TenantId, Timestamp};

const COMPILE: &str = "compile-plugin";

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(COMPILE) {
        return compile_child();
    }
    let seconds = argument.and_then(|text| text.parse().ok()).unwrap_or(1.0);
    match measure(Duration::from_secs_f64(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn measure(per_row: Duration) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let compiler = Compiler { program: std::env::current_exe()?, args: vec![COMPILE.into()] };
    let host = Host::new(Config { threads: 1, ..Config::new(dir.path().join("cache"), compiler) })?;
    let filter =
        load_step(&host, "keep-above", PluginRole::Filter, r#"{"field":"amount","minimum":100}"#).await?;
    let transformer =
        load_step(&host, "to-slack", PluginRole::Transformer, r#"{"fields":["amount","items.0"]}"#).await?;

    for size in [1 << 10, 16 << 10] {
        let kept = event(size, 250)?;
        let dropped = event(size, 50)?;
        println!("event of {} bytes", kept.data.len());
        let native = time(per_row, async || native(&kept)).await?;
        row("native serde_json: parse, check, write", native, native);
        for (name, event, steps) in [
            ("no plugin", &kept, vec![]),
            ("filter, kept", &kept, vec![filter.clone()]),
            ("filter, dropped", &dropped, vec![filter.clone()]),
            ("transformer", &kept, vec![transformer.clone()]),
            ("filter + transformer", &kept, vec![filter.clone(), transformer.clone()]),
        ] {
            let steps: Arc<[Step]> = steps.into();
            let mut guest_micros = 0;
            let mut count = 0_u32;
            let took = time(per_row, async || {
                let job =
                    Job { tenant: event.tenant.clone(), event: Arc::clone(event), steps: Arc::clone(&steps) };
                let ran = host.run(job).await;
                guest_micros += ran.calls.iter().map(|call| call.micros).sum::<u64>();
                count += 1;
                match ran.verdict {
                    Verdict::Fault(fault) => Err(fault.message.into()),
                    _ => Ok(()),
                }
            })
            .await?;
            row(name, took, native);
            if !steps.is_empty() {
                let micros = guest_micros as f64 / f64::from(count);
                println!("    of which on the plugin thread {micros:>10.1} us");
            }
        }
    }
    host.close();
    Ok(())
}

/// Mean time of one call of `work`, after a tenth of the time to warm up.
async fn time(
    length: Duration,
    mut work: impl AsyncFnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let mut mean = Duration::ZERO;
    for length in [length / 10, length] {
        let started = Instant::now();
        let mut count = 0;
        while started.elapsed() < length {
            work().await?;
            count += 1;
        }
        mean = started.elapsed() / count;
    }
    Ok(mean)
}

fn row(name: &str, took: Duration, native: Duration) {
    let micros = took.as_secs_f64() * 1e6;
    println!("  {name:<40} {micros:>10.1} us {:>8.1} x native", took.as_secs_f64() / native.as_secs_f64());
}

/// About what the filter and the transformer do together, without a sandbox.
fn native(event: &Event) -> Result<(), Box<dyn Error>> {
    let data: serde_json::Value = serde_json::from_slice(&event.data)?;
    let amount = data.get("amount").and_then(serde_json::Value::as_i64).ok_or("no amount")?;
    let message = serde_json::json!({
        "text": format!("{}\namount: {amount}", event.event_type),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": event.event_type.as_str()}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": format!("*amount*\n{amount}")}]},
        ],
    });
    std::hint::black_box(serde_json::to_vec(&message)?);
    Ok(())
}

async fn load_step(host: &Host, id: &str, role: PluginRole, config: &str) -> Result<Step, Box<dyn Error>> {
    let dir = std::env::var_os("HOOKWEIR_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist"), PathBuf::from);
    let file = dir.join(format!("{id}.wasm"));
    let wasm =
        std::fs::read(&file).map_err(|error| format!("{}: {error}; run plugins/build", file.display()))?;
    let size = wasm.len();
    let started = Instant::now();
    let plugin = host.load(Bytes::from(wasm)).await?;
    println!("{id}: {size} bytes, loaded in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    Ok(Step {
        id: PluginId::new(id)?,
        role,
        plugin,
        config: config.into(),
        limits: Limits::default(),
        reuse: None,
    })
}

/// An order with items enough to have about `size` bytes.
fn event(size: usize, amount: u32) -> Result<Arc<Event>, Box<dyn Error>> {
    let mut items = Vec::new();
    let mut data = Vec::new();
    while data.len() < size {
        items.push(serde_json::json!({"sku": format!("sku-{}", items.len()), "quantity": 2, "price": 12.5}));
        data = serde_json::to_vec(&serde_json::json!({"amount": amount, "items": items}))?;
    }
    Ok(Arc::new(Event {
        tenant: TenantId::new("bench")?,
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
