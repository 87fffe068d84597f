//! `hookweir verify`: whether a webhook's signature is right, and if not, why.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hookweir_delivery::sign::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, verify_standard};
use hookweir_model::Timestamp;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use super::secret_args::SecretArgs;
use super::{Exit, input, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  export HOOKWEIR_SECRET=whsec_...
  hookweir verify --id evt_1 --timestamp 1614265330 --signature v1,g0hM9SsE... --file body.json --tolerance 10y

Exits with 0 where the signature is right, and with 1 where it is not.")]
pub(crate) struct Args {
    #[command(flatten)]
    secrets: SecretArgs,
    /// The value of webhook-id
    #[arg(long)]
    id: String,
    /// The value of webhook-timestamp
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    timestamp: String,
    /// The value of webhook-signature, with all the signatures in it
    #[arg(long, value_name = "SIGNATURES")]
    signature: String,
    /// How far from now the timestamp may be
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    tolerance: Duration,
    /// The body, to the byte [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the verdict as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Verdict {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let keys = args.secrets.verifying()?;
    let mut headers = HeaderMap::new();
    for (name, option, value) in [
        (WEBHOOK_ID, "--id", &args.id),
        (WEBHOOK_TIMESTAMP, "--timestamp", &args.timestamp),
        (WEBHOOK_SIGNATURE, "--signature", &args.signature),
    ] {
        let value = HeaderValue::from_str(value)
            .with_context(|| format!("{option} holds characters that a header can't carry"))?;
        headers.insert(name, value);
    }
    let body = input::read(args.file.as_ref())?;
    let fault = verify_standard(&keys, &headers, &body, Timestamp::now(), args.tolerance).err();
    let valid = fault.is_none();
    let text = if args.json {
        let verdict = Verdict { valid, reason: fault.map(|fault| fault.to_string()) };
        serde_json::to_string(&verdict).context("can't write the verdict as JSON")?
    } else {
        fault.map_or_else(
            || "the signature is right".to_owned(),
            |fault| format!("the signature is wrong: {fault}"),
        )
    };
    show::print(&format!("{text}\n"))?;
    Ok(if valid { Exit::Done } else { Exit::Failed })
}
