//! `hookweir damage`: what a running gateway has found damaged in its journal, and that somebody has seen it.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::client::{AdminArgs, Client};
use super::watch::WatchArgs;
use super::{Exit, Paging, show};
use crate::api::{AcknowledgeRequest, Acknowledged, DamageView, List};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the records of damage, newest first
    #[command(after_help = "\
It takes the admin token or an operator's key: damage concerns the whole journal.

Examples:
  hookweir damage list
  hookweir damage list --json | jq '.data[] | select(.acknowledged == null)'")]
    List(ListArgs),
    /// Mark records as seen: /readyz and the metrics then leave them out
    #[command(after_help = "\
What is lost stays lost, and the records stay in the list. Send again what is missing before.

Examples:
  hookweir damage acknowledge 7       the record 7 and all before it")]
    Acknowledge(AcknowledgeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AcknowledgeArgs {
    /// The highest number of them, as the list shows it; those below it are marked too
    number: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(args) => list(args).await,
        Command::Acknowledge(args) => acknowledge(args).await,
    }
}

async fn list(ListArgs { paging, watch, admin }: ListArgs) -> anyhow::Result<Exit> {
    let client = Client::admin(&admin)?;
    let look = async || {
        let answer = client.get(&["v1", "damage"], &paging.query()).await?;
        if admin.json {
            return Ok(show::json_line(answer.json()).into());
        }
        let list: List<DamageView> = answer.read()?;
        Ok(show::page(&table(&list.data), list.next.as_deref(), "records of damage"))
    };
    watch.show(look).await
}

async fn acknowledge(AcknowledgeArgs { number, admin }: AcknowledgeArgs) -> anyhow::Result<Exit> {
    let request = serde_json::to_string(&AcknowledgeRequest { up_to: number })?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let path = ["v1", "damage", "acknowledge"];
    let answer = Client::admin(&admin)?.post(&path, headers, Some(request)).await?;
    if admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&acknowledged(&answer.read()?))?;
    }
    Ok(Exit::Done)
}

fn table(records: &[DamageView]) -> show::Rows {
    let mut rows =
        show::Rows::new(&["NUMBER", "KIND", "EVENTS", "EVENT", "TO", "FOUND", "ACKNOWLEDGED", "WHAT"]);
    for record in records {
        let DamageView { number, kind, events, tenant, endpoint, event, what, found, acknowledged } = record;
        let numbers = events.map(|events| match events.first == events.last {
            true => events.first.to_string(),
            false => format!("{}-{}", events.first, events.last),
        });
        let to = match (tenant, endpoint) {
            (Some(tenant), Some(endpoint)) => format!("{tenant}/{endpoint}"),
            (Some(tenant), None) => tenant.to_string(),
            _ => String::new(),
        };
        rows.push([
            &number.to_string(),
            kind,
            numbers.as_deref().unwrap_or_default(),
            event.as_ref().map(|event| event.as_str()).unwrap_or_default(),
            &to,
            found.as_deref().unwrap_or_default(),
            acknowledged.as_deref().unwrap_or_default(),
            what,
        ]);
    }
    rows
}

fn acknowledged(Acknowledged { records }: &Acknowledged) -> String {
    match records {
        0 => "there is no record up to that number that was not acknowledged before\n".to_owned(),
        1 => "1 record is acknowledged\n".to_owned(),
        records => format!("{records} records are acknowledged\n"),
    }
}

#[cfg(test)]
mod tests {
    use hookweir_journal::Seq;
    use hookweir_model::{EndpointId, EventId, TenantId};

    use super::*;

    #[test]
    fn a_record_is_a_line_with_what_is_known_of_it() {
        let log = DamageView {
            number: 2,
            kind: "log".to_owned(),
            events: Some((Seq(4), Seq(9)).into()),
            tenant: None,
            endpoint: None,
            event: None,
            what: "a part of the log is gone".to_owned(),
            found: Some("2026-01-31T12:00:00.000Z".to_owned()),
            acknowledged: None,
        };
        let delivery = DamageView {
            number: 1,
            kind: "delivery".to_owned(),
            events: Some((Seq(3), Seq(3)).into()),
            tenant: Some(TenantId::new("acme").unwrap()),
            endpoint: Some(EndpointId::new("billing").unwrap()),
            event: Some(EventId::new("evt_1").unwrap()),
            what: "lost\u{1b}".to_owned(),
            acknowledged: Some("2026-01-31T13:00:00.000Z".to_owned()),
            ..log.clone()
        };
        assert_eq!(
            table(&[log, delivery]).render(show::Look::Plain),
            "\
NUMBER  KIND      EVENTS  EVENT  TO            FOUND                     ACKNOWLEDGED              WHAT
2       log       4-9                          2026-01-31T12:00:00.000Z                            a part of the log is gone
1       delivery  3       evt_1  acme/billing  2026-01-31T12:00:00.000Z  2026-01-31T13:00:00.000Z  lost\\u{1b}\n"
        );
    }

    #[test]
    fn the_number_is_told_in_words() {
        for (records, told) in [(1, "1 record is acknowledged\n"), (3, "3 records are acknowledged\n")] {
            assert_eq!(acknowledged(&Acknowledged { records }), told);
        }
    }
}
