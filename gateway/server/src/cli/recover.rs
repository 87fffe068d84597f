//! `hookweir recover`: sends what an endpoint has missed, once it is well again.

use hookweir_model::EndpointId;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::client::{AdminArgs, Client};
use super::when::When;
use super::{Exit, TenantArg, show};
use crate::api::{RecoverRequest, Requeued};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hookweir recover --tenant acme billing --since 6h

Deliveries that are exhausted or failed are sent again, with the bytes that were sent before where there are any.")]
pub(crate) struct Args {
    #[command(flatten)]
    tenant: TenantArg,
    /// The endpoint's name
    endpoint: EndpointId,
    /// Events taken in at this time or later: 2026-01-31T12:00:00Z, or how long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: When,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let path = ["v1", "tenants", args.tenant.as_str(), "endpoints", args.endpoint.as_str(), "recover"];
    let request = serde_json::to_string(&RecoverRequest { since: args.since.rfc3339() })?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let answer = Client::admin(&args.admin)?.post(&path, headers, Some(request)).await?;
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        let requeued: Requeued = answer.read()?;
        show::print(&format!("{}\n", again(requeued.deliveries, args.endpoint.as_str())))?;
    }
    Ok(Exit::Done)
}

fn again(deliveries: u64, endpoint: &str) -> String {
    match deliveries {
        0 => format!("nothing to recover: {endpoint} has no exhausted or failed delivery since then"),
        1 => format!("1 delivery is sent to {endpoint} again"),
        many => format!("{many} deliveries are sent to {endpoint} again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_told_in_words() {
        for (deliveries, wanted) in [
            (0, "nothing to recover: billing has no exhausted or failed delivery since then"),
            (1, "1 delivery is sent to billing again"),
            (12, "12 deliveries are sent to billing again"),
        ] {
            assert_eq!(again(deliveries, "billing"), wanted);
        }
    }
}
