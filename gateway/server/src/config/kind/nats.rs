//! `kind = "nats"`: a stream of NATS JetStream.

use hookweir_delivery::{NatsLogin, NatsTarget, Scheme, Target, Template};

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::secret;
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind = Kind {
    name: "nats",
    keys: &["servers", "subject", "stream", "user", "password", "token", "credentials", "nkey", "ca"],
    target,
};

const SCHEMES: [Scheme; 2] =
    [Scheme { name: "nats", port: 4222, tls: false }, Scheme { name: "tls", port: 4222, tls: true }];
const EXAMPLE: &str = "nats://nats.example.com:4222";

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let servers = broker::servers(table, &SCHEMES, EXAMPLE, common, report);
    let subject = table
        .need("subject", "add `subject = \"hooks.{tenant}.{type}\"`, one that a stream listens to", report)
        .and_then(|value| subject(&value, common, report));
    let stream = table
        .get("stream")
        .and_then(|value| value.parsed(stream, "write the stream's name in quotes", report));
    let login = login(table, common, report);
    Some(Target::Nats(NatsTarget {
        servers: servers?,
        login: login?,
        subject: subject?,
        stream,
        timeout: common.retry.timeout,
    }))
}

fn subject(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Template> {
    let template = broker::template(value, common, report)?;
    let sample = template.sample();
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let checked = if template.has_subject() {
        let help = "use {type}; an event's subject is free text, and goes along as a header";
        Err(Fault::new("an event's subject can't be part of a subject of NATS", help))
    } else if sample.contains(['*', '>']) {
        Err(Fault::new(
            "a message goes to one subject: '*' and '>' are for readers",
            "write \"hooks.{type}\"",
        ))
    } else if sample.split('.').all(is_token) {
        Ok(template)
    } else {
        let help = "write words joined by dots, such as \"hooks.{type}\"";
        Err(Fault::new("this is no subject of NATS", help))
    };
    value.take(checked, report)
}

/// Streams are named by the rule of file names.
fn stream(text: &str) -> Result<String, Fault> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '/' | '\\');
    if text.is_empty() || !text.chars().all(is_allowed) {
        let help = "write the name that `nats stream ls` shows, such as \"HOOKS\"";
        return Err(Fault::new(format!("{text:?} can't be the name of a stream"), help));
    }
    Ok(text.to_owned())
}

/// A server knows its clients in one of four ways.
fn login(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<NatsLogin> {
    let given: Vec<(&str, Value<'_>)> = ["user", "token", "credentials", "nkey"]
        .into_iter()
        .filter_map(|key| table.get(key).map(|value| (key, value)))
        .collect();
    if let [(first, _), (second, value), ..] = given.as_slice() {
        let what = format!("`{second}` stands beside `{first}`, and a client has one of them");
        value.refuse_key(Fault::new(what, "remove one of the two"), report);
        return None;
    }
    let secret = |value: &Value<'_>, report: &mut Report| secret::secret(value, common.outside, report);
    match given.first() {
        Some(("token", value)) => secret(value, report).map(NatsLogin::Token),
        Some(("credentials", value)) => secret(value, report).map(NatsLogin::Credentials),
        Some(("nkey", value)) => secret(value, report).map(NatsLogin::Seed),
        Some(_) => {
            broker::login(table, common, report).map(|(user, password)| NatsLogin::User { user, password })
        }
        None if table.get("password").is_some() => {
            broker::login(table, common, report);
            None
        }
        None => Some(NatsLogin::Nobody),
    }
}
