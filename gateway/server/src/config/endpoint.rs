//! An endpoint: where its events go, which of them, in what form, and how often it is tried.

use std::collections::BTreeMap;

use hookweir_model::{PluginId, PluginRole, TypePattern};

use super::check::{Surroundings, not_yet};
use super::checked::{Endpoint, Format};
use super::kind::{self, Common};
use super::near;
use super::pace;
use super::plugin::Found;
use super::problem::{Fault, Report};
use super::retry;
use super::secret;
use super::written::{Table, Value};

/// The keys of every kind of endpoint.
const KEYS: [&str; 13] = [
    "kind",
    "event_types",
    "filters",
    "transformers",
    "format",
    "user_id",
    "retry",
    "concurrency",
    "rate",
    "breaker",
    "record",
    "ordered",
    "enabled",
];

/// Reads an endpoint's table: of which tenant, and under which name. `plugins` are those of its tenant.
pub(super) fn endpoint(
    table: &Table<'_>,
    (tenant, endpoint): (&str, &str),
    plugins: &BTreeMap<PluginId, Found>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Endpoint> {
    let kind = kind::kind(table, report)?;
    let keys: Vec<&str> = KEYS.iter().chain(kind.keys()).copied().collect();
    table.allow(&keys, report);
    if let Some(ordered) = table.get("ordered")
        && ordered.boolean(report) == Some(true)
    {
        ordered.refuse(not_yet("ordered delivery", "leave it out, or write `ordered = false`"), report);
    }
    let event_types = table.get("event_types").map_or_else(every_type, |value| event_types(&value, report));
    let filters = chain(table.get("filters"), PluginRole::Filter, plugins, report);
    let transformers = chain(table.get("transformers"), PluginRole::Transformer, plugins, report);
    let format = format(table, report);
    let retry = retry::policy(table.get("retry"), report);
    let target = kind.destination(table, &Common { tenant, endpoint, retry: &retry, outside }, report);
    let pace = pace::policy(table, report);
    let record =
        table.get("record").and_then(|value| value.one_of(&[("failed", false), ("all", true)], report));
    let enabled = table.get("enabled").and_then(|value| value.boolean(report)).unwrap_or(true);
    Some(Endpoint {
        target: target?,
        event_types,
        filters,
        transformers,
        format: format?,
        retry,
        pace,
        keeps_all: record.unwrap_or(false),
        secret_file: table.get("secret").and_then(|value| secret::file_of(&value, outside)),
        enabled,
    })
}

fn every_type() -> Vec<TypePattern> {
    vec![TypePattern::everything()]
}

fn event_types(value: &Value<'_>, report: &mut Report) -> Vec<TypePattern> {
    let help = "write a list of patterns, such as [\"invoice.*\"]";
    let Some(items) = value.list(help, report) else { return Vec::new() };
    if items.is_empty() {
        let help = "leave `event_types` out for every event, or set `enabled = false` to hold events back";
        value.refuse(Fault::new("an empty list matches no event", help), report);
    }
    let pattern = |text: &str| {
        TypePattern::parse(text).map_err(|error| {
            Fault::new(format!("{text:?} is not a pattern of event types"), error.to_string())
        })
    };
    items
        .into_iter()
        .filter_map(|item| item.parsed(pattern, "write a pattern in quotes, such as \"invoice.*\"", report))
        .collect()
}

/// Reads the plugins that run in one role, in order.
fn chain(
    value: Option<Value<'_>>,
    role: PluginRole,
    plugins: &BTreeMap<PluginId, Found>,
    report: &mut Report,
) -> Vec<PluginId> {
    let example = "write a list of plugin names, such as [\"large-only\"]";
    let Some(items) = value.and_then(|value| value.list(example, report)) else { return Vec::new() };
    let mut chain: Vec<PluginId> = Vec::new();
    for item in items {
        let found = item.parsed(
            |text| resolve(text, role, &chain, plugins),
            "write a plugin's name in quotes",
            report,
        );
        chain.extend(found);
    }
    chain
}

fn resolve(
    text: &str,
    role: PluginRole,
    earlier: &[PluginId],
    plugins: &BTreeMap<PluginId, Found>,
) -> Result<PluginId, Fault> {
    let role_name = role.as_str();
    let Some((id, plugin)) = plugins.get_key_value(text) else {
        let known: Vec<&str> = plugins.keys().map(PluginId::as_str).collect();
        let help = match near::nearest(text, &known) {
            Some(guess) => format!("did you mean {guess:?}?"),
            None if known.is_empty() => {
                "add a table for it under the tenant's `plugins`, with its `file`".to_owned()
            }
            None => format!("its plugins are {}; or add a table for this one", near::list_of(&known, "and")),
        };
        return Err(Fault::new(format!("the tenant has no plugin {text:?}"), help));
    };
    if earlier.contains(id) {
        let help = "a second call gives the same answer: name it once";
        return Err(Fault::new(format!("{text:?} is a {role_name} of this endpoint already"), help));
    }
    let fits = plugin.exports.is_none_or(|exports| match role {
        PluginRole::Filter => exports.filter,
        PluginRole::Transformer => exports.transformer,
    });
    if fits {
        Ok(id.clone())
    } else {
        let other = match role {
            PluginRole::Filter => "transformers",
            PluginRole::Transformer => "filters",
        };
        let help = format!("name it under `{other}`, or build it for the world `{role_name}`");
        Err(Fault::new(format!("{text:?} exports no {role_name}"), help))
    }
}

fn format(table: &Table<'_>, report: &mut Report) -> Option<Format> {
    #[derive(Clone, Copy, PartialEq)]
    enum Named {
        Data,
        Envelope,
        Ims,
        Later,
    }
    let names = [
        ("data", Named::Data),
        ("envelope", Named::Envelope),
        ("ims", Named::Ims),
        ("cloudevents", Named::Later),
        ("cloudevents-structured", Named::Later),
    ];
    let named = match table.get("format") {
        Some(value) => {
            let named = value.one_of(&names, report)?;
            if named == Named::Later {
                value.refuse(not_yet("this format", "use \"data\", \"envelope\" or \"ims\""), report);
                return None;
            }
            named
        }
        None => Named::Data,
    };
    let user_id = table.get("user_id");
    match (named, user_id) {
        (Named::Ims, Some(user_id)) => {
            user_id.whole_number(0..=u64::MAX, report).map(|user_id| Format::Ims { user_id })
        }
        (Named::Ims, None) => {
            table.need("user_id", "the format \"ims\" carries it: add `user_id = 1234567890`", report);
            None
        }
        (named, user_id) => {
            if let Some(user_id) = user_id {
                let help = "remove it, or set `format = \"ims\"`";
                user_id.refuse_key(Fault::new("only the format \"ims\" carries a user id", help), report);
            }
            Some(if named == Named::Envelope { Format::Envelope } else { Format::Data })
        }
    }
}
