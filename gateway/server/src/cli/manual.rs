//! `hookweir completions` and `hookweir man`: what shells and `man` know of the command line, made from its definition.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hookweir completions bash > ~/.local/share/bash-completion/completions/hookweir
  hookweir completions zsh > \"${fpath[1]}/_hookweir\"
  hookweir completions fish > ~/.config/fish/completions/hookweir.fish")]
pub(crate) struct CompletionsArgs {
    /// Whose completions to print
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hookweir man ~/.local/share/man/man1 && man hookweir-delivery-list")]
pub(crate) struct ManArgs {
    /// The folder that the pages are written to, one for each command
    folder: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hookweir", &mut text);
    show::print(&String::from_utf8(text).context("a completion script is no text")?)?;
    Ok(Exit::Done)
}

pub(crate) fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("can't write the pages into {}", folder.display()))?;
    show::print(&format!("the pages are in {}\n", folder.display()))?;
    Ok(Exit::Done)
}
