//! `hookweir delivery`: what became of events at their endpoints, attempt by attempt, and a retry by hand.

use std::fmt::Write as _;
use std::time::Duration;

use hookweir_model::{EndpointId, EventId, Outcome, Status, Timestamp};
use reqwest::header::HeaderMap;

use super::client::{AdminArgs, Client};
use super::look::{LookArgs, Source};
use super::watch::WatchArgs;
use super::when::When;
use super::{Exit, Paging, TenantArg, attempt, show};
use crate::api::{AttemptView, Cancelled, Content, DeliveryDetail, DeliveryView, List};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List deliveries, newest first
    #[command(after_help = "\
Examples:
  hookweir delivery list --tenant acme --status exhausted --since 1d
  hookweir delivery list --tenant acme --endpoint billing --event-type 'invoice.*' --limit 100")]
    List(ListArgs),
    /// Show one delivery with all its attempts
    #[command(after_help = "\
Example:
  hookweir delivery get --tenant acme evt_0190163d8694739b8e1a1f0c8ab2c1f7 billing")]
    Get(GetArgs),
    /// Try one delivery again now, whatever has become of it
    Retry(One),
    /// End one pending delivery: no further attempt is made
    Cancel(One),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// Only deliveries to this endpoint
    #[arg(long)]
    endpoint: Option<EndpointId>,
    /// Only deliveries of this status
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Status::ALL.map(Status::as_str)))]
    status: Option<String>,
    /// Only deliveries whose last attempt ended so
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str)))]
    outcome: Option<String>,
    /// Only deliveries whose last attempt was answered with this HTTP status
    #[arg(long, value_name = "STATUS")]
    code: Option<u16>,
    /// Only deliveries of events with this in their id
    #[arg(long, value_name = "PART")]
    id: Option<String>,
    /// Only deliveries of event types that match this pattern, such as 'order.*'
    #[arg(long, value_name = "PATTERN")]
    event_type: Option<String>,
    /// Only deliveries of events taken in at this time or later: 2026-01-31T12:00:00Z, or how long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Only deliveries of events taken in before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    tenant: TenantArg,
    /// The event's id
    event: EventId,
    /// The endpoint's name
    endpoint: EndpointId,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// The event's id
    event: EventId,
    /// The endpoint's name
    endpoint: EndpointId,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    look: LookArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(args) => list(args).await,
        Command::Get(args) => get(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Cancel(args) => cancel(args).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let source = Source::open(&args.look)?;
    let mut query = args.paging.query();
    query.extend(args.endpoint.map(|endpoint| ("endpoint", endpoint.to_string())));
    query.extend(args.status.map(|status| ("status", status)));
    query.extend(args.outcome.map(|outcome| ("outcome", outcome)));
    query.extend(args.code.map(|code| ("code", code.to_string())));
    query.extend(args.id.map(|part| ("id", part)));
    query.extend(args.event_type.map(|pattern| ("event_type", pattern)));
    query.extend(args.since.map(|since| ("since", since.rfc3339())));
    query.extend(args.until.map(|until| ("until", until.rfc3339())));
    let path = ["v1", "tenants", args.tenant.as_str(), "deliveries"];
    let page = async || {
        let answer = source.get(&path, &query).await?;
        if args.look.gateway.json {
            return Ok(show::json_line(answer.json()).into());
        }
        let list: List<DeliveryView> = answer.read()?;
        Ok(show::page(&table(&list.data), list.next.as_deref(), "deliveries"))
    };
    args.watch.show(page).await
}

pub(super) fn table(deliveries: &[DeliveryView]) -> show::Rows {
    let mut rows =
        show::Rows::new(&["EVENT", "ENDPOINT", "TYPE", "STATUS", "ATTEMPTS", "RECEIVED", "DUE", "REASON"]);
    for delivery in deliveries {
        let reason = show::excerpt(delivery.reason.as_deref().unwrap_or_default(), 120);
        let due = due(delivery).unwrap_or_default();
        rows.push([
            delivery.event.as_str(),
            delivery.endpoint.as_str(),
            delivery.event_type.as_str(),
            delivery.status.as_str(),
            &delivery.attempts.to_string(),
            &delivery.received,
            due,
            &reason,
        ]);
    }
    rows
}

/// When the next attempt is due, where there will be one.
fn due(delivery: &DeliveryView) -> Option<&str> {
    match (delivery.status, &delivery.due) {
        (Status::Pending, Some(due)) => Some(due),
        (Status::Pending, None) => Some("now"),
        _ => None,
    }
}

fn path(args: &One) -> [&str; 7] {
    segments(&args.tenant, &args.event, &args.endpoint)
}

fn segments<'a>(tenant: &'a TenantArg, event: &'a EventId, endpoint: &'a EndpointId) -> [&'a str; 7] {
    ["v1", "tenants", tenant.as_str(), "events", event.as_str(), "deliveries", endpoint.as_str()]
}

async fn get(GetArgs { tenant, event, endpoint, watch, look }: GetArgs) -> anyhow::Result<Exit> {
    let source = Source::open(&look)?;
    let path = segments(&tenant, &event, &endpoint);
    let page = async || {
        let answer = source.get(&path, &[]).await?;
        let is_json = look.gateway.json;
        let text = if is_json { show::json_line(answer.json()) } else { timeline(&answer.read()?) };
        Ok(text.into())
    };
    watch.show(page).await
}

async fn retry(args: One) -> anyhow::Result<Exit> {
    let path = path(&args);
    let answer =
        Client::admin(&args.admin)?.post(&[&path[..], &["retry"]].concat(), HeaderMap::new(), None).await?;
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&format!("{} is sent to {} again now\n", args.event, args.endpoint))?;
    }
    Ok(Exit::Done)
}

async fn cancel(args: One) -> anyhow::Result<Exit> {
    let path = path(&args);
    let answer =
        Client::admin(&args.admin)?.post(&[&path[..], &["cancel"]].concat(), HeaderMap::new(), None).await?;
    let cancelled: Cancelled = answer.read()?;
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else if cancelled.deliveries == 1 {
        show::print(&format!("{} is not sent to {} any more\n", args.event, args.endpoint))?;
    } else {
        show::print(&format!("{} to {} is not pending, and stays as it is\n", args.event, args.endpoint))?;
    }
    Ok(Exit::Done)
}

/// A delivery and its attempts in the order in which they happened.
fn timeline(detail: &DeliveryDetail) -> String {
    let delivery = &detail.delivery;
    let mut text = format!("{} to {}\n", delivery.event, delivery.endpoint);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<8}  {}", show::escaped(value));
    };
    line("type", delivery.event_type.as_str());
    line("received", &delivery.received);
    line("status", delivery.status.as_str());
    if let Some(due) = due(delivery) {
        line("due", due);
    }
    if let Some(reason) = &delivery.reason {
        line("reason", reason);
    }
    if !detail.plugins.is_empty() {
        text.push('\n');
        text.push_str(&attempt::calls(&detail.plugins));
    } else if detail.attempts.is_empty() {
        text.push_str("\nno attempt yet\n");
    }
    let mut previous: Option<&AttemptView> = None;
    for attempt in &detail.attempts {
        text.push('\n');
        text.push_str(&step(attempt, previous));
        previous = Some(attempt);
    }
    if let Some(sent) = &detail.sent {
        text.push_str(&body(sent));
    }
    text
}

/// What all attempts send.
fn body(sent: &Content) -> String {
    let mut text = format!("\nbody ({})\n", show::escaped(&sent.content_type));
    text.push_str(&match (&sent.data, &sent.data_base64) {
        (Some(data), _) => show::data(data.as_bytes(), "  "),
        (None, base64) => show::data(base64.as_deref().unwrap_or_default().as_bytes(), "  "),
    });
    text
}

/// One attempt: when it was and how it ended, then what the plugins and the receiver had to say.
fn step(attempt: &AttemptView, previous: Option<&AttemptView>) -> String {
    let mut text = format!(
        "#{}  {}  {}  in {} ms",
        attempt.number,
        show::escaped(&attempt.started),
        attempt.outcome.as_str(),
        attempt.duration_ms
    );
    if let Some(wait) = previous.and_then(|previous| gap(&previous.started, &attempt.started)) {
        let _ = write!(
            text,
            ", {} after #{}",
            humantime::format_duration(wait),
            attempt.number.saturating_sub(1)
        );
    }
    text.push('\n');
    text.push_str(&attempt::details(attempt));
    text
}

fn gap(earlier: &str, later: &str) -> Option<Duration> {
    Some(Timestamp::parse(later)?.since(Timestamp::parse(earlier)?))
}

#[cfg(test)]
mod tests {
    use hookweir_model::{Answer, Digest, EventType, Exchange, PluginCall, PluginId, PluginRole, Timings};

    use super::*;

    fn delivery(status: Status, due: Option<&str>, reason: Option<&str>) -> DeliveryView {
        DeliveryView {
            event: EventId::new("evt_1").unwrap(),
            endpoint: EndpointId::new("billing").unwrap(),
            event_type: EventType::new("invoice.paid").unwrap(),
            received: "2026-01-31T12:00:00.000Z".to_owned(),
            status,
            attempts: 2,
            due: due.map(str::to_owned),
            reason: reason.map(str::to_owned),
        }
    }

    fn attempt(number: u32, started: &str, outcome: Outcome) -> AttemptView {
        AttemptView {
            number,
            started: started.to_owned(),
            duration_ms: 132,
            outcome,
            reason: None,
            answer: None,
            plugins: Vec::new(),
            exchange: None,
        }
    }

    #[test]
    fn only_a_pending_delivery_is_due() {
        for (status, time, wanted) in [
            (Status::Pending, None, Some("now")),
            (Status::Pending, Some("2026-01-31T12:00:05Z"), Some("2026-01-31T12:00:05Z")),
            (Status::Delivered, None, None),
            (Status::Exhausted, Some("2026-01-31T12:00:05Z"), None),
        ] {
            assert_eq!(due(&delivery(status, time, None)), wanted, "{status}");
        }
    }

    #[test]
    fn a_timeline_tells_what_happened_in_order() {
        let first = AttemptView {
            reason: Some("answered 500".to_owned()),
            answer: Some(Answer { status: Some(500), body: "oh\u{1b}[2J no\nsorry".to_owned() }),
            plugins: vec![PluginCall {
                plugin: PluginId::new("large-only").unwrap(),
                digest: Digest::of(b""),
                role: PluginRole::Filter,
                micros: 84,
                memory: 1_114_112,
                log: "kept\u{7}: 120".to_owned(),
            }],
            ..attempt(1, "2026-01-31T12:00:00.000Z", Outcome::Retry)
        };
        let empty = |status| Some(Answer { status: Some(status), body: String::new() });
        let second = AttemptView {
            reason: Some("answered 503".to_owned()),
            answer: empty(503),
            ..attempt(2, "2026-01-31T12:00:05.250Z", Outcome::Retry)
        };
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let exchange = Exchange {
            request_headers: header("webhook-id", "evt_1"),
            answer_headers: header("server", "a"),
            timings: Timings { lookup_us: Some(1_234), first_byte_us: Some(131_000), ..Timings::default() },
            tried: Vec::new(),
        };
        let third = AttemptView {
            answer: empty(200),
            exchange: Some(Box::new(exchange)),
            ..attempt(3, "2026-01-31T12:05:05.250Z", Outcome::Delivered)
        };
        let detail = DeliveryDetail {
            delivery: delivery(Status::Delivered, None, None),
            attempts: vec![first, second, third],
            sent: Some(Content {
                content_type: "application/json".to_owned(),
                headers: Vec::new(),
                data: Some("{}".to_owned()),
                data_base64: None,
            }),
            plugins: Vec::new(),
        };
        let wanted = "\
evt_1 to billing
  type      invoice.paid
  received  2026-01-31T12:00:00.000Z
  status    delivered

#1  2026-01-31T12:00:00.000Z  retry  in 132 ms
    answered 500
    filter large-only (e3b0c44298fc) took 84 us
      | kept\\u{7}: 120
    answer 500
      | oh\\u{1b}[2J no
      | sorry

#2  2026-01-31T12:00:05.250Z  retry  in 132 ms, 5s 250ms after #1
    answered 503

#3  2026-01-31T12:05:05.250Z  delivered  in 132 ms, 5m after #2
    answer 200
    look-up 1.2 ms, first byte 131.0 ms
      > webhook-id: evt_1
      < server: a

body (application/json)
  {}
";
        assert_eq!(timeline(&detail), wanted);
    }

    #[test]
    fn a_delivery_that_waits_says_for_what() {
        let detail = DeliveryDetail {
            delivery: delivery(Status::Pending, None, Some("disabled")),
            attempts: vec![],
            sent: None,
            plugins: vec![],
        };
        let text = timeline(&detail);
        assert!(text.ends_with("  due       now\n  reason    disabled\n\nno attempt yet\n"), "{text}");
    }

    #[test]
    fn the_table_cuts_long_reasons() {
        let long = delivery(Status::Failed, None, Some(&"x".repeat(500)));
        let text = table(&[long]).render(show::Look::Plain);
        assert!(text.lines().all(|line| line.len() < 260), "{text}");
        assert!(text.contains("xxx..."), "{text}");
    }
}
