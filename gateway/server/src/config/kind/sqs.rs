//! `kind = "sqs"`: a queue of Amazon's SQS.

use hookweir_delivery::{SqsTarget, Target};
use url::Url;

use super::{Common, Kind, broker};
use crate::config::problem::{Fault, Report};
use crate::config::secret;
use crate::config::written::{Table, Value};

pub(super) const KIND: Kind =
    Kind { name: "sqs", keys: &["url", "ca", "region", "access", "token", "group_id", "base64"], target };

const EXAMPLE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/hooks";
const ACCESS: &str = "write { id = { env = \"AWS_ID\" }, secret = { env = \"AWS_SECRET\" } }";

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let url = table
        .need("url", &format!("add `url = {EXAMPLE:?}`, the queue's own"), report)
        .and_then(|value| url(&value, common, report));
    let access = table
        .need("access", &format!("requests are signed with it: {ACCESS}"), report)
        .and_then(|value| broker::access(&value, ACCESS, common, report));
    let token = table.get("token").and_then(|value| secret::secret(&value, common.outside, report));
    let base64 = table.get("base64").and_then(|value| value.boolean(report)).unwrap_or(false);
    let group = table.get("group_id");
    let trust = broker::trust_of(table, url.as_ref(), common, report);
    let url = url?;
    let region = match table.get("region") {
        Some(value) => value.parsed(region, "write the region in quotes, such as \"eu-west-1\"", report),
        None => region_of(&url).or_else(|| {
            table.need("region", "the URL names none: add `region = \"eu-west-1\"`", report);
            None
        }),
    };
    let is_fifo = url.path().ends_with(".fifo");
    let group = match (is_fifo, group) {
        (true, Some(value)) => Some(broker::template(&value, common, report)?),
        (true, None) => {
            let help = "messages of one group keep their order: add `group_id = \"{tenant}\"`";
            table.need("group_id", help, report);
            return None;
        }
        (false, Some(value)) => {
            let help = "remove it, or name a queue whose name ends in .fifo";
            value.refuse_key(Fault::new("only FIFO queues have groups", help), report);
            return None;
        }
        (false, None) => None,
    };
    let (access_id, secret) = access?;
    Some(Target::Sqs(SqsTarget {
        url,
        region: region?,
        access_id,
        secret,
        token,
        group,
        base64,
        trust,
        timeout: common.retry.timeout,
        connect_timeout: common.retry.connect_timeout,
    }))
}

fn url(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Url> {
    let help = format!("write the queue's URL in quotes, such as {EXAMPLE:?}");
    broker::url(value, &help, common, report, |url| {
        if url.path() == "/" || url.query().is_some() || url.fragment().is_some() {
            Err(Fault::new("this is not the URL of a queue", &*help))
        } else {
            Ok(url)
        }
    })
}

fn region(text: &str) -> Result<String, Fault> {
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!("{text:?} is no region"), "write it as in \"eu-west-1\""))
    }
}

/// The region that a host such as sqs.eu-west-1.amazonaws.com names.
fn region_of(url: &Url) -> Option<String> {
    let mut labels = url.host_str()?.split('.');
    let (service, region, cloud) = (labels.next()?, labels.next()?, labels.next()?);
    (service == "sqs" && cloud == "amazonaws").then(|| region.to_owned())
}
