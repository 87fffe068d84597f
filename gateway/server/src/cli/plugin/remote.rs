//! `hookweir plugin list|get|rollback|pause|resume`: what a gateway has, and steering it.

use std::fmt::Write as _;

use hookweir_model::{PluginId, PluginRole};
use reqwest::header::HeaderMap;

use super::push::in_force;
use crate::api::{List, PluginView};
use crate::cli::client::{AdminArgs, Answer, Client};
use crate::cli::watch::WatchArgs;
use crate::cli::{Exit, Paging, TenantArg, show};

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
    /// The plugin's name
    plugin: PluginId,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let client = Client::admin(&args.admin)?;
    let path = ["v1", "tenants", args.tenant.as_str(), "plugins"];
    let look = async || {
        let answer = client.get(&path, &args.paging.query()).await?;
        if args.admin.json {
            return Ok(show::json_line(answer.json()).into());
        }
        let list: List<PluginView> = answer.read()?;
        Ok(show::page(&table(&list.data), list.next.as_deref(), "plugins"))
    };
    args.watch.show(look).await
}

pub(super) async fn get(args: One) -> anyhow::Result<Exit> {
    let path = ["v1", "tenants", args.tenant.as_str(), "plugins", args.plugin.as_str()];
    let answer = Client::admin(&args.admin)?.get(&path, &[]).await?;
    tell(&args, &answer, whole)
}

pub(super) async fn rollback(args: One) -> anyhow::Result<Exit> {
    let answer = post(&args, "rollback").await?;
    tell(&args, &answer, in_force)
}

pub(super) async fn pause(args: One) -> anyhow::Result<Exit> {
    let answer = post(&args, "pause").await?;
    tell(&args, &answer, |plugin| format!("{} is paused; deliveries that need it wait\n", plugin.id))
}

pub(super) async fn resume(args: One) -> anyhow::Result<Exit> {
    let answer = post(&args, "resume").await?;
    tell(&args, &answer, |plugin| format!("{} is called again\n", plugin.id))
}

async fn post(args: &One, verb: &str) -> anyhow::Result<Answer> {
    let path = ["v1", "tenants", args.tenant.as_str(), "plugins", args.plugin.as_str(), verb];
    Ok(Client::admin(&args.admin)?.post(&path, HeaderMap::new(), None).await?)
}

fn tell(args: &One, answer: &Answer, text: impl Fn(&PluginView) -> String) -> anyhow::Result<Exit> {
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&text(&answer.read()?))?;
    }
    Ok(Exit::Done)
}

fn state(plugin: &PluginView) -> String {
    match (&plugin.paused, &plugin.waits) {
        (Some(paused), _) => format!("paused since {}: {}", paused.since, paused.reason),
        (None, Some(waits)) => format!("waiting: {waits}"),
        (None, None) => "in force".to_owned(),
    }
}

fn table(plugins: &[PluginView]) -> show::Rows {
    let mut rows = show::Rows::new(&["PLUGIN", "SOURCE", "DIGEST", "BYTES", "ROLES", "STATE"]);
    for plugin in plugins {
        rows.push([
            plugin.id.as_str(),
            plugin.source.as_str(),
            &plugin.digest.map(|digest| digest.short()).unwrap_or_default(),
            &plugin.size.map(|size| size.to_string()).unwrap_or_default(),
            &roles(plugin),
            &state(plugin),
        ]);
    }
    rows
}

fn roles(plugin: &PluginView) -> String {
    plugin.exports.iter().map(|role| PluginRole::as_str(*role)).collect::<Vec<_>>().join(", ")
}

fn whole(plugin: &PluginView) -> String {
    let mut text = format!("{}\n", plugin.id);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9}  {}", show::escaped(value));
        }
    };
    let digest = |digest: Option<hookweir_model::Digest>| digest.map(|it| it.to_string()).unwrap_or_default();
    line("state", &state(plugin));
    line("source", plugin.source.as_str());
    line("digest", &digest(plugin.digest));
    line("previous", &digest(plugin.previous));
    line("bytes", &plugin.size.map(|size| size.to_string()).unwrap_or_default());
    line("uploaded", plugin.uploaded_at.as_deref().unwrap_or_default());
    line("roles", &roles(plugin));
    let endpoints: Vec<&str> = plugin.endpoints.iter().map(|endpoint| endpoint.as_str()).collect();
    line("endpoints", &endpoints.join(", "));
    let limits = &plugin.limits;
    line(
        "limits",
        &format!(
            "{} us of processor time, {} bytes of memory, {} of output, {} of log",
            limits.deadline_us, limits.memory, limits.output, limits.log
        ),
    );
    line(
        "reuse",
        if plugin.reuse { "an instance serves many events" } else { "each event has a fresh instance" },
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::{LimitsView, PausedView, PluginSource};
    use hookweir_model::{Digest, EndpointId};

    fn plugin() -> PluginView {
        PluginView {
            id: PluginId::new("large-only").unwrap(),
            source: PluginSource::Upload,
            digest: Some(Digest::of(b"new")),
            previous: None,
            size: Some(40_000),
            exports: vec![PluginRole::Filter],
            endpoints: vec![EndpointId::new("billing").unwrap()],
            paused: None,
            waits: None,
            failures: BTreeMap::new(),
            uploaded_at: Some("2026-01-31T12:00:00.000Z".to_owned()),
            limits: LimitsView { deadline_us: 10_000, memory: 1 << 24, output: 1 << 21, log: 1024 },
            reuse: false,
        }
    }

    #[test]
    fn the_state_says_why_deliveries_wait() {
        assert_eq!(state(&plugin()), "in force");
        let waits = Some("nothing was uploaded yet".to_owned());
        assert_eq!(state(&PluginView { waits, ..plugin() }), "waiting: nothing was uploaded yet");
        let paused =
            Some(PausedView { since: "noon".to_owned(), reason: "it trapped".to_owned(), failures: 5 });
        assert_eq!(state(&PluginView { paused, ..plugin() }), "paused since noon: it trapped");
    }

    #[test]
    fn a_plugin_is_shown_whole_without_what_it_lacks() {
        let wanted = format!(
            "\
large-only
  state      in force
  source     upload
  digest     {}
  bytes      40000
  uploaded   2026-01-31T12:00:00.000Z
  roles      filter
  endpoints  billing
  limits     10000 us of processor time, 16777216 bytes of memory, 2097152 of output, 1024 of log
  reuse      each event has a fresh instance
",
            Digest::of(b"new")
        );
        assert_eq!(whole(&plugin()), wanted);
    }
}
