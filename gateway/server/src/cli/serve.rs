//! `hookweir serve`: the life of the gateway's process.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::Exit;
use crate::app::{App, NotTaken, Refused};
use crate::config::{self, StdEnv};
use crate::log;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "hookweir.toml")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    log::start("info");
    let loaded = match config::load(&args.config, &StdEnv) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{}", problems.render(std::io::stderr().is_terminal()));
            return Ok(Exit::WrongConfiguration);
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start")?;
    let code = runtime.block_on(live(args, loaded));
    // What hangs in a blocking call after an orderly stop is not waited for.
    runtime.shutdown_background();
    code
}

/// Start, run until a signal or a broken journal, drain.
async fn live(args: &Args, config: config::Config) -> Result<Exit> {
    warn_of(&config.warnings);
    let mut end = End::new().context("failed to listen for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for signals")?;
    let app = match App::start(config).await {
        Ok(app) => app,
        Err(Refused::Configuration(problems)) => {
            report(&problems);
            return Ok(Exit::WrongConfiguration);
        }
        Err(Refused::Machine(error)) => return Err(error),
    };
    println!("accept listening on {}", app.accept_addr);
    println!("admin listening on {}", app.admin_addr);
    let code = loop {
        tokio::select! {
            () = end.asked() => {
                info!("stopping: what is in flight has ten seconds; a second signal ends at once");
                break Exit::Done;
            }
            () = app.broken() => {
                error!("stopping: the journal can't be relied on; start again to read what is really there");
                break Exit::Failed;
            }
            _ = hangup.recv() => reload(&app, args).await,
        }
    };
    tokio::select! {
        () = app.stop() => {}
        () = end.asked() => {
            error!("ended at once by a second signal; deliveries in flight stay pending");
            return Ok(Exit::Failed);
        }
    }
    info!("stopped");
    Ok(code)
}

async fn reload(app: &App, args: &Args) {
    match app.reload(|| config::load(&args.config, &StdEnv)).await {
        Ok(()) => {
            info!("the new configuration is in force");
            warn_of(&app.live().config.warnings);
        }
        Err(NotTaken::Files(problems)) => error!(
            problems = problems.render(false),
            "the new configuration has problems; the old one stays in force"
        ),
        Err(NotTaken::Configuration(problems)) => {
            for problem in &problems {
                error!(
                    problem = format!("{problem:#}"),
                    "the new configuration has problems; the old one stays in force"
                );
            }
        }
    }
}

fn warn_of(warnings: &[config::Warning]) {
    for warning in warnings {
        warn!("in the configuration: {warning}");
    }
}

fn report(problems: &[anyhow::Error]) {
    for problem in problems {
        eprintln!("error: {problem:#}");
    }
    eprintln!(
        "{} in the configuration",
        if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) }
    );
}

/// The two signals that ask for an end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
