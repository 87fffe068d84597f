//! Secrets: API keys, the admin token, signing secrets. They come from the environment or a file; a plain text is
//! taken only where the configuration says that it may be.
//!
//! No error here holds any of a secret, and a secret that stands in the file is masked in the lines that are shown.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::check::Surroundings;
use super::checked::ApiKey;
use super::env::Unreadable;
use super::problem::{Fault, Report};
use super::unreadable;
use super::written::Value;
use crate::role::Role;
use crate::secret_file::{self, Line};

/// Shorter keys can be guessed by one who may try as often as the gateway answers.
const SHORTEST_KEY: usize = 16;

/// How a secret is given, for the help of every fault here.
pub(super) const EXAMPLE: &str = "write { env = \"NAME\" } or { file = \"path\" }";

/// Reads a secret from where the value says that it is.
pub(super) fn secret(
    value: &Value<'_>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<SecretString> {
    read(value, &["env", "file"], outside, report)
}

/// Reads a list of bearer keys, each with its role, which is one of `roles`. Each comes with the value that it was read
/// from.
pub(super) fn keys<'a>(
    value: &Value<'a>,
    roles: &[(&str, Role)],
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<(Value<'a>, ApiKey)> {
    let Some(items) = value.as_list() else {
        if value.as_table().is_none() {
            report.hide(value.place());
        }
        let help = format!("put it in a list: {EXAMPLE} in [ ]");
        return value.wrong_type("a list of keys", &help, report).unwrap_or_default();
    };
    let mut keys = Vec::new();
    for item in items {
        let role = item.as_table().and_then(|table| table.get("role"));
        let role = role.map_or(Some(Role::default()), |value| value.one_of(roles, report));
        let Some(secret) = read(&item, &["env", "file", "role"], outside, report) else { continue };
        let checked = item.take(check_bearer(secret.expose_secret(), SHORTEST_KEY), report);
        if let (Some(()), Some(role)) = (checked, role) {
            keys.push((item, ApiKey { secret, role }));
        }
    }
    keys
}

fn read(
    value: &Value<'_>,
    known: &[&str],
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<SecretString> {
    let Some(table) = value.as_table() else {
        report.hide(value.place());
        let text = value.text(EXAMPLE, report)?;
        if !outside.allow_inline_secrets {
            let help = format!(
                "{EXAMPLE}, or set `allow_inline_secrets = true` at the top of the main file for a trial"
            );
            value.refuse(Fault::new("a secret may not stand in the configuration itself", help), report);
            return None;
        }
        return filled(text, value, report);
    };
    table.allow(known, report);
    match (table.get("env"), table.get("file")) {
        (Some(name), None) => variable(&name, outside, report),
        (None, Some(path)) => file(&path, outside, report),
        (Some(_), Some(_)) => {
            value.refuse(Fault::new("a secret has one place, and this names two", EXAMPLE), report);
            None
        }
        (None, None) => {
            // Where it names another key, that was reported above.
            if table.entries().all(|(key, _)| known.contains(&key.text)) {
                value.refuse(Fault::new("this names no place for the secret", EXAMPLE), report);
            }
            None
        }
    }
}

/// Reads what an endpoint signs with: one secret, a list of them for a rotation, or the lines of files. Each comes with the
/// value that it was read from.
pub(super) fn one_or_more<'a>(
    value: &Value<'a>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<(Value<'a>, Line)> {
    let items = value.as_list().unwrap_or_else(|| vec![value.clone()]);
    if items.is_empty() {
        let help = format!("{EXAMPLE}, or leave the key out");
        value.refuse(Fault::new("the list holds no secret", help), report);
    }
    let mut found = Vec::new();
    for item in items {
        let Some(secret) = secret(&item, outside, report) else { continue };
        let lines = match file_of(&item, outside) {
            Some(path) => secret_file::lines(secret.expose_secret()).map_err(|misread| {
                let help = "write one secret a line, the one in force first";
                Fault::new(format!("{} can't be used: {misread}", path.display()), help)
            }),
            None => Ok(vec![Line { secret, until: None }]),
        };
        let lines = item.take(lines, report).unwrap_or_default();
        found.extend(lines.into_iter().map(|line| (item.clone(), line)));
    }
    found
}

/// The file that a value names as the place of its secret.
pub(super) fn file_of(value: &Value<'_>, outside: &Surroundings<'_>) -> Option<PathBuf> {
    let path = value.as_table()?.get("file")?;
    path.raw().as_str().map(|text| outside.resolve(path.place().file, text))
}

fn variable(name: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<SecretString> {
    let text = name.text("write the name of an environment variable, in quotes", report)?;
    if ["whsec_", "whsk_"].iter().any(|prefix| text.starts_with(prefix)) {
        report.hide(name.place());
        let help = "put the secret into an environment variable, and write that variable's name";
        name.refuse(Fault::new("this is a secret, not the name of a variable", help), report);
        return None;
    }
    match outside.env.variable(text) {
        Ok(found) => filled(&found, name, report),
        Err(Unreadable::Unset) => {
            let what = format!("the environment variable {text:?} is not set");
            name.refuse(Fault::new(what, "set it where the gateway is started, or correct the name"), report);
            None
        }
        Err(reason) => {
            let what = format!("the environment variable {text:?} can't be used: {reason}");
            name.refuse(Fault::new(what, "a secret is text"), report);
            None
        }
    }
}

fn file(path: &Value<'_>, outside: &Surroundings<'_>, report: &mut Report) -> Option<SecretString> {
    let text = path.text("write the path of a file, in quotes", report)?;
    let full = outside.resolve(path.place().file, text);
    let shown = full.display();
    let fault = match outside.env.secret_file(&full) {
        // Editors and `echo` end a file with a line end that is no part of the secret.
        Ok(found) => return filled(found.trim_end_matches(['\r', '\n']), path, report),
        Err(reason @ Unreadable::Open(_)) => Fault::new(
            format!("{shown} is not kept secret: {reason}"),
            format!(
                "close it to others: chmod o-rwx {shown}; of a mounted secret, set `defaultMode: 0400` in Kubernetes, or \
                 `mode: 0400` in a compose file"
            ),
        ),
        Err(Unreadable::Io(error)) => {
            let help = "a relative path starts from the folder of the file that names it";
            unreadable::fault(&full, &error, help)
        }
        Err(reason) => Fault::new(
            format!("{shown} can't be used: {reason}"),
            "the file holds the secret and nothing else, as UTF-8: some shells and editors write UTF-16, or a mark before it",
        ),
    };
    path.refuse(fault, report);
    None
}

fn filled(text: &str, value: &Value<'_>, report: &mut Report) -> Option<SecretString> {
    if text.trim().is_empty() {
        value.refuse(Fault::new("the secret is empty", "give it a value where it is set"), report);
        return None;
    }
    Some(text.into())
}

/// Says whether a secret can be sent as a bearer token.
pub(super) fn check_bearer(text: &str, minimum: usize) -> Result<(), Fault> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::new(
            "the key holds a space or a character that a header can't carry",
            "use letters, digits and signs of ASCII: hookweir secret new --key",
        ));
    }
    if text.len() < minimum {
        return Err(Fault::new(
            format!("the key has {} characters, which can be guessed", text.len()),
            format!("use at least {minimum} random characters: hookweir secret new --key"),
        ));
    }
    Ok(())
}
