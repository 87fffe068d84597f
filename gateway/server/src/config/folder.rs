//! `plugin.toml`, which stands beside a plugin's source: what it is written in, and what a gateway would hand it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookweir_host::{Language, Limits};
use hookweir_model::PluginId;

use super::file;
use super::limits::{self, Ceilings};
use super::plugin::{id, settings};
use super::problem::{Fault, Problems, Report};
use super::source::{FileId, Source};
use super::unreadable;
use super::written::Table;

/// The file's name.
pub(crate) const PLUGIN_TOML: &str = "plugin.toml";

const KEYS: [&str; 7] = ["name", "language", "world", "component", "config", "limits", "reuse"];

const WORLDS: [(&str, &str); 3] =
    [("plugin", "plugin"), ("filter-plugin", "filter-plugin"), ("transformer-plugin", "transformer-plugin")];

/// The languages that a plugin can be built from here, as `plugin.toml` and the command line write them.
pub(crate) const LANGUAGES: [(&str, Language); 4] = [
    ("rust", Language::Rust),
    ("javascript", Language::JavaScript),
    ("python", Language::Python),
    ("c", Language::C),
];

/// A plugin's folder as its `plugin.toml` describes it.
#[derive(Debug, Clone)]
pub(crate) struct PluginFolder {
    pub folder: PathBuf,
    pub name: PluginId,
    pub language: Language,
    /// The world of `wit/` that it is built for.
    pub world: &'static str,
    /// Where the component is, or will be when it is built.
    pub component: PathBuf,
    /// JSON text, `{}` where there is no table.
    pub config: Arc<str>,
    pub limits: Limits,
    pub reuse: bool,
}

/// Reads and checks a folder's `plugin.toml`.
pub(crate) fn load_plugin_folder(folder: &Path) -> Result<PluginFolder, Problems> {
    let path = folder.join(PLUGIN_TOML);
    let source = Source::read(path.clone()).map_err(|error| {
        let help = "name a folder that `hookweir plugin new` has made, or a component's file";
        let what = format!("the plugin can't be read: {}", unreadable::reason(&path, &error));
        Problems::of_unreadable(&path, Fault::new(what, unreadable::help(&error, help)))
    })?;
    let mut report = Report::default();
    let document = file::parse(FileId(0), &source, &mut report);
    let found =
        document.as_ref().and_then(|document| read(&Table::whole(FileId(0), document), folder, &mut report));
    drop(document);
    match (report.into_problems([source]), found) {
        (None, Some(found)) => Ok(found),
        (problems, _) => Err(problems.unwrap_or_default()),
    }
}

fn read(table: &Table<'_>, folder: &Path, report: &mut Report) -> Option<PluginFolder> {
    table.allow(&KEYS, report);
    let name = table
        .need("name", "write name = \"...\"", report)
        .and_then(|name| name.parsed(id, "write a name in quotes", report));
    let language = table
        .need("language", "write language = \"rust\", \"javascript\", \"python\" or \"c\"", report)
        .and_then(|language| language.one_of(&LANGUAGES, report));
    let world = table.get("world").and_then(|world| world.one_of(&WORLDS, report)).unwrap_or("plugin");
    let component = table
        .need("component", "write component = \"NAME.wasm\"", report)
        .and_then(|component| component.text("write the path of a .wasm file, in quotes", report));
    let config = settings(table.get("config"), report);
    let bounds = table.get("limits").and_then(|limits| limits.table("write it as a table: [limits]", report));
    if let Some(bounds) = &bounds {
        bounds.allow(&limits::KEYS, report);
    }
    let limits = Ceilings::of_gateway(bounds.as_ref(), report).limits();
    let reuse = table.get("reuse").and_then(|reuse| reuse.boolean(report)).unwrap_or(false);
    Some(PluginFolder {
        folder: folder.to_owned(),
        name: name?,
        language: language?,
        world,
        component: folder.join(component?),
        config: config.into(),
        limits,
        reuse,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(text: &str) -> Result<PluginFolder, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PLUGIN_TOML), text).unwrap();
        load_plugin_folder(folder.path()).map_err(|problems| problems.render(false))
    }

    #[test]
    fn what_a_folder_says() {
        let least = load("name = 'p'\nlanguage = 'c'\ncomponent = 'p.wasm'").unwrap();
        assert_eq!((least.name.as_str(), least.language, least.config.as_ref()), ("p", Language::C, "{}"));
        assert_eq!((least.limits, least.reuse), (Limits::default(), false));
        let most = load(
            "name = 'p'\nlanguage = 'python'\ncomponent = 'p.wasm'\nreuse = true\n[config]\nminimum = 1\n\
             [limits]\ndeadline = '50ms'\nmemory = '64MiB'",
        );
        let most = most.unwrap();
        assert_eq!((most.config.as_ref(), most.reuse), (r#"{"minimum":1}"#, true));
        assert_eq!((most.limits.deadline, most.limits.memory), (Duration::from_millis(50), 64 << 20));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let shown = load("name = 'a b'\nlanguage = 'perl'\nreuse = 1\nevents = 'x'").unwrap_err();
        for part in [
            "\"a b\"",
            "\"perl\" is not one of its values",
            "`component` is missing",
            "true or false",
            "there is no such key",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let missing = load_plugin_folder(Path::new("/nowhere")).unwrap_err().render(false);
        assert!(missing.contains("hookweir plugin new"), "{missing}");
    }
}
