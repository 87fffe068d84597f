//! `kind = "mqtt"`: a topic of a broker that speaks MQTT 5.

use hookweir_delivery::{MqttLogin, MqttTarget, Scheme, Target, Template};

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind = Kind {
    name: "mqtt",
    keys: &["url", "topic", "client_id", "retain", "require_subscriber", "user", "password", "ca"],
    target,
};

const SCHEMES: [Scheme; 2] =
    [Scheme { name: "mqtt", port: 1883, tls: false }, Scheme { name: "mqtts", port: 8883, tls: true }];
const EXAMPLE: &str = "mqtts://broker.example.com";
/// MQTT's own limit of any text.
const LONGEST_TEXT: usize = 65_535;

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let server = table
        .need("url", &format!("add `url = {EXAMPLE:?}`"), report)
        .and_then(|value| broker::bare_server(table, &value, &SCHEMES, EXAMPLE, common, report));
    let topic = table
        .need("topic", "add `topic = \"hooks/{tenant}/{type}\"`", report)
        .and_then(|value| topic(&value, common, report));
    let client_id = table
        .get("client_id")
        .and_then(|value| value.parsed(client_id, "write the client's id in quotes", report));
    let flag = |key: &str, report: &mut Report| table.get(key).and_then(|value| value.boolean(report));
    let retain = flag("retain", report).unwrap_or(false);
    let require_subscriber = flag("require_subscriber", report).unwrap_or(false);
    let has_login = table.get("user").is_some() || table.get("password").is_some();
    let login = has_login
        .then(|| broker::login(table, common, report))
        .flatten()
        .map(|(user, password)| MqttLogin { user, password });
    Some(Target::Mqtt(MqttTarget {
        server: server?,
        client_id,
        login,
        topic: topic?,
        retain,
        require_subscriber,
        timeout: common.retry.timeout,
    }))
}

fn topic(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Template> {
    let template = broker::template(value, common, report)?;
    let sample = template.sample();
    let checked = if template.has_subject() {
        let help = "use {type}; an event's subject is free text";
        Err(Fault::new("an event's subject can't be part of a topic of MQTT", help))
    } else if sample.contains(['+', '#', '\0']) {
        let help = "write \"hooks/{type}\"";
        Err(Fault::new("a message goes to one topic: '+' and '#' are for subscribers", help))
    } else if sample.starts_with('$') {
        Err(Fault::new("topics that start with '$' are the broker's own", "write \"hooks/{type}\""))
    } else {
        Ok(template)
    };
    value.take(checked, report)
}

fn client_id(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > LONGEST_TEXT || text.contains('\0') {
        let help = "leave it out, and the broker gives one; or write one that no other client has";
        return Err(Fault::new("this can't be the id of a client of MQTT", help));
    }
    Ok(text.to_owned())
}
