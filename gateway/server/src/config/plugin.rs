//! The plugins of a tenant: their files, pins, settings, limits and samples.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hookweir_host::Exports;
use hookweir_model::{Digest, Event, PluginId, PluginRole, TenantId};
use serde_json::{Map, Number, Value as Json};
use toml::de::{DeTable, DeValue};

use super::check::{Surroundings, Unusable};
use super::checked::{Plugin, PluginSource};
use super::limits::Ceilings;
use super::near;
use super::problem::{Fault, Report};
use super::source::read_at_most;
use super::unreadable;
use super::written::{Table, Value};
use crate::builtin::{self, Builtin};
use crate::case::Case;

/// The largest component that is taken: a Python guest with its interpreter has some 20 MB.
pub(crate) const MAX_PLUGIN_SIZE: usize = 24 << 20;

/// Settings are copied into every instance; a plugin that needs more data brings it along.
const MAX_SETTINGS: usize = 64 << 10;

/// An event is held in memory whole, and so is its sample.
const MAX_SAMPLE: usize = 4 << 20;

/// What helps with most paths that can't be read.
const RELATIVE: &str = "a relative path starts from the folder of the file that names it";

const KEYS: [&str; 7] = ["file", "builtin", "sha256", "config", "limits", "reuse", "sample"];

/// A plugin as its table says, together with what could be found out about it.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` if something is wrong with it. Its name is known all the same.
    pub plugin: Option<Plugin>,
    /// What it can be used as; `None` if that can't be told here.
    pub exports: Option<Exports>,
}

/// Where a component was found.
enum Origin {
    File(PathBuf),
    Builtin(Builtin),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Builtin(builtin) => write!(f, "the built-in plugin {:?}", builtin.name),
        }
    }
}

/// Reads a plugin's table, and the files that it names. `roles` is what endpoints use it as.
pub(super) fn plugin(
    table: &Table<'_>,
    roles: &[PluginRole],
    ceilings: &Ceilings,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Found {
    table.allow(&KEYS, report);
    let config = settings(table.get("config"), report).into();
    let limits = ceilings.lowered_by(table.get("limits"), report).limits();
    let compile_deadline = outside.compile_deadline;
    let reuse = table.get("reuse").and_then(|value| value.boolean(report)).unwrap_or(false);
    let sample_key = table.get("sample");
    let sample = sample_key.as_ref().map(|value| sample(value, outside, report));
    let pin = table.get("sha256").map(|pin| (pin.clone(), digest(&pin, report)));
    let unusable = Found { plugin: None, exports: None };
    let (file, builtin) = (table.get("file"), table.get("builtin"));
    if let (Some(_), Some(builtin)) = (&file, &builtin) {
        let help = "keep the one that is meant";
        builtin.refuse_key(Fault::new("a plugin has either `file` or `builtin`", help), report);
        return unusable;
    }
    let Some(value) = file.as_ref().or(builtin.as_ref()) else {
        let pin = match pin {
            None => None,
            Some((_, Some(pin))) => Some(pin),
            Some((_, None)) => return unusable,
        };
        let source = PluginSource::Upload { pin };
        let plugin = Plugin { source, config, limits, compile_deadline, reuse, sample: sample.flatten() };
        return Found { plugin: Some(plugin), exports: None };
    };
    let component = match builtin {
        Some(_) => shipped(value, report).map(|builtin| (Origin::Builtin(builtin), builtin.wasm())),
        None => read(value, outside, report).map(|(path, wasm)| (Origin::File(path), wasm)),
    };
    let Some((origin, wasm)) = component else { return unusable };
    let digest = Digest::of(&wasm);
    match pin {
        Some((pin, Some(pinned))) if pinned != digest => {
            let help = format!("if this is the component that you want, write sha256 = \"{digest}\"");
            pin.refuse(Fault::new(format!("{origin} has another digest"), help), report);
            // Nobody has vouched for this component: it is not looked into.
            return unusable;
        }
        Some((_, None)) => return unusable,
        _ => {}
    }
    let source = match origin {
        Origin::File(path) => PluginSource::File { path, digest },
        Origin::Builtin(builtin) => PluginSource::Builtin { builtin, digest },
    };
    let plugin = Plugin { source, config, limits, compile_deadline, reuse, sample: sample.flatten() };
    let exports = outside.inspect.and_then(|inspect| match inspect(&plugin, roles, &wasm) {
        Ok(exports) => Some(exports),
        Err(Unusable::Component(reason)) => {
            let help = "build it as a component for a world of hookweir:plugin";
            value.refuse(Fault::new(reason, help), report);
            None
        }
        Err(Unusable::Sample(reason)) => {
            let help = "mend the plugin, its `config` or `limits`, or the sample";
            sample_key.as_ref().unwrap_or(value).refuse(Fault::new(reason, help), report);
            None
        }
    });
    Found { plugin: Some(plugin), exports }
}

/// The bytes of a component that was checked before. The error is a sentence about it.
pub(crate) fn read_component(path: &Path, checked: Digest) -> Result<Bytes, String> {
    let changed = || "its file has changed since it was checked: load the configuration again".to_owned();
    let read = read_at_most(path, MAX_PLUGIN_SIZE as u64);
    let read =
        read.map_err(|error| format!("its file can't be read: {}", unreadable::reason(path, &error)))?;
    read.filter(|wasm| Digest::of(wasm) == checked).map(Bytes::from).ok_or_else(changed)
}

/// The event in a file of the form that a plugin's own tests have.
fn sample(value: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<Arc<Event>> {
    let text = value.text("write the path of a JSON file, in quotes", report)?;
    let full = outside.resolve(value.place().file, text);
    let shown = full.display();
    let form = "write it as {\"event\": {\"type\": \"order.created\", \"data\": {}}}";
    let read = match read_at_most(&full, MAX_SAMPLE as u64) {
        Ok(Some(bytes)) => event_of(&bytes)
            .map_err(|reason| Fault::new(format!("{shown} holds no sample event: {reason:#}"), form)),
        Ok(None) => Err(Fault::new(
            format!("{shown} is larger than {} MiB", MAX_SAMPLE >> 20),
            "a sample is one event",
        )),
        Err(error) => Err(unreadable::fault(&full, &error, RELATIVE)),
    };
    value.take(read, report)
}

fn event_of(bytes: &[u8]) -> anyhow::Result<Arc<Event>> {
    let nobody = TenantId::new("sample")?;
    Ok(Arc::new(Case::parse(std::str::from_utf8(bytes)?, &nobody)?.event))
}

/// Reads the id of a plugin from its key.
pub(super) fn id(text: &str) -> Result<PluginId, Fault> {
    PluginId::new(text).map_err(|error| super::check::bad_name("a plugin", text, &error))
}

fn read(path: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<(PathBuf, Bytes)> {
    let text = path.text("write the path of a .wasm file, in quotes", report)?;
    let full = outside.resolve(path.place().file, text);
    let shown = full.display().to_string();
    let rebuild =
        "build the plugin again, as a component: cargo build --release --target wasm32-unknown-unknown";
    let checked = match read_at_most(&full, MAX_PLUGIN_SIZE as u64) {
        Ok(Some(wasm)) if wasm.is_empty() => Err(Fault::new(format!("{shown} is empty"), rebuild)),
        Ok(Some(wasm)) if !wasm.starts_with(b"\0asm") => {
            Err(Fault::new(format!("{shown} is not WebAssembly"), rebuild))
        }
        Ok(Some(wasm)) => Ok(Bytes::from(wasm)),
        Ok(None) => Err(Fault::new(
            format!("{shown} is larger than {} MiB", MAX_PLUGIN_SIZE >> 20),
            "strip it of debug information: wasm-tools strip",
        )),
        Err(error) => Err(unreadable::fault(&full, &error, RELATIVE)),
    };
    path.take(checked, report).map(|wasm| (full, wasm))
}

/// The plugin of the binary that a value names.
fn shipped(name: &Value<'_>, report: &mut Report) -> Option<Builtin> {
    let names = builtin::ALL.map(|builtin| builtin.name);
    let help = format!("the built-in plugins are {}", near::list_of(&names, "and"));
    let find = |text: &str| {
        builtin::find(text).ok_or_else(|| {
            let guess = near::nearest(text, &names).map(|guess| format!("did you mean {guess:?}?"));
            Fault::new(format!("there is no built-in plugin {text:?}"), guess.unwrap_or_else(|| help.clone()))
        })
    };
    name.parsed(find, &help, report)
}

fn digest(pin: &Value<'_>, report: &mut Report) -> Option<Digest> {
    let help = "write the 64 hex digits that sha256sum prints";
    let parse = |text: &str| {
        Digest::parse(text).ok_or_else(|| Fault::new(format!("{text:?} is not a SHA-256 digest"), help))
    };
    pin.parsed(parse, help, report)
}

/// The settings that a plugin is handed, as JSON text.
pub(super) fn settings(value: Option<Value<'_>>, report: &mut Report) -> String {
    let none = || "{}".to_owned();
    let Some(value) = value else { return none() };
    let example = "write a table, such as { minimum = 100 }; the plugin gets it as JSON";
    let Some(DeValue::Table(entries)) = value.table(example, report).map(|_| value.raw()) else {
        return none();
    };
    let text = object(entries).map(|object| object.to_string()).and_then(|text| {
        if text.len() <= MAX_SETTINGS {
            return Ok(text);
        }
        let what = format!("the settings have {} bytes as JSON, and {MAX_SETTINGS} are allowed", text.len());
        Err(Fault::new(what, "compile large tables into the plugin"))
    });
    value.take(text, report).unwrap_or_else(none)
}

fn object(entries: &DeTable<'_>) -> Result<Json, Fault> {
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        Ok((key.get_ref().to_string(), json(value.get_ref())?))
    };
    Ok(Json::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, Fault>>()?))
}

/// A TOML value as JSON. Dates and times become texts.
fn json(value: &DeValue<'_>) -> Result<Json, Fault> {
    let unfit = |digits: &str| {
        Fault::new(
            format!("JSON has no number for {digits}"),
            "write it as a text, and let the plugin read it",
        )
    };
    match value {
        DeValue::String(text) => Ok(Json::String(text.to_string())),
        DeValue::Boolean(value) => Ok(Json::Bool(*value)),
        DeValue::Datetime(time) => Ok(Json::String(time.to_string())),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map(Number::from)
            .or_else(|_| u64::from_str_radix(digits.as_str(), digits.radix()).map(Number::from))
            .map(Json::Number)
            .map_err(|_| unfit(&digits.to_string())),
        DeValue::Float(digits) => {
            let number = digits.as_str().parse().ok().and_then(Number::from_f64);
            number.map(Json::Number).ok_or_else(|| unfit(digits.as_str()))
        }
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Result<_, _>>().map(Json::Array)
        }
        DeValue::Table(entries) => object(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_json(toml: &str) -> Result<String, Fault> {
        object(DeTable::parse(toml).unwrap().get_ref()).map(|json| json.to_string())
    }

    #[test]
    fn settings_become_json() {
        for (toml, json) in [
            ("", r#"{}"#),
            ("minimum = 100", r#"{"minimum":100}"#),
            ("a = -1\nb = 0xff\nc = 1_000", r#"{"a":-1,"b":255,"c":1000}"#),
            ("a = 18446744073709551615", r#"{"a":18446744073709551615}"#),
            ("a = 0.5\nb = 1e3", r#"{"a":0.5,"b":1000.0}"#),
            ("a = [1, 'two', true, { b = [] }]", r#"{"a":[1,"two",true,{"b":[]}]}"#),
            ("a = 2026-01-31", r#"{"a":"2026-01-31"}"#),
            ("[a.b]\n\"c d\" = '\"'", r#"{"a":{"b":{"c d":"\""}}}"#),
        ] {
            assert_eq!(as_json(toml).unwrap(), json, "{toml}");
        }
        for toml in ["a = inf", "a = [nan]", "a = 99999999999999999999", "a = { b = 1e999 }"] {
            assert!(as_json(toml).is_err(), "{toml}");
        }
    }
}
