//! `hookweir recover`: sends what an endpoint has missed, once it is well again.

use std::time::Duration;

use hookweir_model::{EndpointId, Status};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::client::{AdminArgs, Answer, Client, Error};
use super::progress::Progress;
use super::when::When;
use super::{Exit, TenantArg, show};
use crate::api::{EndpointView, RecoverRequest, Requeued};

/// How often the gateway is asked how far it is, where somebody looks on.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hookweir recover --tenant acme billing --since 6h --dry-run   how many it would be
  hookweir recover --tenant acme billing --since 6h
  hookweir recover --tenant acme billing --pending              what waits for its next attempt, now

Deliveries that are exhausted or failed are sent again, with the bytes that were sent before where there are any; so are those that were cancelled since the endpoint had left the configuration. What is pending goes by itself when the endpoint is back after an outage; --pending does not wait for that.")]
pub(crate) struct Args {
    #[command(flatten)]
    tenant: TenantArg,
    /// The endpoint's name
    endpoint: EndpointId,
    /// Events taken in at this time or later: 2026-01-31T12:00:00Z, or how long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = When::parse, required_unless_present = "pending")]
    since: Option<When>,
    /// Send now what waits for the time of its next attempt, at the pace of an endpoint that is back
    #[arg(long, conflicts_with = "since")]
    pending: bool,
    /// Only say how many deliveries it would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let client = Client::admin(&args.admin)?;
    let path = ["v1", "tenants", args.tenant.as_str(), "endpoints", args.endpoint.as_str(), "recover"];
    let send = async |dry_run| {
        let since = args.since.map(|since| since.rfc3339());
        let request = RecoverRequest { since, pending: args.pending, dry_run };
        // Three fields, of which one is text.
        let request = serde_json::to_string(&request).unwrap_or_default();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        client.post(&path, headers, Some(request)).await
    };
    let answer = if args.dry_run || args.pending || !Progress::is_shown() {
        send(args.dry_run).await?
    } else {
        let many = send(true).await?.read::<Requeued>()?.deliveries;
        watched(&client, &path[..5], many, send(false)).await?
    };
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        let requeued: Requeued = answer.read()?;
        let (deliveries, endpoint) = (requeued.deliveries, args.endpoint.as_str());
        let told = if args.pending {
            now(deliveries, endpoint, args.dry_run)
        } else {
            again(deliveries, endpoint, args.dry_run)
        };
        show::print(&format!("{told}\n"))?;
    }
    Ok(Exit::Done)
}

/// Shows how many of the deliveries are sent again, while the gateway goes through them.
async fn watched(
    client: &Client,
    endpoint: &[&str],
    many: u64,
    sent: impl Future<Output = Result<Answer, Error>>,
) -> anyhow::Result<Answer> {
    // Those that were given up become fewer as they are put back.
    let given_up = async || -> anyhow::Result<u64> {
        let endpoint: EndpointView = client.get(endpoint, &[]).await?.read()?;
        let given_up = [Status::Exhausted, Status::Failed, Status::Cancelled];
        Ok(given_up.into_iter().map(|status| endpoint.count(status)).sum::<u64>())
    };
    let before = given_up().await?;
    let progress = Progress::of_many(many, "sent again".to_owned());
    tokio::pin!(sent);
    loop {
        tokio::select! {
            answer = &mut sent => return Ok(answer?),
            () = tokio::time::sleep(LOOK) => {}
        }
        progress.at(before.saturating_sub(given_up().await?).min(many));
    }
}

fn again(deliveries: u64, endpoint: &str, dry_run: bool) -> String {
    match (deliveries, dry_run) {
        (0, _) => format!("nothing to recover: {endpoint} has no exhausted or failed delivery since then"),
        (1, false) => format!("1 delivery is sent to {endpoint} again"),
        (many, false) => format!("{many} deliveries are sent to {endpoint} again"),
        (1, true) => format!("1 delivery would be sent to {endpoint} again; leave out --dry-run to send it"),
        (many, true) => {
            format!("{many} deliveries would be sent to {endpoint} again; leave out --dry-run to send them")
        }
    }
}

fn now(deliveries: u64, endpoint: &str, dry_run: bool) -> String {
    match (deliveries, dry_run) {
        (0, _) => format!("nothing waits for its next attempt at {endpoint}"),
        (1, false) => format!("1 delivery that waited is sent to {endpoint} now"),
        (many, false) => format!("{many} deliveries that waited are sent to {endpoint} now"),
        (1, true) => {
            format!("1 delivery waits for its next attempt at {endpoint}; leave out --dry-run to send it now")
        }
        (many, true) => {
            format!(
                "{many} deliveries wait for their next attempt at {endpoint}; leave out --dry-run to send them now"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_told_in_words() {
        for (deliveries, dry_run, wanted) in [
            (0, false, "nothing waits for its next attempt at billing"),
            (1, false, "1 delivery that waited is sent to billing now"),
            (12, false, "12 deliveries that waited are sent to billing now"),
            (1, true, "1 delivery waits for its next attempt at billing; leave out --dry-run to send it now"),
            (
                12,
                true,
                "12 deliveries wait for their next attempt at billing; leave out --dry-run to send them now",
            ),
        ] {
            assert_eq!(now(deliveries, "billing", dry_run), wanted);
        }
    }

    #[test]
    fn the_number_is_told_in_words() {
        for (deliveries, dry_run, wanted) in [
            (0, false, "nothing to recover: billing has no exhausted or failed delivery since then"),
            (0, true, "nothing to recover: billing has no exhausted or failed delivery since then"),
            (1, false, "1 delivery is sent to billing again"),
            (12, false, "12 deliveries are sent to billing again"),
            (1, true, "1 delivery would be sent to billing again; leave out --dry-run to send it"),
            (12, true, "12 deliveries would be sent to billing again; leave out --dry-run to send them"),
        ] {
            assert_eq!(again(deliveries, "billing", dry_run), wanted);
        }
    }
}
