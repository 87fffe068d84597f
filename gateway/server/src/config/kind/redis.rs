//! `kind = "redis"`: a Redis stream.

use hookweir_delivery::{RedisTarget, Scheme, Target};

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::secret;
use crate::config::written::Table;

pub(super) const KIND: Kind = Kind {
    name: "redis",
    keys: &["url", "stream", "max_length", "wait_replicas", "user", "password", "ca"],
    target,
};

const SCHEMES: [Scheme; 2] =
    [Scheme { name: "redis", port: 6379, tls: false }, Scheme { name: "rediss", port: 6379, tls: true }];
const EXAMPLE: &str = "redis://cache.example.com:6379/0";
/// More replicas than any primary has.
const MOST_REPLICAS: u64 = 100;

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let url = table.need("url", &format!("add `url = {EXAMPLE:?}`"), report);
    let server = url.as_ref().and_then(|value| {
        let (mut server, path) = broker::server(value, &SCHEMES, EXAMPLE, common, report)?;
        broker::trust(table, &mut server, common, report);
        let database = if path.is_empty() { Ok(0) } else { path.parse::<u32>() };
        let database = database.map_err(|_| {
            let help = format!("a database is a number: write {EXAMPLE:?}");
            Fault::new(format!("{path:?} is no database"), help)
        });
        value.take(database, report).map(|database| (server, database))
    });
    let stream = table
        .need("stream", "add `stream = \"hooks\"`, the key of the stream", report)
        .and_then(|value| broker::template(&value, common, report));
    let max_length = table.get("max_length").and_then(|value| value.whole_number(1..=u64::MAX, report));
    let wait_replicas =
        table.get("wait_replicas").and_then(|value| value.whole_number(0..=MOST_REPLICAS, report));
    let (user, password) = match table.get("user") {
        Some(_) => broker::login(table, common, report).unzip(),
        // The default user has a password alone.
        None => {
            (None, table.get("password").and_then(|value| secret::secret(&value, common.outside, report)))
        }
    };
    let (server, database) = server?;
    Some(Target::Redis(RedisTarget {
        server,
        database,
        user,
        password,
        stream: stream?,
        max_length,
        wait_replicas: u32::try_from(wait_replicas.unwrap_or(0)).ok()?,
        timeout: common.retry.timeout,
    }))
}
