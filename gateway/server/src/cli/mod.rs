//! The command line: what was typed, read by clap, and handed to the module of that command.
//!
//! Commands that look at a gateway from outside are clients of its HTTP interface (`client`), so they can do nothing
//! that another client could not. Only `serve`, `demo` and `bench` bring a gateway up, and only `check` and `serve`
//! read its configuration. `db` and `--data` look into the files of a gateway that is not running.

mod attempt;
#[cfg(feature = "bench")]
mod bench;
mod check;
mod client;
mod damage;
mod db;
mod delivery;
mod demo;
mod endpoint;
mod event;
mod exit;
mod init;
mod input;
mod listen;
mod look;
#[cfg(feature = "manual")]
mod manual;
mod plugin;
mod progress;
mod queue;
mod recover;
mod replay;
mod secret;
mod secret_args;
mod serve;
mod show;
mod sign;
mod tail;
mod verify;
mod watch;
mod when;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use hookweir_model::TenantId;

pub(crate) use exit::Exit;

use crate::log;

#[derive(Debug, clap::Parser)]
#[command(
    name = "hookweir",
    bin_name = "hookweir",
    version,
    about = "A webhook gateway that its tenants can program",
    after_help = "\
Start here:
  hookweir demo --once                 see an event's whole way in a few seconds
  hookweir init                        write a configuration to begin with
  hookweir check && hookweir serve     run a gateway with ./hookweir.toml
  hookweir listen                      see what a gateway sends, and whether its signature is right

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a gateway, a receiver and a sample tenant in one process, and show each event's way
    Demo(demo::Args),
    /// Write a configuration that works as it is, with its key and secret, and say what comes next
    Init(init::Args),
    /// Run the gateway
    Serve(serve::Args),
    /// Report every problem in a configuration, with file, line and column
    Check(check::Args),
    /// Send events, and look up those that were taken in
    #[command(subcommand)]
    Event(event::Command),
    /// See what became of events at their endpoints, and try again
    #[command(subcommand)]
    Delivery(delivery::Command),
    /// Follow what happens: events that are taken in, and what becomes of each delivery
    Tail(tail::Args),
    /// See how endpoints fare, and switch them off and on
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// Receive from a queue in the gateway, and see how it fares
    #[command(subcommand)]
    Queue(queue::Command),
    /// Make a plugin, build, test and measure it, put it in force and see how it fares
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Send again what an endpoint has missed since a time
    Recover(recover::Args),
    /// Send one event anew to every endpoint that wants it
    Replay(replay::Args),
    /// Make secrets, key pairs and API keys
    #[command(subcommand)]
    Secret(secret::Command),
    /// Make a Standard Webhooks signature
    Sign(sign::Args),
    /// Check a Standard Webhooks signature
    Verify(verify::Args),
    /// See what a gateway has found damaged in its journal, and mark it as seen
    #[command(subcommand)]
    Damage(damage::Command),
    /// Look after the journal of a gateway that is not running
    #[command(subcommand)]
    Db(db::Command),
    /// Receive webhooks on this machine, print them and check their signatures
    Listen(listen::Args),
    /// Measure a gateway beside a bare relay
    #[cfg(feature = "bench")]
    Bench(bench::Args),
    /// Print what a shell needs to complete commands and options
    #[cfg(feature = "manual")]
    Completions(manual::CompletionsArgs),
    /// Write the manual pages
    #[cfg(feature = "manual")]
    Man(manual::ManArgs),
    /// Compile one plugin; the gateway calls this in a process of its own
    #[command(hide = true)]
    CompilePlugin,
}

/// Whose data a command is about.
#[derive(Debug, Clone, clap::Args)]
struct TenantArg {
    /// The tenant's name
    #[arg(long, env = "HOOKWEIR_TENANT")]
    tenant: TenantId,
}

impl TenantArg {
    fn as_str(&self) -> &str {
        self.tenant.as_str()
    }
}

/// Which part of a list.
#[derive(Debug, Clone, clap::Args)]
struct Paging {
    /// How many to list at most [default: what the gateway gives]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Read on from here, as the last page said
    #[arg(long)]
    cursor: Option<String>,
}

impl Paging {
    /// The start of a list's query.
    fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        limit.into_iter().chain(self.cursor.clone().map(|cursor| ("cursor", cursor))).collect()
    }
}

/// Does what the process's arguments say.
pub(crate) fn run() -> ExitCode {
    // Clients ask for the process's one TLS provider. It fails where there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version are asked for, all else is a mistake. Nobody is left to hear that printing failed.
            let _ = refusal.print();
            return if refusal.use_stderr() { Exit::WrongUsage } else { Exit::Done }.into();
        }
    };
    let exit = match dispatch(cli.command) {
        Ok(exit) => exit,
        Err(error) if exit::is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            log::say(&exit::explained(&error));
            let exit = if error.is::<exit::Usage>() { Exit::WrongUsage } else { Exit::Failed };
            exit.into()
        }
    };
    log::flush();
    exit
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let exit = match command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Event(command) => client(event::run(command)),
        Command::Delivery(command) => client(delivery::run(command)),
        Command::Tail(args) => client(tail::run(args)),
        Command::Endpoint(command) => client(endpoint::run(command)),
        Command::Queue(command) => client(queue::run(command)),
        Command::Plugin(command) => plugin::run(command),
        Command::Recover(args) => client(recover::run(args)),
        Command::Replay(args) => client(replay::run(args)),
        Command::Secret(command) => secret::run(&command),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Damage(command) => client(damage::run(command)),
        Command::Db(command) => db::run(&command),
        Command::Listen(args) => client(listen::run(args)),
        #[cfg(feature = "bench")]
        Command::Bench(args) => bench::run(args).map(|()| Exit::Done),
        #[cfg(feature = "manual")]
        Command::Completions(args) => manual::completions(&args),
        #[cfg(feature = "manual")]
        Command::Man(args) => manual::man(&args),
        Command::CompilePlugin => return Ok(hookweir_host::compile_child()),
    };
    exit.map(ExitCode::from)
}

/// Runs a command that does little but wait for the network: one thread is enough for it.
fn client(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_list_is_asked_for_by_part() {
        let paging = Paging { limit: Some(5), cursor: Some("c".to_owned()) };
        assert_eq!(paging.query(), [("limit", "5".to_owned()), ("cursor", "c".to_owned())]);
        assert!(Paging { limit: None, cursor: None }.query().is_empty());
    }

    #[test]
    fn no_secret_shows_in_what_was_typed() {
        for typed in [
            "hookweir replay --tenant acme evt_1 --token hush-hush",
            "hookweir event send --tenant acme --type a --data 1 --key hush-hush",
            "hookweir listen --secret hush-hush",
        ] {
            let debug = format!("{:?}", Cli::try_parse_from(typed.split(' ')).unwrap());
            assert!(!debug.contains("hush-hush"), "{debug}");
        }
    }
}
