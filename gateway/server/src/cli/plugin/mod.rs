//! `hookweir plugin`: make a plugin, build it, test it, look into it and measure it, on this machine and under the limits
//! that a gateway would set; then put it in force in a gateway and steer it there, as a client of the admin listener.

mod bench;
mod build;
mod compile;
mod dry_run;
mod folder;
mod guard;
mod histogram;
mod inspect;
mod local;
mod new;
mod push;
mod remote;
mod results;
mod test;
mod toolchain;

use super::{Exit, client};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the folder of a new plugin, with source, sample events and what they should come to
    New(new::Args),
    /// Build the component of a plugin's folder
    Build(build::Args),
    /// Run a plugin on its sample events and compare what it makes of them, or on a tenant's stored events
    Test(Box<test::Args>),
    /// Say what a component is, what it wants, and whether a gateway would take it
    Inspect(inspect::Args),
    /// Compile components for a gateway that was built without the compiler
    Compile(compile::Args),
    /// Measure what a plugin's calls cost, with fresh instances and with a reused one
    Bench(bench::Args),
    /// Send a component to the gateway, which checks it and puts it in force
    Push(push::Args),
    /// List a tenant's plugins with the components that they have
    List(remote::ListArgs),
    /// Show one plugin of a tenant
    Get(remote::One),
    /// Put the component in force that was there before
    Rollback(remote::One),
    /// Call a plugin no more; deliveries that need it wait
    Pause(remote::One),
    /// Call a paused plugin again; what waited for it is delivered
    Resume(remote::One),
}

pub(super) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Push(args) => client(push::run(args)),
        Command::List(args) => client(remote::list(args)),
        Command::Get(args) => client(remote::get(args)),
        Command::Rollback(args) => client(remote::rollback(args)),
        Command::Pause(args) => client(remote::pause(args)),
        Command::Resume(args) => client(remote::resume(args)),
    }
}
