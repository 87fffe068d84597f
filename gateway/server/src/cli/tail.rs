//! `hookweir tail`: what happens at the gateway, a line each, as it happens.

use anyhow::{Context as _, bail};
use hookweir_model::{EndpointId, Status, TenantId};

use super::client::{AdminArgs, Client};
use super::{Exit, show};
use crate::api::{AttemptView, DeliveryView, EventView, Happening, Missed, Told};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hookweir tail --tenant acme
  hookweir tail --tenant acme --endpoint billing --status exhausted
  hookweir tail --event-type 'order.**' --json | jq .delivery.reason

It shows what happens from now on, until Ctrl-C. What has happened before is in `event list` and `delivery list`.")]
pub(crate) struct Args {
    /// The tenant's name [default: all that the token sees]
    #[arg(long, env = "HOOKWEIR_TENANT")]
    tenant: Option<TenantId>,
    /// Only what goes to this endpoint
    #[arg(long)]
    endpoint: Option<EndpointId>,
    /// Only deliveries that are of this status now
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Status::ALL.map(Status::as_str)))]
    status: Option<String>,
    /// Only event types that match this pattern, such as 'order.*'
    #[arg(long, value_name = "PATTERN")]
    event_type: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let client = Client::admin(&args.admin)?;
    let mut query = Vec::new();
    query.extend(args.endpoint.map(|endpoint| ("endpoint", endpoint.to_string())));
    query.extend(args.status.map(|status| ("status", status)));
    query.extend(args.event_type.map(|pattern| ("event_type", pattern)));
    let path = match &args.tenant {
        Some(tenant) => vec!["v1", "tenants", tenant.as_str(), "live"],
        None => vec!["v1", "live"],
    };
    let mut events = client.watch(&path, &query).await?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let event = tokio::select! {
            _ = &mut interrupted => return Ok(Exit::Done),
            event = events.next() => event?,
        };
        let Some((name, data)) = event else { bail!("the gateway has ended the stream: it stops") };
        if args.admin.json {
            show::print(&show::json_line(&data))?;
        } else {
            show::print(&line(&name, &data)?)?;
        }
    }
}

/// What is told of one happening.
fn line(name: &str, data: &str) -> anyhow::Result<String> {
    const OTHER: &str = "the gateway tells what this version of the command line does not read";
    if name == "missed" {
        let Missed { count } = serde_json::from_str(data).context(OTHER)?;
        return Ok(format!("... {count} happenings were not shown: they came too fast\n"));
    }
    let Told { tenant, what } = serde_json::from_str(data).context(OTHER)?;
    Ok(match what {
        Happening::Accepted { event, endpoints } => accepted(&tenant, &event, &endpoints),
        Happening::Handled { delivery, attempt } => handled(&tenant, &delivery, attempt.as_deref()),
    })
}

fn accepted(tenant: &TenantId, event: &EventView, endpoints: &[EndpointId]) -> String {
    let to = match endpoints {
        [] => "no endpoint wants it".to_owned(),
        all => format!("to {}", all.iter().map(EndpointId::as_str).collect::<Vec<_>>().join(", ")),
    };
    let (received, id, event_type) = (&event.received, &event.id, &event.event_type);
    format!("{}  {:<9}  {tenant}  {id}  {event_type}  {to}\n", show::escaped(received), "accepted")
}

fn handled(tenant: &TenantId, delivery: &DeliveryView, attempt: Option<&AttemptView>) -> String {
    // A delivery that is tried again later has failed for now.
    let is = if delivery.status == Status::Pending { "retry" } else { delivery.status.as_str() };
    let mut details = vec![format!("to {}", delivery.endpoint)];
    if let Some(attempt) = attempt {
        details.push(format!("#{} in {} ms", attempt.number, attempt.duration_ms));
        details.extend(
            attempt.answer.as_ref().and_then(|answer| answer.status).map(|status| status.to_string()),
        );
    }
    let reason = delivery.reason.as_ref().or(attempt.and_then(|attempt| attempt.reason.as_ref()));
    details.extend(reason.map(|reason| show::excerpt(reason, 120)));
    details.extend(delivery.due.as_ref().map(|due| format!("again at {}", show::escaped(due))));
    let at = attempt.map_or(&delivery.received, |attempt| &attempt.started);
    let (id, event_type) = (&delivery.event, &delivery.event_type);
    format!("{}  {is:<9}  {tenant}  {id}  {event_type}  {}\n", show::escaped(at), details.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_happening_is_a_line() {
        let event = r#""id":"evt_1","type":"order.paid","source":"/s","subject":null,"time":"t","received":"2026-01-31T12:00:00.000Z","content_type":"application/json","size":2"#;
        let delivery = r#""event":"evt_1","endpoint":"billing","event_type":"order.paid","received":"2026-01-31T12:00:00.000Z","attempts":1"#;
        let attempt = r#""number":1,"started":"2026-01-31T12:00:00.001Z","duration_ms":7,"plugins":[]"#;
        for (name, data, wanted) in [
            (
                "accepted",
                format!(
                    r#"{{"tenant":"acme","what":"accepted","event":{{{event}}},"endpoints":["billing","chat"]}}"#
                ),
                "2026-01-31T12:00:00.000Z  accepted   acme  evt_1  order.paid  to billing, chat\n",
            ),
            (
                "accepted",
                format!(r#"{{"tenant":"acme","what":"accepted","event":{{{event}}},"endpoints":[]}}"#),
                "2026-01-31T12:00:00.000Z  accepted   acme  evt_1  order.paid  no endpoint wants it\n",
            ),
            (
                "handled",
                format!(
                    r#"{{"tenant":"acme","what":"handled","delivery":{{{delivery},"status":"pending","due":"2026-01-31T12:00:05.000Z","reason":null}},"attempt":{{{attempt},"outcome":"retry","reason":"answered \u001b503","answer":{{"status":503}}}}}}"#
                ),
                "2026-01-31T12:00:00.001Z  retry      acme  evt_1  order.paid  to billing, #1 in 7 ms, 503, answered \\u{1b}503, again at 2026-01-31T12:00:05.000Z\n",
            ),
            (
                "handled",
                format!(
                    r#"{{"tenant":"acme","what":"handled","delivery":{{{delivery},"status":"filtered","due":null,"reason":"too small"}},"attempt":null}}"#
                ),
                "2026-01-31T12:00:00.000Z  filtered   acme  evt_1  order.paid  to billing, too small\n",
            ),
            (
                "missed",
                r#"{"count":12}"#.to_owned(),
                "... 12 happenings were not shown: they came too fast\n",
            ),
        ] {
            assert_eq!(line(name, &data).unwrap(), wanted);
        }
        assert!(line("handled", "{}").is_err());
    }
}
