//! `hookweir sign`: the headers that a signed webhook carries, for whoever tests a receiver.

use std::path::PathBuf;

use anyhow::Context as _;
use hookweir_delivery::sign::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, sign_standard};
use hookweir_model::{EventId, Timestamp};

use super::secret_args::SecretArgs;
use super::{Exit, input, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export HOOKWEIR_SECRET=whsec_...
  hookweir sign --id evt_1 --file body.json
  printf '{\"test\": 1}' | hookweir sign --id evt_1 --timestamp 1614265330")]
pub(crate) struct Args {
    #[command(flatten)]
    secrets: SecretArgs,
    /// The id to sign, the value of webhook-id
    #[arg(long)]
    id: EventId,
    /// The time to sign, in Unix seconds [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<i64>,
    /// The body, to the byte [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the headers as a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let keys = args.secrets.signing()?;
    let body = input::read(args.file.as_ref())?;
    let timestamp = args.timestamp.unwrap_or_else(|| Timestamp::now().as_seconds());
    let signature = sign_standard(&keys, args.id.as_str(), timestamp, &body);
    let timestamp = timestamp.to_string();
    let headers = [
        (WEBHOOK_ID, args.id.as_str()),
        (WEBHOOK_TIMESTAMP, timestamp.as_str()),
        (WEBHOOK_SIGNATURE, signature.as_str()),
    ];
    let text = if args.json {
        let object: serde_json::Map<_, _> =
            headers.iter().map(|(name, value)| (name.to_string(), (*value).into())).collect();
        serde_json::to_string(&object).context("can't write the headers as JSON")? + "\n"
    } else {
        headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    };
    show::print(&text)?;
    Ok(Exit::Done)
}
