//! `hookweir plugin compile`: machine code for gateways that have no compiler.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::local::Local;
use crate::cli::{Exit, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A gateway that was built without the compiler takes a plugin only where its machine code lies in the data directory.
It must come from the same version of hookweir, on a machine whose processor can do no more than the gateway's.

Example:
  hookweir plugin compile plugins/*.wasm --data out && scp -r out/plugins edge:/var/lib/hookweir/")]
pub(crate) struct Args {
    /// The components
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The data directory of a gateway, or a folder to copy into one: machine code goes into `plugins` in it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    let local = Local::at(&args.data)?;
    for file in &args.files {
        let wasm = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
        let plugin = local.load(wasm).with_context(|| format!("{} was not compiled", file.display()))?;
        show::print(&format!("{} {}\n", plugin.digest(), show::escaped(&file.display().to_string())))?;
    }
    Ok(Exit::Done)
}
