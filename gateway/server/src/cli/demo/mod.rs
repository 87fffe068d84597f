//! `hookweir demo`: a gateway, a receiver and a sample tenant in one process. It shows the real thing: the events go
//! through the listeners, the journal, the plugins and the signatures, and what is printed was asked from the admin
//! listener or seen by the receiver.

mod receiver;
mod tour;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::receiver::Receiver;
use super::{Exit, show};
use crate::app::{App, Refused};
use crate::config::{self, StdEnv};
use crate::log;

/// A key and a secret for this machine's loopback alone; they guard nothing.
const KEY: &str = "demo-key-demo-key";
const SECRET: &str = "whsec_aG9va3dlaXItZGVtby1zZWNyZXQtaG9va3dlaXI=";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the tour instead of waiting for more events
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args) -> Result<Exit> {
    log::start("error").context("failed to start the log")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start")?;
    let shown = runtime.block_on(demonstrate(args));
    runtime.shutdown_background();
    shown.map(|()| Exit::Done)
}

async fn demonstrate(args: &Args) -> Result<()> {
    let receiver = Receiver::start(SECRET).await?;
    let folder = tempfile::tempdir().context("failed to make a folder for the demo")?;
    let file = write_sample(folder.path(), &receiver)?;
    let config = match config::load(&file, &StdEnv) {
        Ok(config) => config,
        Err(problems) => bail!("the sample configuration has problems: {}", problems.render(false)),
    };
    let app = match App::start(config).await {
        Ok(app) => app,
        Err(Refused::Machine(error)) => return Err(error),
        Err(Refused::Configuration(mut problems)) => match problems.pop() {
            Some(problem) => return Err(problem.context("the sample configuration can't be used")),
            None => bail!("the sample configuration can't be used"),
        },
    };
    let shown = guide(&app, &receiver, folder.path(), args.once).await;
    app.stop().await;
    shown
}

async fn guide(app: &App, receiver: &Receiver, folder: &Path, once: bool) -> Result<()> {
    show::print(&format!(
        "gateway   accept {}, admin {}\n\
         receiver  {} (verifies each signature)\n\
         tenant    demo: endpoint 'chat' with filter keep-above and transformer to-slack, endpoint 'archive' as it comes\n",
        app.accept_addr,
        app.admin_addr,
        receiver.url()
    ))?;
    tour::run(app, receiver).await?;
    if once {
        return Ok(());
    }
    show::print(&format!(
        "\nThe gateway keeps running; send it more:\n  \
         hookweir event send --to http://{} --key {KEY} --tenant demo --type order.created --data '{{\"amount\": 250}}'\n  \
         hookweir delivery list --admin http://{} --tenant demo\n\
         Ctrl-C ends it; its data in {} goes with it.\n",
        app.accept_addr,
        app.admin_addr,
        folder.display()
    ))?;
    tokio::signal::ctrl_c().await.context("failed to wait for Ctrl-C")
}

/// Writes the configuration that a user would write.
fn write_sample(folder: &Path, receiver: &Receiver) -> Result<PathBuf> {
    let url = receiver.url();
    let text = format!(
        r#"allow_inline_secrets = true

[accept]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"

[journal]
path = "data"

[egress]
allow_cidrs = ["127.0.0.0/8"]
allow_ports = []

[tenants.demo]
keys = ["{KEY}"]

[tenants.demo.plugins.keep-above]
builtin = "keep-above"
config = {{ field = "amount", minimum = 100 }}

[tenants.demo.plugins.to-slack]
builtin = "to-slack"
config = {{ title = "New order {{subject}}", fields = ["amount", "customer"] }}

[tenants.demo.endpoints.chat]
url = "{url}/chat"
event_types = ["order.*"]
filters = ["keep-above"]
transformers = ["to-slack"]
secret = "{SECRET}"
retry = {{ waits = ["1s", "2s"], jitter = 0.0 }}

[tenants.demo.endpoints.archive]
url = "{url}/archive"
secret = "{SECRET}"
retry = {{ waits = ["1s", "2s"], jitter = 0.0 }}
"#
    );
    let path = folder.join("hookweir.toml");
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}
