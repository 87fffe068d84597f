//! `hookweir plugin new`: a folder that builds and passes its tests, to be changed from there.
//!
//! The folders of `examples/` are the templates, carried in the binary with the plugin contract of `wit/` and the Rust
//! SDK, so that a template always fits the gateway that it came with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::builder::PossibleValue;
use hookweir_host::Language;
use hookweir_model::PluginId;
use rust_embed::RustEmbed;

use crate::cli::exit::Usage;
use crate::cli::{Exit, show};
use crate::config::LANGUAGES;

/// The name that a template has, in its three spellings.
const TEMPLATE_NAME: [&str; 3] = ["order-digest", "order_digest", "OrderDigest"];

/// Where the Rust template finds the SDK, in this repository and in a folder of its own.
const SDK: (&str, &str) = ("../../plugins/sdk", "vendor/sdk");

// What a build leaves behind in an example is no part of it.
#[derive(RustEmbed)]
#[folder = "../../examples/rust"]
#[exclude = "target/*"]
#[exclude = "*.wasm"]
struct Rust;

#[derive(RustEmbed)]
#[folder = "../../examples/javascript"]
#[exclude = "node_modules/*"]
#[exclude = ".hookweir/*"]
#[exclude = "*.wasm"]
struct JavaScript;

#[derive(RustEmbed)]
#[folder = "../../examples/python"]
#[exclude = ".venv/*"]
#[exclude = ".hookweir/*"]
#[exclude = "*/__pycache__/*"]
#[exclude = "__pycache__/*"]
#[exclude = "*.wasm"]
struct Python;

#[derive(RustEmbed)]
#[folder = "../../examples/c"]
#[exclude = "*.wasm"]
struct C;

#[derive(RustEmbed)]
#[folder = "../../plugins/sdk"]
#[include = "Cargo.toml"]
#[include = "README.md"]
#[include = "src/*"]
struct Sdk;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the plugin is to be written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: LanguageArg,
    /// The plugin's name
    name: PluginId,
    /// Where its folder goes [default: a folder of its name, here]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

/// A language by the word that `plugin.toml` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LanguageArg(Language);

impl clap::ValueEnum for LanguageArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [LanguageArg; 4] = {
            let mut all = [LanguageArg(Language::C); 4];
            let mut index = 0;
            while index < all.len() {
                all[index] = LanguageArg(LANGUAGES[index].1);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        LANGUAGES.iter().find(|(_, language)| *language == self.0).map(|(word, _)| PossibleValue::new(*word))
    }
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    check_name(&args.name)?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    let shown = folder.display();
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(Usage(format!("{shown} is there already: name another folder with --path")).into());
    }
    let files = files(args.lang.0, args.name.as_str());
    let count = files.len();
    for (path, content) in files {
        write(&folder.join(path), &content)?;
    }
    show::print(&format!(
        "{count} files in {shown}\nnext:\n  hookweir plugin build {shown}\n  hookweir plugin test {shown}\n"
    ))?;
    Ok(Exit::Done)
}

/// A plugin's name becomes that of a package and of a file.
fn check_name(name: &PluginId) -> Result<()> {
    let name = name.as_str();
    let sound = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    if sound {
        return Ok(());
    }
    let text =
        format!("{name:?} can't be the name of a package: use small letters, digits and -, a letter first");
    Err(Usage(text).into())
}

/// All files of a new plugin, with their paths in its folder.
fn files(language: Language, name: &str) -> Vec<(String, Vec<u8>)> {
    match language {
        Language::Rust => {
            let mut files = template::<Rust>(name);
            files.extend(copied::<Sdk>().map(|(path, content)| (format!("{}/{path}", SDK.1), content)));
            files
        }
        Language::JavaScript => template::<JavaScript>(name),
        Language::Python => template::<Python>(name),
        Language::C => template::<C>(name),
    }
}

fn copied<T: RustEmbed>() -> impl Iterator<Item = (String, Vec<u8>)> {
    T::iter().filter_map(|path| T::get(&path).map(|file| (path.into_owned(), file.data.into_owned())))
}

fn template<T: RustEmbed>(name: &str) -> Vec<(String, Vec<u8>)> {
    copied::<T>()
        .map(|(path, content)| match String::from_utf8(content) {
            Ok(text) => (path, renamed(&text, name).replace(SDK.0, SDK.1).into_bytes()),
            Err(other) => (path, other.into_bytes()),
        })
        .collect()
}

/// The text with the template's name replaced, in each spelling.
fn renamed(text: &str, name: &str) -> String {
    let camel: String = name
        .split(['-', '_'])
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect();
    let [kebab, snake, type_name] = TEMPLATE_NAME;
    text.replace(kebab, name).replace(snake, &name.replace('-', "_")).replace(type_name, &camel)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, content));
    written.with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_the_new_name() {
        let text = "order-digest order_digest.wasm struct OrderDigest;";
        assert_eq!(renamed(text, "big-orders"), "big-orders big_orders.wasm struct BigOrders;");
    }

    #[test]
    fn every_language_has_a_whole_folder() {
        for (word, language) in LANGUAGES {
            let files = files(language, "big-orders");
            let has = |wanted: &str| files.iter().any(|(path, _)| path == wanted);
            for wanted in
                ["plugin.toml", "README.md", "wit/worlds.wit", "events/kept.json", "expected/kept.json"]
            {
                assert!(has(wanted), "{word}: {wanted}");
            }
            let left: Vec<_> = files
                .iter()
                .filter(|(path, _)| path.ends_with(".wasm") || path.contains("target/"))
                .collect();
            assert!(left.is_empty(), "{word}: {left:?}");
            for (path, content) in &files {
                let text = String::from_utf8_lossy(content);
                assert!(!TEMPLATE_NAME.iter().any(|name| text.contains(name)), "{word}: {path}");
                assert!(!text.contains(SDK.0), "{word}: {path}");
            }
        }
        assert!(files(Language::Rust, "a").iter().any(|(path, _)| path == "vendor/sdk/src/lib.rs"));
    }

    /// The contract lies in each template; it must be the one that this gateway speaks.
    #[test]
    fn the_contract_in_a_template_is_that_of_the_gateway() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        for (word, language) in LANGUAGES {
            let files = files(language, "a");
            for entry in fs::read_dir(&wit).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("wit/{}", path.file_name().unwrap().to_str().unwrap());
                if name.ends_with(".wit") {
                    let found =
                        files.iter().find(|(path, _)| *path == name).map(|(_, content)| content.clone());
                    assert_eq!(found, Some(fs::read(&path).unwrap()), "{word}: {name}");
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_packages() {
        for (name, sound) in
            [("big-orders", true), ("a1", true), ("1a", false), ("Big", false), ("-a", false)]
        {
            let checked = PluginId::new(name).map_err(anyhow::Error::from).and_then(|name| check_name(&name));
            assert_eq!(checked.is_ok(), sound, "{name}");
        }
    }
}
