//! `hookweir check`: every problem in a configuration, before anything runs on it.
//!
//! It goes as far as `serve` does before it binds: files, secrets, URLs, and the plugins, which are compiled. It binds
//! nothing, opens no journal and sends nothing.

use std::cell::OnceCell;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hookweir_host::{Exports, Host};
use hookweir_model::{PluginId, PluginRole};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Exit, show};
use crate::app;
use crate::config::{self, Config, Problems, StdEnv, Unusable};
use crate::log;
use crate::plugins::try_sample;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "hookweir.toml")]
    config: PathBuf,
    /// Print JSON, on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    let plugins = PluginHost::default();
    let inspect =
        |plugin: &config::Plugin, roles: &[PluginRole], wasm: &Bytes| plugins.inspect(plugin, roles, wasm);
    match config::load_inspecting(&args.config, &StdEnv, &inspect) {
        Ok(config) if args.json => show::print(&format!("{}\n", summary(&config)))?,
        Ok(config) => {
            let remark = |warning: &config::Warning| format!("{}: {warning}\n", warning.severity.as_str());
            log::say(&config.warnings.iter().map(remark).collect::<String>());
            show::print(&lines(&config))?;
        }
        Err(problems) => {
            if args.json {
                // The code says it too: what can't be printed changes nothing about it.
                let _ = show::print(&format!("{}\n", listing(&problems)));
            } else {
                log::say(&problems.render(io::stderr().is_terminal()));
            }
            return Ok(Exit::WrongConfiguration);
        }
    }
    Ok(Exit::Done)
}

/// A plugin host for the time of the check. It starts with the first plugin: most configurations have none.
#[derive(Default)]
struct PluginHost {
    started: OnceCell<(Runtime, Host, TempDir)>,
}

impl PluginHost {
    fn inspect(
        &self,
        settings: &config::Plugin,
        roles: &[PluginRole],
        wasm: &Bytes,
    ) -> Result<Exports, Unusable> {
        let component = |error: anyhow::Error| Unusable::Component(format!("{error:#}"));
        let (runtime, host) = self.host().map_err(component)?;
        let plugin = runtime
            .block_on(host.load(wasm.clone(), settings.compile_deadline))
            .map_err(|error| component(error.into()))?;
        if let Some(sample) = &settings.sample {
            // Guests see no name of their own.
            let id = PluginId::new("plugin").map_err(|error| component(error.into()))?;
            let tried = try_sample(host, &id, settings, &plugin, sample, roles);
            runtime.block_on(tried).map_err(Unusable::Sample)?;
        }
        Ok(plugin.exports())
    }

    fn host(&self) -> Result<(&Runtime, &Host)> {
        if self.started.get().is_none() {
            let cache = tempfile::tempdir().context("can't make a folder for compiled plugins")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("can't start the runtime")?;
            let host = app::host(cache.path())?;
            let _ = self.started.set((runtime, host, cache));
        }
        let (runtime, host, _) = self.started.get().context("the plugin host is not there")?;
        Ok((runtime, host))
    }
}

/// One line for each tenant of a good configuration.
fn lines(config: &Config) -> String {
    let mut text = String::new();
    for (id, tenant) in &config.tenants {
        let endpoints = counted(tenant.endpoints.len(), "endpoint");
        text.push_str(&format!("{id}: {endpoints}, {}\n", counted(tenant.plugins.len(), "plugin")));
    }
    if text.is_empty() {
        text.push_str("the configuration is good, and has no tenants\n");
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn summary(config: &Config) -> serde_json::Value {
    let tenant = |(id, tenant): (&hookweir_model::TenantId, &config::Tenant)| json!({ "id": id, "endpoints": tenant.endpoints.len(), "plugins": tenant.plugins.len() });
    json!({ "problems": [], "warnings": config.warnings, "tenants": config.tenants.iter().map(tenant).collect::<Vec<_>>() })
}

fn listing(problems: &Problems) -> serde_json::Value {
    json!({ "problems": problems.views().collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_like_prose() {
        for (count, text) in [(0, "no plugins"), (1, "1 plugin"), (2, "2 plugins")] {
            assert_eq!(counted(count, "plugin"), text);
        }
    }
}
