//! `kind = "pull"`: a queue in the gateway itself, for consumers that can't be called.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::check::{DAY, DURATION_HELP, Surroundings, within};
use crate::config::checked::{Access, Pull};
use crate::config::problem::{Fault, Report};
use crate::config::quantity::{duration, show_duration};
use crate::config::secret::{self, secret};
use crate::config::written::{Table, Value};

/// Its own keys, and those of the kind "http", which are refused with a sentence of their own.
pub(super) const KEYS: [&str; 9] = [
    "access",
    "visibility_timeout",
    "max_receives",
    "retention",
    "max_wait",
    HTTP_KEYS[0],
    HTTP_KEYS[1],
    HTTP_KEYS[2],
    HTTP_KEYS[3],
];

const HTTP_KEYS: [&str; 4] = ["url", "sign", "secret", "headers"];

const DEFAULT_VISIBILITY: Duration = Duration::from_secs(30);
/// SMQ's own bounds.
pub(crate) const VISIBILITY: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(12 * 60 * 60));
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Proxies on the way give up a silent connection after a minute.
const WAIT: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(50));
const DEFAULT_RECEIVES: u64 = 10;
const MOST_RECEIVES: u64 = 1000;
const ACCESS_EXAMPLE: &str = "write a list such as [{ id = \"name\", secret = { env = \"NAME\" } }]";

pub(super) fn pull(table: &Table<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<Pull> {
    for key in HTTP_KEYS {
        let Some(value) = table.get(key) else { continue };
        report.hide(value.place());
        let what = "a queue in the gateway sends no request: its consumers fetch from it";
        value.refuse_key(Fault::new(what, "remove it, or write kind = \"http\""), report);
    }
    let access = table.get("access").map(|value| access(&value, outside, report)).unwrap_or_default();
    let span = |key, bounds, default, report: &mut Report| match table.get(key) {
        Some(value) => value
            .parsed(duration, DURATION_HELP, report)
            .and_then(|found| value.take(within(found, bounds, show_duration), report)),
        None => default,
    };
    let visibility_timeout = span("visibility_timeout", VISIBILITY, Some(DEFAULT_VISIBILITY), report);
    let max_wait = span("max_wait", WAIT, Some(DEFAULT_WAIT), report);
    let ages = (Duration::from_secs(1), Duration::from_secs(3650 * DAY));
    let retention = span("retention", ages, None, report);
    let max_receives = match table.get("max_receives") {
        Some(value) => value.whole_number(0..=MOST_RECEIVES, report)?,
        None => DEFAULT_RECEIVES,
    };
    Some(Pull {
        access,
        visibility_timeout: visibility_timeout?,
        max_receives: u32::try_from(max_receives).ok().filter(|max| *max > 0),
        retention,
        max_wait: max_wait?,
    })
}

/// Where the ids of a queue's access keys stand; as many as were read, unless one of them can't be used.
pub(in crate::config) fn access_ids<'a>(table: &Table<'a>) -> Vec<Value<'a>> {
    let items = table.get("access").and_then(|value| value.as_list()).unwrap_or_default();
    items.iter().filter_map(|item| item.as_table()?.get("id")).collect()
}

fn access(value: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Vec<Access> {
    let Some(items) = value.as_list() else {
        report.hide(value.place());
        return value.wrong_type("a list of access keys", ACCESS_EXAMPLE, report).unwrap_or_default();
    };
    let mut keys = Vec::new();
    for item in items {
        let Some(table) = item.as_table() else {
            report.hide(item.place());
            let _: Option<()> = item.wrong_type("an id with its secret", ACCESS_EXAMPLE, report);
            continue;
        };
        table.allow(&["id", "secret"], report);
        let id = table.need("id", "add `id = \"name\"`, by which its holder is known", report);
        let id = id.and_then(|value| {
            // The id is no secret, though it may be kept with one.
            let found = match value.as_table() {
                Some(_) => secret(&value, outside, report)?.expose_secret().to_owned(),
                None => value.text("write the id in quotes", report)?.to_owned(),
            };
            value.take(check_id(&found).map(|()| found), report)
        });
        let help = format!("its holder signs with it: {}", secret::EXAMPLE);
        let key: Option<SecretString> =
            table.need("secret", &help, report).and_then(|value| secret(&value, outside, report));
        keys.extend(id.zip(key).map(|(id, secret)| Access { id, secret }));
    }
    keys
}

/// An id stands in a header before a colon.
fn check_id(id: &str) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=128).contains(&id.len()) && id.bytes().all(is_plain) {
        Ok(())
    } else {
        let help = "use 1 to 128 letters, digits, '-', '_' and '.'";
        Err(Fault::new("this can't be an access id", help))
    }
}
