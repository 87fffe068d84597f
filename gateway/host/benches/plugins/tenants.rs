//! A thousand tenants with a plugin each: memory with one component for all and with one for each, and the time to
//! load a thousand compiled ones. Each is measured in a process of its own.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use hookweir_host::{COMPILE_DEADLINE, Job};
use hookweir_model::PluginRole;

use crate::TENANTS;
use crate::rig::{component, host, order, step};

pub(crate) fn run(quick: bool) -> Result<(), Box<dyn Error>> {
    let count = if quick { 50 } else { 1_000 };
    let folder = tempfile::tempdir()?;
    let child = |digests: usize| -> Result<String, Box<dyn Error>> {
        let output = Command::new(std::env::current_exe()?)
            .args([TENANTS, &folder.path().display().to_string(), &count.to_string(), &digests.to_string()])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    println!("\n{count} tenants with a Rust plugin each, every one called once");
    for digests in [1, count] {
        // The first run compiles; the second finds all of it compiled, as a gateway does that starts again.
        child(digests)?;
        print!("  {digests:>5} digests: {}", child(digests)?);
    }
    Ok(())
}

/// Loads and calls, and says what that took.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn child(folder: &str, count: &str, digests: &str) -> Result<(), Box<dyn Error>> {
    let (count, digests): (usize, usize) = (count.parse()?, digests.parse()?);
    let wasm = component("keep-above")?;
    let host = host(Path::new(folder), 2)?;
    let started = Instant::now();
    let mut plugins = Vec::with_capacity(count);
    for tenant in 0..count {
        plugins.push(host.load(marked(&wasm, tenant % digests), COMPILE_DEADLINE).await?);
    }
    let loading = started.elapsed();
    let loaded = resident()?;
    for (tenant, plugin) in plugins.iter().enumerate() {
        let event = order(&format!("tenant-{tenant}"), 1 << 10)?;
        let config = r#"{"field":"total","minimum":100}"#;
        let steps = [step("keep-above", PluginRole::Filter, plugin, config, false)?];
        host.run(Job { tenant: event.tenant.clone(), event, steps: steps.into() }).await;
    }
    let mib = |bytes: usize| bytes as f64 / 1_048_576.0;
    println!(
        "loaded in {:.0} ms, {:.1} MiB resident, {:.1} MiB when each was called",
        loading.as_secs_f64() * 1e3,
        mib(loaded),
        mib(resident()?)
    );
    host.close();
    Ok(())
}

/// The component with a custom section that makes it another one by its digest.
fn marked(wasm: &[u8], number: usize) -> Bytes {
    let mut marked = wasm.to_vec();
    let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    // Section 0 of nine bytes: a name of four letters, and the number.
    marked.extend([0, 9, 4, b'm', b'a', b'r', b'k']);
    marked.extend(number);
    marked.into()
}

/// Bytes of this process that are in memory.
fn resident() -> Result<usize, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("statm has no second figure")?.parse()?;
    Ok(pages * rustix::param::page_size())
}
