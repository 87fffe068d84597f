//! An endpoint: where its events go, which of them, in what form, and how often it is tried.

use std::collections::BTreeMap;

use hookweir_delivery::guard::check_url;
use hookweir_delivery::sign::Key as SigningKey;
use hookweir_delivery::{HttpTarget, Signing};
use hookweir_model::{InvalidHeader, MAX_HEADERS, PluginId, PluginRole, TypePattern, check_header};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::check::{Surroundings, not_yet};
use super::checked::{Endpoint, Format};
use super::near;
use super::plugin::Found;
use super::problem::{Fault, Report};
use super::retry;
use super::secret::{self, one_or_more};
use super::written::{Table, Value, names_secret};

const KEYS: [&str; 15] = [
    "kind",
    "url",
    "event_types",
    "filters",
    "transformers",
    "format",
    "user_id",
    "sign",
    "secret",
    "headers",
    "retry",
    "concurrency",
    "rate",
    "ordered",
    "enabled",
];
/// The kinds that are planned, each with keys of its own.
const LATER_KINDS: [&str; 8] = ["pull", "smq", "nats", "rabbitmq", "redis", "kafka", "sqs", "mqtt"];
const DEFAULT_CONCURRENCY: u64 = 16;
/// Each attempt in flight holds a socket and its event's bytes.
const MOST_CONCURRENCY: u64 = 1024;
/// Alibaba's own limit for the key of a callback.
const LONGEST_IMS_KEY: usize = 32;

/// Reads an endpoint's table. `plugins` are those of its tenant.
pub(super) fn endpoint(
    table: &Table<'_>,
    plugins: &BTreeMap<PluginId, Found>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Endpoint> {
    if !is_http(table, report) {
        return None;
    }
    table.allow(&KEYS, report);
    if let Some(rate) = table.get("rate") {
        rate.refuse_key(not_yet("a rate", "leave it out; `concurrency` bounds what is in flight"), report);
    }
    if let Some(ordered) = table.get("ordered")
        && ordered.boolean(report) == Some(true)
    {
        ordered.refuse(not_yet("ordered delivery", "leave it out, or write `ordered = false`"), report);
    }
    let url = table
        .need("url", "add `url = \"https://...\"`, where the events are to go", report)
        .and_then(|value| url(&value, outside, report));
    let event_types = table.get("event_types").map_or_else(every_type, |value| event_types(&value, report));
    let filters = chain(table.get("filters"), PluginRole::Filter, plugins, report);
    let transformers = chain(table.get("transformers"), PluginRole::Transformer, plugins, report);
    let format = format(table, report);
    let signing = signing(table, outside, report);
    let headers = table.get("headers").map(|value| headers(&value, report)).unwrap_or_default();
    let retry = retry::policy(table.get("retry"), report);
    let concurrency = table
        .get("concurrency")
        .and_then(|value| value.whole_number(1..=MOST_CONCURRENCY, report))
        .unwrap_or(DEFAULT_CONCURRENCY);
    let enabled = table.get("enabled").and_then(|value| value.boolean(report)).unwrap_or(true);
    let (configured_url, url) = url?;
    Some(Endpoint {
        target: HttpTarget {
            url,
            configured_url,
            headers,
            signing,
            timeout: retry.timeout,
            connect_timeout: retry.connect_timeout,
            success: retry.success.clone(),
        },
        event_types,
        filters,
        transformers,
        format: format?,
        retry,
        concurrency: usize::try_from(concurrency).ok()?,
        enabled,
    })
}

/// Whether the endpoint's kind is one that this version has. The keys of another kind are not looked at.
fn is_http(table: &Table<'_>, report: &mut Report) -> bool {
    let Some(kind) = table.get("kind") else { return true };
    let later = LATER_KINDS.map(|kind| (kind, false));
    let kinds: Vec<(&str, bool)> = [("http", true)].into_iter().chain(later).collect();
    match kind.one_of(&kinds, report) {
        Some(false) => {
            kind.refuse(
                not_yet("this kind of endpoint", "leave the endpoint out, or write kind = \"http\""),
                report,
            );
            false
        }
        Some(true) => true,
        None => false,
    }
}

fn url(value: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<(String, Url)> {
    let text = value.text("write a URL in quotes, such as \"https://hooks.example.com/path\"", report)?;
    // What stands before an '@' may be a password.
    if text.contains('@') {
        report.hide(value.place());
    }
    let checked = check_url(text, &outside.egress).map_err(|fault| {
        let sentence = fault.to_string();
        match sentence.split_once(": ") {
            Some((what, help)) => Fault::new(what, help),
            None => Fault::new(sentence, "write it as https://hooks.example.com/path"),
        }
    });
    value.take(checked, report).map(|url| (text.to_owned(), url))
}

fn every_type() -> Vec<TypePattern> {
    TypePattern::parse("**").into_iter().collect()
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

fn signing(table: &Table<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Signing {
    #[derive(Clone, Copy)]
    enum Named {
        Standard,
        Ims,
        None,
    }
    let names = [("standard", Named::Standard), ("ims", Named::Ims), ("none", Named::None)];
    let sign = table.get("sign");
    let named = match &sign {
        Some(value) => match value.one_of(&names, report) {
            Some(named) => Some(named),
            // Without it nothing can be said of the secret.
            None => return Signing::None,
        },
        None => None,
    };
    match (named, table.get("secret")) {
        (None | Some(Named::None), None) => Signing::None,
        (Some(Named::None), Some(secret)) => {
            let help = "remove the secret, or `sign = \"none\"`";
            secret.refuse_key(Fault::new("nothing is signed with this secret", help), report);
            Signing::None
        }
        (Some(Named::Standard | Named::Ims), None) => {
            table.need("secret", &format!("requests are signed with it: {}", secret::EXAMPLE), report);
            Signing::None
        }
        (None | Some(Named::Standard), Some(secret)) => {
            let keys = one_or_more(&secret, outside, report)
                .into_iter()
                .filter_map(|(value, secret)| value.take(standard_key(&secret), report));
            Signing::Standard(keys.collect())
        }
        (Some(Named::Ims), Some(secret)) => {
            // Its receivers know one signature header, so the first key signs alone; those after it are for a
            // rotation that is still to come.
            let keys: Vec<SecretString> = one_or_more(&secret, outside, report)
                .into_iter()
                .filter_map(|(value, secret)| value.take(ims_key(&secret).map(|()| secret), report))
                .collect();
            keys.into_iter().next().map_or(Signing::None, Signing::Ims)
        }
    }
}

fn standard_key(secret: &SecretString) -> Result<SigningKey, Fault> {
    let help =
        "a fresh one is whsec_ and what `openssl rand -base64 32` prints; for IMS, set `sign = \"ims\"`";
    SigningKey::parse(secret.expose_secret()).map_err(|fault| Fault::new(fault.to_string(), help))
}

fn ims_key(secret: &SecretString) -> Result<(), Fault> {
    let key = secret.expose_secret();
    let help = "use the AuthKey of the callback";
    if key.len() > LONGEST_IMS_KEY {
        let what = format!("the key has {} characters, and IMS takes at most {LONGEST_IMS_KEY}", key.len());
        Err(Fault::new(what, help))
    } else if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Fault::new("the key holds a space or a character outside ASCII", help))
    }
}

fn headers(value: &Value<'_>, report: &mut Report) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let example = "write a table, such as { x-team = \"billing\" }";
    let Some(table) = value.table(example, report) else { return headers };
    for (name, value) in table.entries() {
        if names_secret(name.text) {
            report.hide(value.place());
        }
        let parse = |text: &str| header(name.text, text);
        let Some((header, content)) = value.parsed(parse, "write the header's value in quotes", report)
        else {
            continue;
        };
        if headers.insert(header, content).is_some() {
            let help = "upper and lower case are one in header names: give it once";
            value.refuse_key(Fault::new("the header is given twice", help), report);
        }
    }
    if headers.len() > MAX_HEADERS {
        let what = format!("{} headers are more than the {MAX_HEADERS} that are allowed", headers.len());
        value.refuse_key(Fault::new(what, "put what belongs together into one header"), report);
    }
    headers
}

fn header(name: &str, text: &str) -> Result<(HeaderName, HeaderValue), Fault> {
    check_header(name, text).map_err(|error| {
        let help = match &error {
            InvalidHeader::Value { .. } => "write the value in ASCII and on one line",
            _ => "headers of the receiver's own can be added, such as x-team",
        };
        Fault::new(error.to_string(), help)
    })?;
    let unfit = || Fault::new("this can't be sent as a header", "write name and value in ASCII");
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
    let mut content = HeaderValue::from_str(text).map_err(|_| unfit())?;
    // It may be a credential, so it never shows in a log.
    content.set_sensitive(true);
    Ok((name, content))
}
