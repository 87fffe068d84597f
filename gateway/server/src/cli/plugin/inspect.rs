//! `hookweir plugin inspect`: what a component is and wants, without running it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use hookweir_host::Inspection;
use serde_json::json;

use super::folder::Subject;
use crate::cli::{Exit, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A component, or the plugin's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// It fails where a gateway would refuse the component, after showing all that can be told of it.
pub(super) fn run(args: &Args) -> Result<Exit> {
    let subject = Subject::at(&args.path)?;
    let found = Inspection::of(&subject.wasm()?)
        .map_err(|error| anyhow::anyhow!("{} can't be inspected: {error}", subject.component.display()))?;
    let refusal = found.verdict().err().map(|error| error.to_string());
    let text = if args.json {
        format!("{}\n", report(&found, refusal.as_deref()))
    } else {
        told(&found, refusal.as_deref())
    };
    show::print(&text)?;
    Ok(if refusal.is_none() { Exit::Done } else { Exit::Failed })
}

pub(super) fn told(found: &Inspection, refusal: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9} {}", show::escaped(value));
    };
    line("world", found.exports.world().unwrap_or("none of hookweir:plugin"));
    line("sha256", &found.digest.to_string());
    line("size", &format!("{} bytes", found.size));
    line("memory", &format!("{} bytes at its start", found.memory));
    for (name, values) in [("imports", &found.imports), ("exports", &found.exported)] {
        if values.is_empty() {
            line(name, "nothing");
        }
        for value in values {
            line(name, value);
        }
    }
    for producer in &found.producers {
        line("made by", format!("{} {}", producer.name, producer.version).trim_end());
    }
    match refusal {
        None => line("verdict", "a gateway takes it, if it compiles"),
        Some(refusal) => line("refused", refusal),
    }
    text
}

fn report(found: &Inspection, refusal: Option<&str>) -> serde_json::Value {
    let producers: Vec<_> = found
        .producers
        .iter()
        .map(|producer| json!({"field": producer.field, "name": producer.name, "version": producer.version}))
        .collect();
    json!({
        "world": found.exports.world(), "digest": found.digest.to_string(), "size": found.size,
        "memory": found.memory, "table": found.table, "imports": found.imports, "exports": found.exported,
        "producers": producers, "refused": refusal,
    })
}
