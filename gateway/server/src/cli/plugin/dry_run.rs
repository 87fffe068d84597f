//! A dry run: what a new component would change, told by the tenant's stored events. Nothing is sent.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_model::{PluginId, TenantId};
use reqwest::Method;
use similar::TextDiff;

use crate::api::{DryRun, DryRunContent, DryRunEvent, DryRunResult};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::progress::Progress;
use crate::cli::when::When;
use crate::cli::{Exit, show};

/// Which stored events a dry run is made on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Window {
    /// Only events received at or after this time: 2026-01-31T12:00:00Z, or how long ago, as 1h
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Only events received before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
    /// Only events of these types, as order.*
    #[arg(long, value_name = "PATTERN")]
    event_type: Option<String>,
    /// How many events at most, newest first; up to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

impl Window {
    pub(super) fn is_given(&self) -> bool {
        !self.query().is_empty()
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("since", self.since.map(When::rfc3339)),
            ("until", self.until.map(When::rfc3339)),
            ("event_type", self.event_type.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Runs a component beside the one in force and shows what differs.
pub(super) async fn dry_run(
    admin: &AdminArgs,
    tenant: &TenantId,
    plugin: &PluginId,
    wasm: Vec<u8>,
    window: &Window,
) -> anyhow::Result<Exit> {
    let path = ["v1", "tenants", tenant.as_str(), "plugins", plugin.as_str(), "test"];
    let progress = Progress::of("stored events go through it".to_owned());
    let answer = Client::admin(admin)?.send_bytes(Method::POST, &path, &window.query(), wasm).await?;
    progress.end();
    if admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&told(plugin, &answer.read()?))?;
    }
    Ok(Exit::Done)
}

/// A diff for each event that comes out another way, and the count.
fn told(plugin: &PluginId, run: &DryRun) -> String {
    let mut text = String::new();
    for event in run.data.iter().filter(|event| !event.same) {
        text.push_str(&diff(event));
        text.push('\n');
    }
    let before = run.before.map_or_else(|| "no component".to_owned(), |digest| digest.short());
    let _ = writeln!(
        text,
        "{plugin}: {before} -> {}: {} event{} run, {} same, {} changed; nothing was sent",
        run.after.short(),
        run.events,
        if run.events == 1 { "" } else { "s" },
        run.same,
        run.changed,
    );
    if run.cut {
        text.push_str("it stopped at a bound with older events left: narrow it by --until or --event-type\n");
    }
    text
}

fn diff(event: &DryRunEvent) -> String {
    let endpoint = event.endpoint.as_ref().map(|endpoint| format!(" for {endpoint}")).unwrap_or_default();
    let mut text = format!("{} {}{endpoint}\n", event.event, event.event_type);
    let (before, after) = (rendered(&event.before), rendered(&event.after));
    let diff = TextDiff::from_lines(&before, &after);
    let unified = diff.unified_diff().context_radius(3).header("before", "after").to_string();
    text.push_str(&show::block(&unified, ""));
    text
}

/// A result as lines that can be compared: JSON is indented, so that one field that differs is one line.
fn rendered(result: &DryRunResult) -> String {
    match result {
        DryRunResult::Send(content) => sent(content),
        DryRunResult::Drop { plugin, reason } => format!("dropped by {plugin}: {reason}\n"),
        DryRunResult::Fail { plugin, kind, reason } => format!("failed in {plugin} ({kind}): {reason}\n"),
        DryRunResult::Wait { reason } => format!("waits: {reason}\n"),
    }
}

fn sent(content: &DryRunContent) -> String {
    let mut text = format!("content-type: {}\n", content.content_type);
    for (name, value) in &content.headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    text.push('\n');
    let data = match (&content.data, &content.data_base64) {
        (Some(data), _) => show::indented(data).unwrap_or_else(|| data.clone()),
        (None, Some(base64)) => show::data(&BASE64.decode(base64).unwrap_or_default(), ""),
        (None, None) => format!("({} bytes)", content.size),
    };
    text.push_str(&data);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookweir_model::{Digest, EndpointId, EventId, EventType};

    fn send(data: &str) -> DryRunResult {
        DryRunResult::Send(DryRunContent {
            content_type: "application/json".to_owned(),
            headers: vec![("x-team".to_owned(), "billing".to_owned())],
            size: data.len(),
            data: Some(data.to_owned()),
            data_base64: None,
        })
    }

    #[test]
    fn what_differs_is_shown_by_line_and_counted() {
        let event = |same, before, after| DryRunEvent {
            event: EventId::new("evt_1").unwrap(),
            event_type: EventType::new("order.created").unwrap(),
            endpoint: Some(EndpointId::new("billing").unwrap()),
            same,
            before,
            after,
        };
        let run = DryRun {
            before: Some(Digest::of(b"old")),
            after: Digest::of(b"new"),
            events: 3,
            same: 1,
            changed: 2,
            cut: false,
            data: vec![
                event(false, send(r#"{"id":1,"total":"5.00"}"#), send(r#"{"id":1,"total":5}"#)),
                event(true, send("1"), send("1")),
                event(
                    false,
                    send("1"),
                    DryRunResult::Drop {
                        plugin: PluginId::new("p").unwrap(),
                        reason: "too\u{1b}small".into(),
                    },
                ),
            ],
        };
        let text = told(&PluginId::new("p").unwrap(), &run);
        for line in [
            "evt_1 order.created for billing",
            "-  \"total\": \"5.00\"",
            "+  \"total\": 5",
            "+dropped by p: too\\u{1b}small",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let summary = "3 events run, 1 same, 2 changed; nothing was sent\n";
        assert!(text.ends_with(summary), "{text}");
    }
}
