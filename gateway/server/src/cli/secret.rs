//! `hookweir secret new`: random secrets in the forms that a configuration takes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookweir_delivery::sign::{Algorithm, NewSecret};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Exit, show};

/// Random bytes of a secret: as many as the digest of its signature has.
const RANDOM: usize = 32;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a random signing secret, a key pair or an API key
    #[command(after_help = "\
Examples:
  hookweir secret new                                     whsec_..., for `secret` of an endpoint
  hookweir secret new --ed25519 --file secrets/billing    the receiver gets the whpk_... that is printed
  hookweir secret new --key --file secrets/acme.key       for `keys` of a tenant, or `admin.token`")]
    New(NewArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// An Ed25519 key pair: whsk_... signs, and whpk_... is what a receiver verifies with
    #[arg(long, conflicts_with = "key")]
    ed25519: bool,
    /// An API key of a tenant or an operator
    #[arg(long)]
    key: bool,
    /// Write the secret into this new file, readable by its owner alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    let Command::New(args) = command;
    let NewSecret { secret, public } = match args {
        NewArgs { key: true, .. } => NewSecret { secret: api_key()?, public: None },
        NewArgs { ed25519: true, .. } => Algorithm::Ed25519.secret(random()?),
        _ => Algorithm::HmacSha256.secret(random()?),
    };
    if let Some(path) = &args.file {
        write_new(path, &secret)?;
    }
    let printed = args.file.is_none().then(|| secret.expose_secret());
    let text = if args.json {
        let object = serde_json::json!({ "secret": printed, "public": public, "file": args.file });
        format!("{object}\n")
    } else {
        printed.into_iter().chain(public.as_deref()).map(|line| format!("{line}\n")).collect()
    };
    show::print(&text)?;
    Ok(Exit::Done)
}

/// A bearer key. Its prefix lets programs that look for leaked secrets find it.
pub(super) fn api_key() -> anyhow::Result<SecretString> {
    Ok(format!("hwk_{}", URL_SAFE_NO_PAD.encode(random()?)).into())
}

/// A secret to sign with.
pub(super) fn signing_secret() -> anyhow::Result<SecretString> {
    Ok(Algorithm::HmacSha256.secret(random()?).secret)
}

fn random() -> anyhow::Result<[u8; RANDOM]> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random).context("the system gives no random bytes")?;
    Ok(random)
}

/// Writes a secret into a file that was not there before, readable by its owner alone.
pub(super) fn write_new(path: &Path, secret: &SecretString) -> anyhow::Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.with_context(|| match path.try_exists() {
        Ok(true) => format!("{} exists already: remove it, or name another file", path.display()),
        _ => format!("can't make {}", path.display()),
    })?;
    let written = writeln!(file, "{}", secret.expose_secret()).and_then(|()| file.sync_all());
    // A part of a secret would be taken for one.
    written
        .inspect_err(|_| _ = std::fs::remove_file(path))
        .with_context(|| format!("can't write {}", path.display()))
}
