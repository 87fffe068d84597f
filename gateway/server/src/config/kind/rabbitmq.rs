//! `kind = "rabbitmq"`: an exchange of RabbitMQ.

use hookweir_delivery::{RabbitMqTarget, Scheme, Target};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind =
    Kind { name: "rabbitmq", keys: &["url", "exchange", "routing_key", "user", "password", "ca"], target };

const SCHEMES: [Scheme; 2] =
    [Scheme { name: "amqp", port: 5672, tls: false }, Scheme { name: "amqps", port: 5671, tls: true }];
const EXAMPLE: &str = "amqps://rabbit.example.com/shop";
/// Where no path is written.
const DEFAULT_VHOST: &str = "/";
/// Who a fresh broker knows, on loopback alone.
const GUEST: &str = "guest";
/// AMQP's own limit of a name.
const LONGEST_NAME: usize = 255;

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let help = format!("add `url = {EXAMPLE:?}`; what follows the host is the virtual host");
    let server = table.need("url", &help, report).and_then(|value| {
        let (mut server, path) = broker::server(&value, &SCHEMES, EXAMPLE, common, report)?;
        broker::trust(table, &mut server, common, report);
        value.take(vhost(path), report).map(|vhost| (server, vhost))
    });
    let exchange = table.get("exchange").map_or(Some(String::new()), |value| exchange(&value, report));
    let routing_key = table
        .need(
            "routing_key",
            "add `routing_key = \"{type}\"`; for the default exchange, a queue's name",
            report,
        )
        .and_then(|value| broker::template(&value, common, report));
    let (user, password) = match (table.get("user"), table.get("password")) {
        (None, None) => (SecretString::from(GUEST), SecretString::from(GUEST)),
        _ => broker::login(table, common, report)?,
    };
    let (server, vhost) = server?;
    Some(Target::RabbitMq(RabbitMqTarget {
        server,
        vhost,
        user,
        password,
        exchange: exchange?,
        routing_key: routing_key?,
        timeout: common.retry.timeout,
    }))
}

/// The name of a virtual host may hold anything, and stands in the address as it does in any URL.
fn vhost(path: &str) -> Result<String, Fault> {
    if path.is_empty() {
        return Ok(DEFAULT_VHOST.to_owned());
    }
    let help = "write a slash within a virtual host's name as %2F";
    if path.contains(['/', '?', '#']) {
        return Err(Fault::new(format!("{path:?} is no virtual host"), help));
    }
    match percent_decode_str(path).decode_utf8() {
        Ok(vhost) => Ok(vhost.into_owned()),
        Err(_) => Err(Fault::new(format!("{path:?} is no virtual host: it is not UTF-8"), help)),
    }
}

fn exchange(value: &Value<'_>, report: &mut Report) -> Option<String> {
    let check = |text: &str| {
        if text.len() > LONGEST_NAME {
            let what = format!("a name has at most {LONGEST_NAME} bytes, and this has {}", text.len());
            return Err(Fault::new(what, "write the exchange's name as the broker shows it"));
        }
        Ok(text.to_owned())
    };
    value.parsed(check, "write the exchange's name in quotes", report)
}
