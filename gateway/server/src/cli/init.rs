//! `hookweir init`: a folder with a configuration that works as it is, its key and its secret, and the commands that
//! come next. The receiver is on this machine, so that a first event arrives without anything else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::Usage;
use super::{Exit, secret, show};

/// The configuration, with the ports of [`Ports::default`].
const CONFIGURATION: &str = include_str!("init/hookweir.toml");

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hookweir init                            in the current folder
  hookweir init trial --accept-port 18080  in a new folder, where port 8080 is taken")]
pub(crate) struct Args {
    /// The folder to write into; it is made if it is not there
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// The port for senders, at 127.0.0.1
    #[arg(long, value_name = "N", default_value_t = Ports::default().accept)]
    accept_port: u16,
    /// The port for the dashboard, the API and metrics, at 127.0.0.1
    #[arg(long, value_name = "N", default_value_t = Ports::default().admin)]
    admin_port: u16,
    /// The port of the receiver, at 127.0.0.1
    #[arg(long, value_name = "N", default_value_t = Ports::default().receiver)]
    receiver_port: u16,
}

/// The ports of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    accept: u16,
    admin: u16,
    receiver: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { accept: 8080, admin: 9080, receiver: 9000 }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let ports = Ports { accept: args.accept_port, admin: args.admin_port, receiver: args.receiver_port };
    let Ports { accept, admin, receiver } = ports;
    if accept == 0
        || admin == 0
        || receiver == 0
        || accept == admin
        || accept == receiver
        || admin == receiver
    {
        return Err(Usage("give three different ports of 1 to 65535".to_owned()).into());
    }
    let folder = &args.folder;
    let (configuration, secrets) = (folder.join("hookweir.toml"), folder.join("secrets"));
    let (key, signing) = (secrets.join("acme.key"), secrets.join("billing.secret"));
    // Looked at first, so that a folder that is in use is left as it is.
    if let Some(taken) = [&configuration, &key, &signing].into_iter().find(|path| path.exists()) {
        anyhow::bail!("{} exists already: nothing was written; name another folder", taken.display());
    }
    fs::create_dir_all(&secrets).with_context(|| format!("can't make {}", secrets.display()))?;
    secret::write_new(&key, &secret::api_key()?)?;
    secret::write_new(&signing, &secret::signing_secret()?)?;
    fs::write(&configuration, text(ports))
        .with_context(|| format!("can't write {}", configuration.display()))?;
    show::print(&said(folder, ports))?;
    Ok(Exit::Done)
}

/// The configuration's text with other ports.
fn text(ports: Ports) -> String {
    let Ports { accept, admin, receiver } = Ports::default();
    CONFIGURATION
        .replace(&format!("127.0.0.1:{accept}\""), &format!("127.0.0.1:{}\"", ports.accept))
        .replace(&format!("127.0.0.1:{admin}\""), &format!("127.0.0.1:{}\"", ports.admin))
        .replace(&format!("127.0.0.1:{receiver}/"), &format!("127.0.0.1:{}/", ports.receiver))
        .replace(&format!("[{receiver}]"), &format!("[{}]", ports.receiver))
}

/// What was written, and the commands that come next.
fn said(folder: &Path, ports: Ports) -> String {
    let usual = Ports::default();
    let file =
        |name: &str| folder.join(name).strip_prefix(".").map_or_else(|_| folder.join(name), Path::to_owned);
    let option =
        |name: &str, is: u16, usual: u16| if is == usual { String::new() } else { format!(" --{name} {is}") };
    let address = |name: &str, is: u16, usual: u16| {
        if is == usual { String::new() } else { format!(" --{name} http://127.0.0.1:{is}") }
    };
    let written = [
        ("hookweir.toml", "the configuration: tenant acme, endpoint billing"),
        ("secrets/acme.key", "the key that acme's senders send with"),
        ("secrets/billing.secret", "the secret that requests to billing are signed with"),
    ]
    .map(|(name, what)| (file(name).display().to_string(), what));
    let width = written.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text: String = written.iter().map(|(name, what)| format!("{name:<width$}  {what}\n")).collect();
    let place = if folder == Path::new(".") { String::new() } else { format!(" in {}", folder.display()) };
    text.push_str(&format!(
        "
Next{place}, the first two each in a terminal of its own:
  hookweir serve
  hookweir listen{port} --secret-file secrets/billing.secret
  HOOKWEIR_KEY=$(cat secrets/acme.key) hookweir event send{accept} --tenant acme --type invoice.paid --subject A-17 \\
      --data '{{\"amount\": 250, \"customer\": \"Ada\"}}'
  hookweir delivery list{admin} --tenant acme
The dashboard is at http://127.0.0.1:{dashboard}/
",
        port = option("port", ports.receiver, usual.receiver),
        accept = address("to", ports.accept, usual.accept),
        admin = address("admin", ports.admin, usual.admin),
        dashboard = ports.admin,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_the_ports_that_were_asked_for_and_no_other() {
        assert_eq!(text(Ports::default()), CONFIGURATION);
        let made = text(Ports { accept: 1, admin: 2, receiver: 3 });
        for (wanted, left) in [
            ("listen = \"127.0.0.1:1\"", "8080"),
            ("listen = \"127.0.0.1:2\"", "9080"),
            ("\"http://127.0.0.1:3/billing\"", "9000"),
            ("allow_ports = [3]", "[9000]"),
        ] {
            assert!(made.contains(wanted) && !made.contains(left), "{wanted}\n{made}");
        }
    }

    #[test]
    fn the_next_commands_name_what_is_not_usual() {
        let usual = said(Path::new("."), Ports::default());
        assert!(usual.starts_with("hookweir.toml "), "{usual}");
        assert!(
            !usual.contains("--port") && !usual.contains("--to") && !usual.contains("--admin"),
            "{usual}"
        );
        let other = said(Path::new("trial"), Ports { accept: 1, admin: 2, receiver: 3 });
        for words in [
            "trial/hookweir.toml ",
            "in trial,",
            "--port 3 ",
            "--to http://127.0.0.1:1 ",
            "--admin http://127.0.0.1:2 ",
        ] {
            assert!(other.contains(words), "no {words:?} in {other}");
        }
    }
}
