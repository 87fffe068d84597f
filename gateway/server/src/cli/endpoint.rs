//! `hookweir endpoint`: how the endpoints fare, and switching one off and on.

use std::fmt::Write as _;
use std::path::PathBuf;

use hookweir_model::{EndpointId, EventType, Outcome, Status};
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{AdminArgs, Client};
use super::watch::WatchArgs;
use super::{Exit, Paging, TenantArg, attempt, input, secret_args, show};
use crate::api::{AttemptView, EndpointView, List, Probe, ProbeResult, Rotated};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List a tenant's endpoints with what waits for them
    List(ListArgs),
    /// Show one endpoint
    Get(GetArgs),
    /// Switch an endpoint on again; what waited for it is delivered
    Enable(One),
    /// Switch an endpoint off; its deliveries wait until it is on again
    Disable(One),
    /// Send a sample to an endpoint and show what was sent and what the receiver or broker answered
    #[command(after_help = "\
The sample goes through the endpoint's plugins and its format, and is sent once. It is no event of the gateway: it is not
kept, and its end counts for nothing. The command fails unless the receiver took it.

Examples:
  hookweir endpoint test --tenant acme billing
  hookweir endpoint test --tenant acme billing --type invoice.paid --data '{\"total\": 120}'")]
    Test(TestArgs),
    /// Give an endpoint another signing secret; the one before it signs beside it for a while
    #[command(after_help = "\
The secret's place in the configuration has to be a file, { file = \"path\" }, which the gateway replaces. What is printed is
for the receiver and is not shown again.

Examples:
  hookweir endpoint rotate-secret --tenant acme billing
  hookweir endpoint rotate-secret --tenant acme billing --keep 0s      the old one has leaked")]
    RotateSecret(RotateArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    tenant: TenantArg,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    tenant: TenantArg,
    /// The endpoint's name
    endpoint: EndpointId,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// The sample's type [default: one that the endpoint is sent]
    #[arg(long = "type", value_name = "TYPE", value_parser = input::event_type)]
    event_type: Option<EventType>,
    /// The sample's data: JSON
    #[arg(long, value_name = "JSON", value_parser = input::json)]
    data: Option<Box<RawValue>>,
    #[command(flatten)]
    one: One,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// How long the secrets before it sign beside it, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h")]
    keep: humantime::Duration,
    /// A file with the secret [default: the gateway makes one of the same kind]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    one: One,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    watch: WatchArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(args) => list(args).await,
        Command::Get(args) => get(args).await,
        Command::Enable(args) => switch(args, "enable", "enabled").await,
        Command::Disable(args) => switch(args, "disable", "disabled").await,
        Command::Test(args) => test(args).await,
        Command::RotateSecret(args) => rotate_secret(args).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let client = Client::admin(&args.admin)?;
    let path = ["v1", "tenants", args.tenant.as_str(), "endpoints"];
    let look = async || {
        let answer = client.get(&path, &args.paging.query()).await?;
        if args.admin.json {
            return Ok(show::json_line(answer.json()).into());
        }
        let list: List<EndpointView> = answer.read()?;
        Ok(show::page(&table(&list.data), list.next.as_deref(), "endpoints"))
    };
    args.watch.show(look).await
}

async fn get(GetArgs { one, watch }: GetArgs) -> anyhow::Result<Exit> {
    let client = Client::admin(&one.admin)?;
    let path = ["v1", "tenants", one.tenant.as_str(), "endpoints", one.endpoint.as_str()];
    let look = async || {
        let answer = client.get(&path, &[]).await?;
        let text = if one.admin.json { show::json_line(answer.json()) } else { whole(&answer.read()?) };
        Ok(text.into())
    };
    watch.show(look).await
}

async fn switch(args: One, verb: &str, done: &str) -> anyhow::Result<Exit> {
    let path = ["v1", "tenants", args.tenant.as_str(), "endpoints", args.endpoint.as_str(), verb];
    let answer = Client::admin(&args.admin)?.post(&path, HeaderMap::new(), None).await?;
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&format!("{} is {done}\n", args.endpoint))?;
    }
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Sample<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a EventType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

async fn test(args: TestArgs) -> anyhow::Result<Exit> {
    let TestArgs { event_type, data, one } = args;
    let sample = Sample { event_type: event_type.as_ref(), data: data.as_deref() };
    let path = ["v1", "tenants", one.tenant.as_str(), "endpoints", one.endpoint.as_str(), "test"];
    let body = serde_json::to_string(&sample)?;
    let answer = Client::admin(&one.admin)?.post(&path, HeaderMap::new(), Some(body)).await?;
    let probe: Probe = answer.read()?;
    if one.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&told(&one.endpoint, &probe))?;
    }
    let took = |attempt: &AttemptView| attempt.outcome == Outcome::Delivered;
    Ok(if probe.attempt.as_ref().is_some_and(took) { Exit::Done } else { Exit::Failed })
}

async fn rotate_secret(RotateArgs { keep, secret_file, one }: RotateArgs) -> anyhow::Result<Exit> {
    let secret = secret_file.as_deref().map(secret_args::text_of).transpose()?;
    let request =
        serde_json::json!({ "secret": secret.as_deref().map(str::trim), "keep_seconds": keep.as_secs() });
    let path = ["v1", "tenants", one.tenant.as_str(), "endpoints", one.endpoint.as_str(), "rotate-secret"];
    let answer = Client::admin(&one.admin)?.post(&path, HeaderMap::new(), Some(request.to_string())).await?;
    if one.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&rotated(&one.endpoint, &answer.read()?))?;
    }
    Ok(Exit::Done)
}

/// What the receiver has to be given, on a line of its own.
fn rotated(endpoint: &EndpointId, Rotated { secret, public_key, previous_until }: &Rotated) -> String {
    let told = match (secret, public_key) {
        (Some(secret), _) => format!("{endpoint} signs with a secret that is shown this once:\n{secret}\n"),
        (None, Some(key)) => format!("{endpoint} signs with a key pair, whose public half is:\n{key}\n"),
        (None, None) => format!("{endpoint} signs with the secret that was given\n"),
    };
    format!("{told}the secrets before it sign too, up to {previous_until}\n")
}

/// What became of a sample, in the order in which it happened.
fn told(endpoint: &EndpointId, probe: &Probe) -> String {
    let mut text = format!("{} ({}) to {endpoint}\n", probe.id, probe.event_type);
    if let Some(content) = &probe.content {
        let _ = writeln!(text, "  sent      {}", show::escaped(&content.content_type));
        for (name, value) in &content.headers {
            let _ = writeln!(text, "            {}: {}", show::escaped(name), show::escaped(value));
        }
        match (&content.data, &content.data_base64) {
            (Some(data), _) => text.push_str(&show::data(data.as_bytes(), "    | ")),
            (None, Some(base64)) => text.push_str(&show::data(base64.as_bytes(), "    base64 | ")),
            (None, None) => {}
        }
    }
    let result = match (probe.result, &probe.attempt) {
        (ProbeResult::Sent, Some(attempt)) => attempt.outcome.as_str(),
        (ProbeResult::Sent, None) => "sent",
        (ProbeResult::Filtered, _) => "filtered",
        (ProbeResult::Failed, _) => "failed",
        (ProbeResult::Waits, _) => "waits",
    };
    let _ = writeln!(text, "  result    {result}");
    if let Some(reason) = &probe.reason {
        let _ = writeln!(text, "    {}", show::escaped(reason));
    }
    if let Some(attempt) = &probe.attempt {
        text.push_str(&attempt::details(attempt));
    }
    text
}

/// What a person looks for first: whether it is sent events, and if not, why.
fn state(endpoint: &EndpointView) -> String {
    match (&endpoint.disabled, &endpoint.failing_since) {
        (Some(disabled), _) => format!("disabled since {}: {}", disabled.at, disabled.reason),
        (None, _) if !endpoint.enabled => "disabled by the configuration".to_owned(),
        (None, _) if endpoint.waits.is_some() => {
            format!("waiting: {}", endpoint.waits.as_deref().unwrap_or_default())
        }
        (None, Some(since)) => match endpoint.breaker.probe_in_ms {
            Some(millis) => format!("failing since {since}; the next try is in {} s", millis.div_ceil(1000)),
            None => format!("failing since {since}"),
        },
        (None, None) => "enabled".to_owned(),
    }
}

fn table(endpoints: &[EndpointView]) -> show::Rows {
    let mut rows =
        show::Rows::new(&["ENDPOINT", "KIND", "URL", "PENDING", "DELIVERED", "EXHAUSTED", "FAILED", "STATE"]);
    for endpoint in endpoints {
        let count = |status| endpoint.count(status).to_string();
        rows.push([
            endpoint.id.as_str(),
            &endpoint.kind,
            &endpoint.url,
            &count(Status::Pending),
            &count(Status::Delivered),
            &count(Status::Exhausted),
            &count(Status::Failed),
            &state(endpoint),
        ]);
    }
    rows
}

/// How fast it may be tried, and what its breaker is at where that is not as usual.
fn pace(endpoint: &EndpointView) -> String {
    let mut pace = format!("{} at a time", endpoint.concurrency);
    if let Some(per_second) = endpoint.per_second {
        let _ = write!(pace, ", {per_second} a second");
    }
    match (endpoint.breaker.state.as_str(), endpoint.breaker.probe_in_ms) {
        ("closed", _) => {}
        (state, Some(millis)) => {
            let _ = write!(pace, "; its breaker is {state}, a probe goes out in {} s", millis.div_ceil(1000));
        }
        (state, None) => {
            let _ = write!(pace, "; its breaker is {state}");
        }
    }
    pace
}

fn whole(endpoint: &EndpointView) -> String {
    let mut text = format!("{}\n", endpoint.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}  {}", show::escaped(value));
    };
    line("state", &state(endpoint));
    line("kind", &endpoint.kind);
    line("url", &endpoint.url);
    line("pace", &pace(endpoint));
    line("event types", &endpoint.event_types.join(", "));
    if !endpoint.filters.is_empty() {
        line("filters", &endpoint.filters.join(", then "));
    }
    if !endpoint.transformers.is_empty() {
        line("transformers", &endpoint.transformers.join(", then "));
    }
    text.push_str("deliveries\n");
    for status in Status::ALL {
        let _ = writeln!(text, "  {:<12}  {}", status.as_str(), endpoint.count(status));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::{BreakerView, DisabledView};

    fn endpoint() -> EndpointView {
        EndpointView {
            id: EndpointId::new("billing").unwrap(),
            kind: "http".to_owned(),
            url: "https://billing.example.com/\u{1b}hooks".to_owned(),
            event_types: vec!["invoice.*".to_owned(), "order.paid".to_owned()],
            filters: vec!["large-only".to_owned(), "eu-only".to_owned()],
            transformers: Vec::new(),
            enabled: true,
            disabled: None,
            waits: None,
            failing_since: None,
            breaker: BreakerView { state: "closed".to_owned(), probe_in_ms: None },
            concurrency: 16,
            per_second: None,
            deliveries: BTreeMap::from([("pending".to_owned(), 3), ("delivered".to_owned(), 40)]),
        }
    }

    #[test]
    fn the_state_says_why_nothing_is_sent() {
        let gone = || {
            Some(DisabledView { reason: "answered 410".to_owned(), at: "2026-01-31T12:00:00Z".to_owned() })
        };
        let failing = || Some("2026-01-30T12:00:00Z".to_owned());
        for (enabled, disabled, failing_since, wanted) in [
            (true, None, None, "enabled"),
            (true, None, failing(), "failing since 2026-01-30T12:00:00Z"),
            (false, None, failing(), "disabled by the configuration"),
            (false, gone(), None, "disabled since 2026-01-31T12:00:00Z: answered 410"),
        ] {
            assert_eq!(state(&EndpointView { enabled, disabled, failing_since, ..endpoint() }), wanted);
        }
        let waits = Some("plugin p is paused: it trapped".to_owned());
        assert_eq!(state(&EndpointView { waits, ..endpoint() }), "waiting: plugin p is paused: it trapped");
    }

    #[test]
    fn the_pace_tells_of_a_breaker_that_is_not_closed() {
        let breaker = |state: &str, probe_in_ms| BreakerView { state: state.to_owned(), probe_in_ms };
        for (per_second, breaker, wanted) in [
            (None, breaker("closed", None), "16 at a time"),
            (Some(50), breaker("closed", None), "16 at a time, 50 a second"),
            (None, breaker("half-open", None), "16 at a time; its breaker is half-open"),
            (
                Some(50),
                breaker("open", Some(1200)),
                "16 at a time, 50 a second; its breaker is open, a probe goes out in 2 s",
            ),
        ] {
            assert_eq!(pace(&EndpointView { per_second, breaker, ..endpoint() }), wanted);
        }
    }

    #[test]
    fn an_endpoint_is_shown_whole() {
        let wanted = "\
billing
  state         enabled
  kind          http
  url           https://billing.example.com/\\u{1b}hooks
  pace          16 at a time
  event types   invoice.*, order.paid
  filters       large-only, then eu-only
deliveries
  pending       3
  delivered     40
  filtered      0
  exhausted     0
  failed        0
  cancelled     0
  expired       0
";
        assert_eq!(whole(&endpoint()), wanted);
    }

    #[test]
    fn the_table_counts_what_matters() {
        let text = table(&[endpoint()]).render(show::Look::Plain);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            ["billing", "http", "https://billing.example.com/\\u{1b}hooks", "3", "40", "0", "0", "enabled"]
        );
    }
}
