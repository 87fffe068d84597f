//! `hookweir event`: hands an event to the accept listener, and looks up those that were taken in.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_model::{EventId, EventType};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{AcceptArgs, Client};
use super::look::{LookArgs, Source};
use super::watch::WatchArgs;
use super::when::When;
use super::{Exit, Paging, TenantArg, input, show};
use crate::api::{Accepted, EventDetail, EventView, List};
use crate::json_text;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Send an event to the gateway
    #[command(after_help = "\
Examples:
  hookweir event send --tenant acme --type order.created --data '{\"total\": 120}'
  hookweir event send --tenant acme --type order.created --file order.json --id order-17
  jq .order export.json | hookweir event send --tenant acme --type order.created -

What --data, the file or standard input holds is sent as it is written.")]
    Send(SendArgs),
    /// List events, newest first
    #[command(after_help = "\
Examples:
  hookweir event list --tenant acme --type 'order.*' --since 2h
  hookweir event list --tenant acme --json | jq -r '.data[].id'")]
    List(ListArgs),
    /// Show one event with its data and where it went
    Get(GetArgs),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("content").required(true).args(["data", "file", "stdin"]))]
pub(crate) struct SendArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// What kind of event it is, a dotted name such as order.created
    #[arg(long = "type", value_name = "TYPE", value_parser = input::event_type)]
    event_type: EventType,
    /// The event's data: JSON
    #[arg(long, value_name = "JSON", value_parser = input::json)]
    data: Option<Box<RawValue>>,
    /// The file that holds the event's data: JSON
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the event's data from standard input
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    stdin: Option<String>,
    /// The event's id [default: the gateway makes one]
    #[arg(long)]
    id: Option<EventId>,
    /// Which part of the sender's system it comes from, a URI reference
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// What the event is about within its source
    #[arg(long)]
    subject: Option<String>,
    /// Sent again with the same key, the event is taken in once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The content type of the request that carries the event
    #[arg(long, value_name = "TYPE", default_value = "application/json", value_parser = HeaderValue::from_str)]
    content_type: HeaderValue,
    #[command(flatten)]
    accept: AcceptArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// Only events of types that match this pattern, such as 'order.*'
    #[arg(long = "type", value_name = "PATTERN")]
    event_type: Option<String>,
    /// Only events with this in their id
    #[arg(long, value_name = "PART")]
    id: Option<String>,
    /// Only events taken in at this time or later: 2026-01-31T12:00:00Z, or how long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Only events taken in before this time
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
pub(crate) struct GetArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// The event's id
    event: EventId,
    #[command(flatten)]
    look: LookArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Send(args) => send(args).await,
        Command::List(args) => list(args).await,
        Command::Get(args) => get(args).await,
    }
}

/// The gateway's native form. The data stands in it as it was given, to the last zero of a number.
#[derive(Debug, Serialize)]
struct Native<'a> {
    #[serde(rename = "type")]
    event_type: &'a EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    data: &'a RawValue,
}

async fn send(args: SendArgs) -> anyhow::Result<Exit> {
    let client = Client::accept(&args.accept)?;
    let data = match args.data {
        Some(data) => data,
        None => {
            let bytes = input::read(args.file.as_ref())?;
            if let Some(wrong) = json_text::encoding(&bytes, "the event's data") {
                anyhow::bail!("{wrong}, since JSON is UTF-8");
            }
            let text = String::from_utf8(bytes).context("the event's data is not UTF-8")?;
            RawValue::from_string(text).context("the event's data is not JSON")?
        }
    };
    let body = serde_json::to_string(&Native {
        event_type: &args.event_type,
        id: args.id.as_ref(),
        source: args.source.as_deref(),
        subject: args.subject.as_deref(),
        data: &data,
    })?;
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, args.content_type)]);
    if let Some(key) = args.idempotency_key {
        let key = HeaderValue::try_from(key)
            .context("--idempotency-key holds characters that a header can't carry")?;
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    let answer = client.post(&["v1", "tenants", args.tenant.as_str(), "events"], headers, Some(body)).await?;
    if args.accept.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&accepted(&answer.read()?))?;
    }
    Ok(Exit::Done)
}

fn accepted(accepted: &Accepted) -> String {
    let id = &accepted.id;
    match (accepted.duplicate, accepted.deliveries) {
        (true, _) => format!("{id} was there already: nothing new is delivered\n"),
        (false, 0) => format!("{id} accepted; no endpoint wants events of this type\n"),
        (false, 1) => format!("{id} accepted for 1 endpoint\n"),
        (false, many) => format!("{id} accepted for {many} endpoints\n"),
    }
}

async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let source = Source::open(&args.look)?;
    let mut query = args.paging.query();
    query.extend(args.event_type.map(|pattern| ("event_type", pattern)));
    query.extend(args.id.map(|part| ("id", part)));
    query.extend(args.since.map(|since| ("since", since.rfc3339())));
    query.extend(args.until.map(|until| ("until", until.rfc3339())));
    let path = ["v1", "tenants", args.tenant.as_str(), "events"];
    let page = async || {
        let answer = source.get(&path, &query).await?;
        if args.look.gateway.json {
            return Ok(show::json_line(answer.json()).into());
        }
        let list: List<EventView> = answer.read()?;
        Ok(show::page(&table(&list.data), list.next.as_deref(), "events"))
    };
    args.watch.show(page).await
}

fn table(events: &[EventView]) -> show::Rows {
    let mut rows = show::Rows::new(&["EVENT", "TYPE", "RECEIVED", "SIZE", "SOURCE", "SUBJECT"]);
    for event in events {
        let subject = event.subject.as_deref().unwrap_or_default();
        let size = event.size.to_string();
        rows.push([
            event.id.as_str(),
            event.event_type.as_str(),
            &event.received,
            &size,
            &event.source,
            subject,
        ]);
    }
    rows
}

async fn get(args: GetArgs) -> anyhow::Result<Exit> {
    let source = Source::open(&args.look)?;
    let path = ["v1", "tenants", args.tenant.as_str(), "events", args.event.as_str()];
    let answer = source.get(&path, &[]).await?;
    if args.look.gateway.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&whole(&answer.read()?, show::Look::of_stdout())?)?;
    }
    Ok(Exit::Done)
}

/// One event for a person: what is known of it, its data, and where it went.
fn whole(detail: &EventDetail, look: show::Look) -> anyhow::Result<String> {
    let event = &detail.event;
    let mut text = format!("{}\n", event.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}  {}", show::escaped(value));
    };
    if let Some(damage) = &event.damaged {
        line("damaged", damage);
    }
    line("type", event.event_type.as_str());
    line("source", &event.source);
    if let Some(subject) = &event.subject {
        line("subject", subject);
    }
    line("time", &event.time);
    line("received", &event.received);
    line("content type", &event.content_type);
    if let Some(key) = &detail.ordering_key {
        line("ordering key", key);
    }
    for (name, value) in &detail.attributes {
        line(&show::escaped(name), value);
    }
    let data = match (&detail.data, &detail.data_base64) {
        (Some(data), _) => data.clone().into_bytes(),
        (None, Some(data)) => BASE64.decode(data).context("the gateway's answer holds broken base64")?,
        (None, None) => Vec::new(),
    };
    let _ = writeln!(text, "\ndata ({} bytes)\n{}", event.size, show::data(&data, "  "));
    if detail.deliveries.is_empty() {
        text.push_str("no endpoint wanted it\n");
    } else {
        text.push_str(&super::delivery::table(&detail.deliveries).render(look));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hookweir_model::{EndpointId, Status};

    use super::*;
    use crate::api::DeliveryView;

    #[test]
    fn the_native_form_holds_the_data_as_given() {
        let text = r#"{"b":1.500, "b":1e400,"a":"\u0041é" , "z":12345678901234567890123}"#;
        let data = input::json(&format!(" {text}\n")).unwrap();
        let event_type = EventType::new("order.created").unwrap();
        let native =
            Native { event_type: &event_type, id: None, source: Some("/a\"b"), subject: None, data: &data };
        assert_eq!(
            serde_json::to_string(&native).unwrap(),
            format!(r#"{{"type":"order.created","source":"/a\"b","data":{text}}}"#)
        );
    }

    #[test]
    fn what_is_no_json_is_refused_with_a_hint() {
        for bad in ["", "hello", "{", "{} {}", "\u{feff}{}", "NaN"] {
            let fault = input::json(bad).expect_err(bad);
            assert!(fault.contains("quoted"), "{fault}");
        }
    }

    #[test]
    fn an_accepted_event_says_how_far_it_goes() {
        let id = EventId::new("evt_1").unwrap();
        for (duplicate, deliveries, wanted) in [
            (false, 2, "evt_1 accepted for 2 endpoints\n"),
            (false, 1, "evt_1 accepted for 1 endpoint\n"),
            (false, 0, "evt_1 accepted; no endpoint wants events of this type\n"),
            (true, 2, "evt_1 was there already: nothing new is delivered\n"),
        ] {
            assert_eq!(accepted(&Accepted { id: id.clone(), duplicate, deliveries }), wanted);
        }
    }

    fn detail() -> EventDetail {
        EventDetail {
            event: EventView {
                id: EventId::new("evt_1").unwrap(),
                event_type: EventType::new("order.created").unwrap(),
                source: "/shop".to_owned(),
                subject: None,
                time: "2026-01-31T12:00:00Z".to_owned(),
                received: "2026-01-31T12:00:00.120Z".to_owned(),
                content_type: "application/json".to_owned(),
                size: 11,
                damaged: None,
            },
            attributes: vec![("x-te\u{1b}am".to_owned(), "a\u{7}".to_owned())],
            ordering_key: None,
            data: Some("{\"total\":1}".to_owned()),
            data_base64: None,
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn an_event_is_shown_whole() {
        assert_eq!(
            whole(&detail(), show::Look::Plain).unwrap(),
            "evt_1\n  type          order.created\n  source        /shop\n  time          2026-01-31T12:00:00Z\n  \
             received      2026-01-31T12:00:00.120Z\n  content type  application/json\n  x-te\\u{1b}am  a\\u{7}\n\n\
             data (11 bytes)\n  {\n    \"total\": 1\n  }\n\nno endpoint wanted it\n"
        );
    }

    #[test]
    fn an_event_shows_where_it_went_and_bytes_that_are_no_text() {
        let delivery = DeliveryView {
            event: EventId::new("evt_1").unwrap(),
            endpoint: EndpointId::new("billing").unwrap(),
            event_type: EventType::new("order.created").unwrap(),
            received: "2026-01-31T12:00:00.120Z".to_owned(),
            status: Status::Delivered,
            attempts: 2,
            due: None,
            reason: None,
        };
        let bytes = EventDetail {
            data: None,
            data_base64: Some("//4=".to_owned()),
            deliveries: vec![delivery],
            ..detail()
        };
        let text = whole(&bytes, show::Look::Plain).unwrap();
        assert!(text.contains("  (2 bytes that are no text)\n"), "{text}");
        assert!(text.contains("billing"), "{text}");
    }
}
