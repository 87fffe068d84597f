//! `hookweir plugin`: make a plugin, build it, test it, look into it and measure it, all on this machine and under the
//! limits that a gateway would set.

mod bench;
mod build;
mod folder;
mod histogram;
mod inspect;
mod local;
mod new;
mod results;
mod test;
mod toolchain;

use super::Exit;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the folder of a new plugin, with source, sample events and what they should come to
    New(new::Args),
    /// Build the component of a plugin's folder
    Build(build::Args),
    /// Run a plugin on its sample events, under a gateway's limits, and compare what it makes of them
    Test(test::Args),
    /// Say what a component is, what it wants, and whether a gateway would take it
    Inspect(inspect::Args),
    /// Measure what a plugin's calls cost, with fresh instances and with a reused one
    Bench(bench::Args),
}

pub(super) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
