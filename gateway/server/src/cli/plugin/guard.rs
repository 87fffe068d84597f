//! What a build puts around a plugin in JavaScript or Python.
//!
//! Their engines end a call at an uncaught exception, or at a value that does not fit the contract, with a bare trap and
//! not a word. The code here stands between the engine and the plugin's own: it writes what was wrong to the plugin's log,
//! which the host then gives as the reason, and has what a plugin may not do, such as ask for the time, say so.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use hookweir_host::Language;

use crate::config::PluginFolder;

/// Where it is written to, in the plugin's folder: the JavaScript tool reads nothing outside of that. Its contents are
/// the same at each build, so that the component is too, and builds at the same time don't disturb each other.
pub(super) const FOLDER: &str = ".hookweir";
/// The script that the JavaScript tool is given.
pub(super) const JAVASCRIPT_ENTRY: &str = ".hookweir/entry.js";
/// The module that the Python tool is given.
pub(super) const PYTHON_ENTRY: &str = "hookweir_entry";

/// Writes what the language's tool is given around the plugin's own code; nothing for a language that needs none.
pub(super) fn write(plugin: &PluginFolder) -> Result<()> {
    let folder = plugin.folder.join(FOLDER);
    for (name, content) in files(plugin.language, plugin.world) {
        put(&folder, name, &content)
            .with_context(|| format!("can't write {}", folder.join(name).display()))?;
    }
    Ok(())
}

/// Whoever reads the file meanwhile finds all of it.
fn put(folder: &Path, name: &str, content: &str) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut draft, content.as_bytes())?;
    draft.persist(folder.join(name)).map(drop).map_err(|error| error.error)
}

fn files(language: Language, world: &str) -> Vec<(&'static str, String)> {
    let mut files = match language {
        Language::JavaScript => vec![
            ("guard.js", include_str!("guard/guard.js").to_owned()),
            ("entry.js", javascript_entry(world)),
        ],
        Language::Python => vec![
            ("hookweir_guard.py", include_str!("guard/hookweir_guard.py").to_owned()),
            ("hookweir_entry.py", python_entry(world)),
        ],
        Language::Rust | Language::C => return Vec::new(),
    };
    files.push((".gitignore", "*\n".to_owned()));
    files
}

/// Whether a component of this world exports a filter, and a transformer.
fn exports(world: &str) -> (bool, bool) {
    (world != "transformer-plugin", world != "filter-plugin")
}

/// The guard comes first: what it replaces must be so before the plugin's script runs.
fn javascript_entry(world: &str) -> String {
    let mut text = "import { guarded, start } from \"./guard.js\";\n\
                    import host from \"hookweir:plugin/host\";\n\
                    import * as plugin from \"../plugin.js\";\n\
                    start(host);\n"
        .to_owned();
    let (filter, transformer) = exports(world);
    if filter {
        text += "export const filter = guarded(plugin, \"filter\", \"filter\");\n";
    }
    if transformer {
        text += "export const transformer = guarded(plugin, \"transformer\", \"transform\");\n";
    }
    text
}

fn python_entry(world: &str) -> String {
    let mut text = "import hookweir_guard as guard\nimport app\nfrom wit_world import exports\n".to_owned();
    let (filter, transformer) = exports(world);
    if filter {
        text += "\nfrom wit_world.exports.filter import Verdict_Drop, Verdict_Keep\n\
                 filtering = guard.filtering(guard.own(app, \"Filter\", \"filter\"), Verdict_Keep, Verdict_Drop)\n\n\
                 class Filter(exports.Filter):\n    def filter(self, event):\n        return filtering(event)\n";
    }
    if transformer {
        text += "\nfrom wit_world.exports.transformer import Outgoing\n\
                 transforming = guard.transforming(guard.own(app, \"Transformer\", \"transform\"), Outgoing)\n\n\
                 class Transformer(exports.Transformer):\n    def transform(self, event):\n        return transforming(event)\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_exports_what_its_world_does() {
        for (world, filter, transformer) in
            [("plugin", true, true), ("filter-plugin", true, false), ("transformer-plugin", false, true)]
        {
            let (javascript, python) = (javascript_entry(world), python_entry(world));
            for (text, role) in [(&javascript, "const "), (&python, "class ")] {
                let exports = |name: &str| text.to_lowercase().contains(&format!("{role}{name}"));
                assert_eq!((exports("filter"), exports("transformer")), (filter, transformer), "{text}");
            }
        }
    }

    #[test]
    fn languages_whose_panics_speak_get_nothing() {
        for (language, any) in [
            (Language::Rust, false),
            (Language::C, false),
            (Language::JavaScript, true),
            (Language::Python, true),
        ] {
            assert_eq!(!files(language, "plugin").is_empty(), any, "{language:?}");
        }
    }
}
