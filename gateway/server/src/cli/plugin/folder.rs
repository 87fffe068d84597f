//! What a command works on: a plugin's folder, or a component's file alone.

use std::borrow::Cow;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hookweir_host::{Job, Limits, Plugin, Reuse, Step};
use hookweir_model::{PluginId, PluginRole};

use super::local;
use crate::case::Case;
use crate::cli::exit::Usage;
use crate::cli::input;
use crate::config::{self, PLUGIN_TOML, PluginFolder};
use crate::log;

/// A component with what a gateway would call it with.
#[derive(Debug)]
pub(super) struct Subject {
    pub name: PluginId,
    pub component: PathBuf,
    pub config: Arc<str>,
    pub limits: Limits,
    pub reuse: bool,
    /// Where `events` and `expected` lie.
    pub folder: PathBuf,
}

/// A case with its name.
#[derive(Debug)]
pub(super) struct Named {
    pub name: String,
    pub case: Case,
}

/// Reads a folder's `plugin.toml`, and shows what is wrong with it as `check` would.
pub(super) fn read(folder: &Path) -> Result<PluginFolder> {
    config::load_plugin_folder(folder).map_err(|problems| {
        log::say(&problems.render(std::io::stderr().is_terminal()));
        anyhow::anyhow!("{} can't be used", folder.join(PLUGIN_TOML).display())
    })
}

impl Subject {
    /// What stands at a path: a folder with its `plugin.toml`, or a component, which takes the `plugin.toml` and the
    /// events beside it if there are any.
    pub(super) fn at(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let PluginFolder { folder, name, component, config, limits, reuse, .. } = read(path)?;
            return Ok(Self { name, component, config, limits, reuse, folder });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.join(PLUGIN_TOML).is_file() {
            return Ok(Self { component: path.to_owned(), ..Self::at(folder)? });
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        Ok(Self {
            name: PluginId::new(stem).or_else(|_| PluginId::new("plugin"))?,
            component: path.to_owned(),
            config: "{}".into(),
            limits: Limits::default(),
            reuse: false,
            folder: folder.to_owned(),
        })
    }

    /// The component's bytes.
    pub(super) fn wasm(&self) -> Result<Vec<u8>> {
        if !self.component.exists() {
            let text = format!(
                "{} is not there: build it with `hookweir plugin build {}`",
                self.component.display(),
                self.folder.display()
            );
            return Err(Usage(text).into());
        }
        input::read_file(&self.component)
    }

    /// The cases in `events` in the order of their names, or the one of them that is wanted.
    pub(super) fn cases(&self, wanted: Option<&str>) -> Result<Vec<Named>> {
        let folder = self.folder.join("events");
        let shown = folder.display();
        let entries = fs::read_dir(&folder).with_context(|| format!("can't read the events in {shown}"))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("can't read the events in {shown}"))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        ensure!(
            !paths.is_empty(),
            "{shown} holds no .json file: write an event into one, such as events/first.json"
        );
        if let Some(wanted) = wanted {
            paths.retain(|path| name(path) == wanted);
            ensure!(!paths.is_empty(), "there is no event {wanted}.json in {shown}");
        }
        paths.iter().map(|path| named(path)).collect()
    }

    /// One event through what the component exports: its filter, then its transformer.
    pub(super) fn job(&self, plugin: &Arc<Plugin>, case: &Case, reuse: bool) -> Job {
        let exports = plugin.exports();
        let step = |role| Step {
            id: self.name.clone(),
            role,
            plugin: Arc::clone(plugin),
            config: Arc::clone(case.config.as_ref().unwrap_or(&self.config)),
            limits: self.limits,
            reuse: reuse.then(Reuse::default),
        };
        let roles = [(exports.filter, PluginRole::Filter), (exports.transformer, PluginRole::Transformer)];
        let steps: Vec<Step> =
            roles.into_iter().filter(|(exported, _)| *exported).map(|(_, role)| step(role)).collect();
        Job { tenant: case.event.tenant.clone(), event: Arc::new(case.event.clone()), steps: steps.into() }
    }
}

fn named(path: &Path) -> Result<Named> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("can't read {shown}"))?;
    let case = Case::parse(&text, &local::tenant()?).with_context(|| format!("{shown} is no event"))?;
    Ok(Named { name: name(path).into_owned(), case })
}

/// A case's name: that of its file, without the ending.
fn name(path: &Path) -> Cow<'_, str> {
    path.file_stem().unwrap_or_default().to_string_lossy()
}
