//! `hookweir serve`: the life of the gateway's process.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use super::{Exit, show};
use crate::app::{App, NotTaken, Refused};
use crate::config::{self, StdEnv};
use crate::core_dumps;
use crate::log;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "hookweir.toml")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    log::start("info").context("failed to start the log")?;
    core_dumps::forbid();
    let loaded = match config::load(&args.config, &StdEnv) {
        Ok(loaded) => loaded,
        Err(problems) => {
            log::say(&problems.render(std::io::stderr().is_terminal()));
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
    // A start may take minutes: it compiles plugins. The end is heard meanwhile, and ends the compiler with it.
    let started = tokio::select! {
        started = App::start(config) => started,
        () = end.asked() => {
            info!(target: "hookweir::process", "ended before it was ready");
            return Ok(Exit::Done);
        }
    };
    let app = match started {
        Ok(app) => app,
        Err(Refused::Configuration(problems)) => {
            report(&problems);
            return Ok(Exit::WrongConfiguration);
        }
        Err(Refused::Machine(error)) => return Err(error),
    };
    tell_troubles(&app);
    announce(&app)?;
    // A reload compiles too: it is given up where the gateway ends.
    let reloads = async {
        loop {
            hangup.recv().await;
            reload(&app, args).await;
        }
    };
    let code = tokio::select! {
        () = end.asked() => {
            info!(
                target: "hookweir::process",
                "stopping: what is in flight has ten seconds; a second signal ends at once"
            );
            Exit::Done
        }
        () = app.broken() => {
            error!(
                target: "hookweir::process",
                "stopping: the journal can't be relied on; start again to read what is really there"
            );
            Exit::Failed
        }
        never = reloads => never,
    };
    tokio::select! {
        () = app.stop() => {}
        () = end.asked() => {
            error!(
                target: "hookweir::process",
                "ended at once by a second signal; deliveries in flight stay pending"
            );
            return Ok(Exit::Failed);
        }
    }
    info!(target: "hookweir::process", "stopped");
    Ok(code)
}

async fn reload(app: &App, args: &Args) {
    match app.reload(|| config::load(&args.config, &StdEnv)).await {
        Ok(()) => {
            info!(target: "hookweir::config", "the new configuration is in force");
            tell_troubles(app);
            warn_of(&app.live().config.warnings);
        }
        Err(NotTaken::Files(problems)) => error!(
            target: "hookweir::config",
            problems = problems.render(false),
            "the new configuration has problems; the old one stays in force"
        ),
        Err(NotTaken::Configuration(problems)) => {
            for problem in &problems {
                error!(
                    target: "hookweir::config",
                    problem = format!("{problem:#}"),
                    "the new configuration has problems; the old one stays in force"
                );
            }
        }
    }
}

/// Prints the addresses on standard output, from a thread of its own: nobody may read that, or it may be closed or full.
fn announce(app: &App) -> Result<()> {
    let text = format!("accept listening on {}\nadmin listening on {}\n", app.accept_addr, app.admin_addr);
    let print = move || {
        if let Err(error) = show::print(&text) {
            debug!(target: "hookweir::process", %error, "the addresses can't be printed on standard output");
        }
    };
    std::thread::Builder::new().name("stdout".to_owned()).spawn(print).context("failed to start a thread")?;
    Ok(())
}

/// Tells what of the configuration is not in force.
fn tell_troubles(app: &App) {
    for problem in &app.live().troubles {
        error!(
            target: "hookweir::config",
            problem,
            "a part of the configuration can't be used: it stays as it was, or is off; the rest is in force"
        );
    }
}

fn warn_of(warnings: &[config::Warning]) {
    for warning in warnings.iter().filter(|warning| warning.severity == config::Severity::Warning) {
        warn!(target: "hookweir::config", "in the configuration: {warning}");
    }
}

fn report(problems: &[anyhow::Error]) {
    let mut text = String::new();
    // Writing to a String does not fail.
    for problem in problems {
        let _ = writeln!(text, "error: {problem:#}");
    }
    let _ = match problems.len() {
        1 => writeln!(text, "1 problem in the configuration"),
        count => writeln!(text, "{count} problems in the configuration"),
    };
    log::say(&text);
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
