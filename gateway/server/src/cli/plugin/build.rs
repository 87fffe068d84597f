//! `hookweir plugin build`: from a plugin's folder to its component, with the toolchain of its language.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use hookweir_host::Inspection;
use serde::Deserialize;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::toolchain::{Machine, Makes, Recipe};
use super::{folder, guard, inspect};
use crate::cli::progress::Progress;
use crate::cli::{Exit, show};
use crate::config::PluginFolder;
use crate::log;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin's folder
    #[arg(default_value = ".")]
    path: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    let mut plugin = folder::read(&args.path)?;
    // The tools run in the folder, so paths into it must not depend on where the command was typed.
    plugin.folder = fs::canonicalize(&plugin.folder).context("can't find the plugin's folder")?;
    let scratch = tempfile::tempdir().context("can't make a folder to build in")?;
    let output = scratch.path().join("built.wasm");
    let recipe = Machine::this().recipe(&plugin, &output)?;
    guard::write(&plugin)?;
    let built = make(&recipe, &plugin, output)?;
    let component =
        component(&plugin, fs::read(&built).with_context(|| format!("can't read {}", built.display()))?)?;

    let shown = plugin.component.display().to_string();
    let found =
        Inspection::of(&component).map_err(|error| anyhow::anyhow!("the build made no plugin: {error}"))?;
    if let Err(refusal) = found.verdict() {
        show::print(&inspect::told(&found, Some(&refusal.to_string())))?;
        anyhow::bail!("a gateway would refuse this plugin: {refusal}");
    }
    put(&plugin.component, &component)?;
    show::print(&format!("{shown}\n{}", inspect::told(&found, None)))?;
    Ok(Exit::Done)
}

/// Runs the language's own tool, and answers where its result is.
fn make(recipe: &Recipe, plugin: &PluginFolder, output: PathBuf) -> Result<PathBuf> {
    let name = recipe.program.display();
    // Cargo tells of its progress by itself.
    let progress = (recipe.makes == Makes::Output).then(|| Progress::of(format!("{name} is at work")));
    let ran = Command::new(&recipe.program)
        .args(&recipe.args)
        .current_dir(&plugin.folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't run {name}"))?;
    if let Some(progress) = progress {
        progress.end();
    }
    let said = String::from_utf8_lossy(&ran.stdout);
    if !ran.status.success() {
        if recipe.makes == Makes::Output {
            log::say(&show::block(&said, ""));
        }
        anyhow::bail!("{name} failed: {}", ran.status);
    }
    match recipe.makes {
        Makes::Output => Ok(output),
        Makes::CargoArtifact => artifact(&said).with_context(|| {
            "cargo built no WebAssembly: set `crate-type = [\"cdylib\"]` under [lib] in Cargo.toml".to_owned()
        }),
    }
}

/// The WebAssembly file that cargo says it made last: the package's own comes after those that it depends on.
fn artifact(messages: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .flat_map(|message| message.filenames)
        .rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// Makes a component of a core module; a component stays as it is.
fn component(plugin: &PluginFolder, mut wasm: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(wasm.starts_with(b"\0asm"), "what was built is not WebAssembly");
    if wasmparser::Parser::is_component(&wasm) {
        return Ok(wasm);
    }
    // Bindings that were generated have put the types of the world into the module already.
    if !has_world(&wasm) {
        let wit = plugin.folder.join("wit");
        let mut resolve = Resolve::default();
        let (package, _) =
            resolve.push_path(&wit).with_context(|| format!("can't read {}", wit.display()))?;
        let world = resolve.select_world(&[package], Some(plugin.world));
        let world = world.with_context(|| format!("{} has no world `{}`", wit.display(), plugin.world))?;
        embed_component_metadata(&mut wasm, &resolve, world, StringEncoding::UTF8)?;
    }
    let encoded =
        ComponentEncoder::default().validate(true).module(&wasm).and_then(|mut encoder| encoder.encode());
    encoded.with_context(|| format!("the module does not fit the world `{}` of its wit folder", plugin.world))
}

fn has_world(module: &[u8]) -> bool {
    let payloads = wasmparser::Parser::new(0).parse_all(module);
    payloads.filter_map(Result::ok).any(|payload| match payload {
        wasmparser::Payload::CustomSection(section) => section.name().starts_with("component-type"),
        _ => false,
    })
}

/// Writes the component so that whoever reads the file finds the old one or the new one whole.
fn put(path: &Path, component: &[u8]) -> Result<()> {
    let failed = || format!("can't write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(failed)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    std::io::Write::write_all(&mut draft, component).with_context(failed)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(draft.path(), readable).with_context(failed)?;
    draft.persist(path).map(drop).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_artifact_of_cargo_is_the_packages_own() {
        let messages = r#"
            {"reason":"compiler-artifact","filenames":["/t/libserde.rlib"]}
            {"reason":"compiler-artifact","filenames":["/t/dep.wasm"]}
            not a message
            {"reason":"compiler-artifact","filenames":["/t/plugin.d","/t/plugin.wasm"]}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages), Some(PathBuf::from("/t/plugin.wasm")));
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn types_of_a_world_are_found_in_a_module() {
        let bare = wat::parse_str("(module)").unwrap();
        assert!(!has_world(&bare));
        let typed = wat::parse_str(r#"(module (@custom "component-type:plugin" ""))"#).unwrap();
        assert!(has_world(&typed));
    }
}
