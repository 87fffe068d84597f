//! Where a command reads data and secrets from: a file, standard input or its arguments.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hookweir_model::EventType;
use serde_json::value::RawValue;

/// More than any listener takes; a path such as `/dev/zero` must not fill the memory.
const MOST: u64 = 64 << 20;

/// Reads a file, or standard input where none is named or its name is `-`.
pub(crate) fn read(file: Option<&PathBuf>) -> anyhow::Result<Vec<u8>> {
    match file {
        Some(path) if path.as_os_str() != "-" => read_file(path),
        _ => bounded(std::io::stdin().lock()).context("can't read standard input"),
    }
}

pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(bounded)
        .with_context(|| format!("can't read {}", path.display()))
}

fn bounded(source: impl std::io::Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MOST + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MOST, "it is longer than {} MiB", MOST >> 20);
    Ok(bytes)
}

/// An argument that names an event type.
pub(super) fn event_type(text: &str) -> Result<EventType, String> {
    EventType::new(text).map_err(|fault| fault.to_string())
}

/// An argument that is JSON.
pub(super) fn json(text: &str) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text.to_owned())
        .map_err(|fault| format!("this is not JSON ({fault}): text must be quoted too, as in '\"hello\"'"))
}
