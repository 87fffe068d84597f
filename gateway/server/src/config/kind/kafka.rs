//! `kind = "kafka"`: a topic of Kafka.

use hookweir_delivery::{KafkaLogin, KafkaTarget, SaslMechanism, Scheme, Target, Template};

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind =
    Kind { name: "kafka", keys: &["servers", "topic", "key", "sasl", "user", "password", "ca"], target };

const SCHEMES: [Scheme; 2] =
    [Scheme { name: "kafka", port: 9092, tls: false }, Scheme { name: "kafkas", port: 9092, tls: true }];
const EXAMPLE: &str = "kafka://broker.example.com:9092";
/// Kafka's own limit of a topic's name.
const LONGEST_TOPIC: usize = 249;

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let servers = broker::servers(table, &SCHEMES, EXAMPLE, common, report);
    let topic = table
        .need("topic", "add `topic = \"hooks\"`", report)
        .and_then(|value| topic(&value, common, report));
    let key = table.get("key").and_then(|value| broker::template(&value, common, report));
    let login = login(table, common, report);
    Some(Target::Kafka(KafkaTarget {
        servers: servers?,
        login,
        topic: topic?,
        key,
        timeout: common.retry.timeout,
    }))
}

fn login(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<KafkaLogin> {
    let mechanism = table.get("sasl").map(|value| {
        value.one_of(
            &[
                ("plain", SaslMechanism::Plain),
                ("scram-sha-256", SaslMechanism::ScramSha256),
                ("scram-sha-512", SaslMechanism::ScramSha512),
            ],
            report,
        )
    });
    if table.get("user").is_none() && table.get("password").is_none() {
        if mechanism.is_some() {
            table.need("user", "a login has one: add `user` and `password`, or remove `sasl`", report);
        }
        return None;
    }
    let (user, password) = broker::login(table, common, report)?;
    Some(KafkaLogin { mechanism: mechanism.flatten().unwrap_or(SaslMechanism::ScramSha512), user, password })
}

fn topic(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Template> {
    let template = broker::template(value, common, report)?;
    let sample = template.sample();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let checked = if template.has_subject() {
        let help = "use {type}; an event's subject is free text";
        Err(Fault::new("an event's subject can't be part of a topic of Kafka", help))
    } else if sample.len() > LONGEST_TOPIC || !sample.chars().all(is_allowed) {
        let help = "write letters, digits, '.', '_' and '-', such as \"hooks.{type}\"";
        Err(Fault::new("this can't be the name of a topic of Kafka", help))
    } else {
        Ok(template)
    };
    value.take(checked, report)
}
