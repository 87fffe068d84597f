//! `hookweir plugin push`: a component from a file into the gateway.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hookweir_model::PluginId;
use reqwest::Method;

use crate::api::PluginView;
use crate::cli::client::{AdminArgs, Client};
use crate::cli::progress::Progress;
use crate::cli::{Exit, TenantArg, exit, input, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    file: PathBuf,
    #[command(flatten)]
    tenant: TenantArg,
    /// The plugin's name in the configuration [default: the file's name without its ending]
    #[arg(long)]
    plugin: Option<PluginId>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    let plugin = named(args.plugin, &args.file)?;
    let wasm = input::read_file(&args.file)?;
    let client = Client::admin(&args.admin)?;
    let path = ["v1", "tenants", args.tenant.as_str(), "plugins", plugin.as_str()];
    let progress = Progress::of(format!("{plugin} is compiled and tried"));
    let answer = client.send_bytes(Method::PUT, &path, &[], wasm).await?;
    progress.end();
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&in_force(&answer.read()?))?;
    }
    Ok(Exit::Done)
}

/// The plugin that a file is for: as named, or as the file's name says.
fn named(plugin: Option<PluginId>, file: &Path) -> anyhow::Result<PluginId> {
    if let Some(plugin) = plugin {
        return Ok(plugin);
    }
    let stem = file.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    PluginId::new(&stem)
        .map_err(|_| exit::Usage(format!("{stem:?} can't be the name of a plugin: give it by --plugin")))
        .with_context(|| format!("{} does not tell which plugin it is", file.display()))
}

/// What the component that is in force now is, in one line.
pub(super) fn in_force(plugin: &PluginView) -> String {
    let digest = plugin.digest.map_or_else(|| "no component".to_owned(), |digest| digest.to_string());
    let before = plugin.previous.map(|before| format!(" (before: {})", before.short())).unwrap_or_default();
    format!("{} is {digest} now{before}\n", plugin.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_plugin() {
        for (given, file, wanted) in [
            (None, "target/large-only.wasm", Some("large-only")),
            (Some("other"), "target/large-only.wasm", Some("other")),
            (None, "large_only.component.wasm", None),
            (None, "Large.wasm", None),
        ] {
            let given = given.map(|name| PluginId::new(name).unwrap());
            let found = named(given, Path::new(file)).ok();
            assert_eq!(found.as_ref().map(PluginId::as_str), wanted, "{file}");
        }
    }
}
