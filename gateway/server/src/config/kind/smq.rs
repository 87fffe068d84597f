//! `kind = "smq"`: a queue of Alibaba's SMQ.

use std::time::Duration;

use hookweir_delivery::{SmqTarget, Target};
use url::Url;

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::quantity::{duration, show_duration};
use crate::config::secret;
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind = Kind {
    name: "smq",
    keys: &["url", "ca", "queue", "access", "token", "base64", "priority", "delay", "event_id"],
    target,
};

const EXAMPLE: &str = "https://1234567890.mns.cn-shanghai.aliyuncs.com";
const ACCESS: &str = "write { id = { env = \"SMQ_ID\" }, secret = { env = \"SMQ_SECRET\" } }";
/// The protocol's own limits.
const LONGEST_QUEUE: usize = 120;
const LOWEST_PRIORITY: u64 = 16;
const LONGEST_DELAY: Duration = Duration::from_secs(604_800);

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let url = table
        .need("url", &format!("add `url = {EXAMPLE:?}`, the endpoint of the account"), report)
        .and_then(|value| url(&value, common, report));
    let queue = table
        .need("queue", "add `queue = \"ice-callback-queue\"`, the queue's name", report)
        .and_then(|value| value.parsed(queue, "write the queue's name in quotes", report));
    let access = table
        .need("access", &format!("requests are signed with it: {ACCESS}"), report)
        .and_then(|value| broker::access(&value, ACCESS, common, report));
    let token = table.get("token").and_then(|value| secret::secret(&value, common.outside, report));
    let base64 = table.get("base64").and_then(|value| value.boolean(report)).unwrap_or(true);
    let event_id = table.get("event_id").and_then(|value| value.boolean(report)).unwrap_or(false);
    let priority = table.get("priority").and_then(|value| value.whole_number(1..=LOWEST_PRIORITY, report));
    let delay = table.get("delay").and_then(|value| delay(&value, report));
    let trust = broker::trust_of(table, url.as_ref(), common, report);
    let (access_id, secret) = access?;
    Some(Target::Smq(SmqTarget {
        url: url?,
        queue: queue?,
        access_id,
        secret,
        token,
        base64,
        priority: priority.and_then(|priority| u8::try_from(priority).ok()),
        delay,
        event_id,
        trust,
        timeout: common.retry.timeout,
        connect_timeout: common.retry.connect_timeout,
    }))
}

fn url(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Url> {
    let help = format!("write the account's endpoint in quotes, such as {EXAMPLE:?}");
    broker::url(value, &help, common, report, |url| {
        if url.path() == "/" && url.query().is_none() && url.fragment().is_none() {
            Ok(url)
        } else {
            let help = format!("write scheme and host alone, such as {EXAMPLE:?}; `queue` names the queue");
            Err(Fault::new("the endpoint of an account has no path", help))
        }
    })
}

fn queue(text: &str) -> Result<String, Fault> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > LONGEST_QUEUE || !text.chars().all(is_allowed) {
        let help = format!("a queue's name is 1 to {LONGEST_QUEUE} letters, digits and hyphens");
        return Err(Fault::new(format!("{text:?} can't be the name of a queue"), help));
    }
    Ok(text.to_owned())
}

fn delay(value: &Value<'_>, report: &mut Report) -> Option<Duration> {
    let help = "write a duration in quotes, such as \"10s\"";
    let check = |text: &str| {
        let delay = duration(text)?;
        if delay > LONGEST_DELAY || delay.subsec_nanos() != 0 {
            let longest = show_duration(LONGEST_DELAY);
            let help = format!("write whole seconds, at most {longest:?}");
            return Err(Fault::new("a queue can't hold a message back for so long", help));
        }
        Ok(delay)
    };
    value.parsed(check, help, report)
}
