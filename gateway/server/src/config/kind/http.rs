//! `kind = "http"`: signed requests to a URL.

use hookweir_delivery::guard::{check_url, differences};
use hookweir_delivery::sign::Key as SigningKey;
use hookweir_delivery::{HttpTarget, Signing, Target};
use hookweir_model::{InvalidHeader, MAX_HEADERS, check_header};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Common, Kind, broker};
use crate::config::check::Surroundings;
use crate::config::problem::{Fault, Report};
use crate::config::secret::{self, one_or_more};
use crate::config::written::{Table, Value, names_secret};
use crate::secret_file::Line;

pub(super) const KIND: Kind =
    Kind { name: "http", keys: &["url", "ca", "sign", "secret", "headers"], target };

/// Alibaba's own limit for the key of a callback.
const LONGEST_IMS_KEY: usize = 32;

fn target(table: &Table<'_>, common: &Common<'_>, report: &mut Report) -> Option<Target> {
    let Common { retry, outside, .. } = common;
    let url = table
        .need("url", "add `url = \"https://...\"`, where the events are to go", report)
        .and_then(|value| url(&value, outside, report));
    let signing = signing(table, outside, report);
    let trust = broker::trust_of(table, url.as_ref().map(|(_, url)| url), common, report);
    let headers = table.get("headers").map(|value| headers(&value, outside, report)).unwrap_or_default();
    let (configured_url, url) = url?;
    Some(Target::Http(HttpTarget {
        url,
        configured_url,
        headers,
        signing,
        trust,
        timeout: retry.timeout,
        connect_timeout: retry.connect_timeout,
        success: retry.success.clone(),
    }))
}

fn url(value: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<(String, Url)> {
    let text = value.text("write a URL in quotes, such as \"https://hooks.example.com/path\"", report)?;
    // What stands before an '@' may be a password.
    if text.contains('@') {
        report.hide(value.place());
    }
    let checked = check_url(text, &outside.egress)
        .map_err(|fault| super::told(&fault, "write it as https://hooks.example.com/path"));
    let url = value.take(checked, report)?;
    let clauses = differences(text, &url);
    if !clauses.is_empty() {
        let what = format!("requests go out otherwise than it is written here: {}", clauses.join("; "));
        let help = "write it so, if that is what is meant";
        report.note(value.name(), value.place(), Fault::new(what, help));
    }
    Some((text.to_owned(), url))
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
                .filter_map(|(value, line)| value.take(standard_key(&line), report));
            Signing::Standard(keys.collect())
        }
        (Some(Named::Ims), Some(secret)) => {
            // Its receivers know one signature header, so the first key signs alone; those after it are for a
            // rotation that is still to come.
            let keys: Vec<SecretString> = one_or_more(&secret, outside, report)
                .into_iter()
                .filter_map(|(value, Line { secret, .. })| {
                    value.take(ims_key(&secret).map(|()| secret), report)
                })
                .collect();
            keys.into_iter().next().map_or(Signing::None, Signing::Ims)
        }
    }
}

fn standard_key(line: &Line) -> Result<SigningKey, Fault> {
    let help =
        "make one with `hookweir secret new`, or a key pair with `--ed25519`; for IMS, set `sign = \"ims\"`";
    line.key().map_err(|fault| Fault::new(fault.to_string(), help))
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

/// Headers for each request: a text, or a secret as everywhere.
fn headers(value: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let example = "write a table, such as { x-team = \"billing\", authorization = { env = \"TOKEN\" } }";
    let Some(table) = value.table(example, report) else { return headers };
    for (name, value) in table.entries() {
        if names_secret(name.text) && value.as_table().is_none() {
            report.hide(value.place());
        }
        let parse = |text: &str| header(name.text, text);
        let parsed = if value.as_table().is_some() {
            let secret = secret::secret(&value, outside, report);
            secret.and_then(|secret| value.take(parse(secret.expose_secret()), report))
        } else {
            if let Some(fault) = in_the_open(name.text, &value, outside) {
                report.warn(value.name(), Some(value.place()), fault);
            }
            let help = "write the header's value in quotes, or a secret as { env = \"NAME\" } or { file = \"path\" }";
            value.parsed(parse, help, report)
        };
        let Some((header, content)) = parsed else { continue };
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

/// What a header's text may be by mistake.
fn in_the_open(name: &str, value: &Value<'_>, outside: &Surroundings<'_>) -> Option<Fault> {
    let text = value.raw().as_str()?;
    let help = "write { env = \"NAME\" } or { file = \"path\" } as its value";
    if text.contains("${") {
        Some(Fault::new("the text is sent as it stands: nothing is put in the place of ${...}", help))
    } else if names_secret(name) && !outside.allow_inline_secrets {
        Some(Fault::new("this may be a credential, and it stands in the open", help))
    } else {
        None
    }
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
