//! `hookweir plugin`: a plugin's life in a gateway. These commands are clients of the admin listener.

mod dry_run;
mod push;
mod remote;

use super::{Exit, client};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Send a component to the gateway, which checks it and puts it in force
    Push(push::Args),
    /// List a tenant's plugins with the components that they have
    List(remote::ListArgs),
    /// Show one plugin
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
        Command::Push(args) => client(push::run(args)),
        Command::List(args) => client(remote::list(args)),
        Command::Get(args) => client(remote::get(args)),
        Command::Rollback(args) => client(remote::rollback(args)),
        Command::Pause(args) => client(remote::pause(args)),
        Command::Resume(args) => client(remote::resume(args)),
    }
}
