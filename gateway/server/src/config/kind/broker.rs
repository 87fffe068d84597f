//! What the kinds of queue have in common: the broker's address, whom its certificate must come from, a user with a
//! password, and texts with places for an event's attributes.

use hookweir_delivery::guard::check_url;
use hookweir_delivery::{Scheme, Server, Template, Trust};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Common, told};
use crate::config::authority::authorities;
use crate::config::problem::{Fault, Report};
use crate::config::secret;
use crate::config::written::{Table, Value};

/// Reads a broker's address. What stands after its host is answered too, without its slash.
pub(super) fn server<'a>(
    value: &Value<'a>,
    schemes: &[Scheme],
    example: &str,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<(Server, &'a str)> {
    let help = format!("write its address in quotes, such as {example:?}");
    let text = value.text(&help, report)?;
    // What stands before an '@' may be a password.
    if text.contains('@') {
        report.hide(value.place());
        let help = "put them under `user` and `password`, each as { env = \"NAME\" } or { file = \"path\" }";
        value.refuse(Fault::new("an address may not hold credentials", help), report);
        return None;
    }
    let parsed = Server::parse(text, schemes, &common.outside.egress)
        .map_err(|fault| told(&fault, &format!("write it as {example}")));
    value.take(parsed, report)
}

/// Reads a broker's address that nothing follows, and whom its certificate must come from.
pub(super) fn bare_server(
    table: &Table<'_>,
    value: &Value<'_>,
    schemes: &[Scheme],
    example: &str,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<Server> {
    let (mut server, path) = server(value, schemes, example, common, report)?;
    if !path.is_empty() {
        let help = format!("write {example:?}");
        value.refuse(Fault::new("nothing may follow a server's port", help), report);
    }
    trust(table, &mut server, common, report);
    Some(server)
}

/// Reads `servers`, those of one cluster.
pub(super) fn servers(
    table: &Table<'_>,
    schemes: &[Scheme],
    example: &str,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<Vec<Server>> {
    let value =
        table.need("servers", &format!("add `servers = [{example:?}]`, those of one cluster"), report)?;
    let items = value.list(&format!("write a list, such as [{example:?}]"), report)?;
    if items.is_empty() {
        value.refuse(Fault::new("the list names no server", format!("write [{example:?}]")), report);
    }
    let servers: Vec<Server> =
        items.iter().filter_map(|item| bare_server(table, item, schemes, example, common, report)).collect();
    (!servers.is_empty()).then_some(servers)
}

/// Reads a URL of a provider whose protocol is HTTP, and takes what `check` makes of it.
pub(super) fn url(
    value: &Value<'_>,
    help: &str,
    common: &Common<'_>,
    report: &mut Report,
    check: impl FnOnce(Url) -> Result<Url, Fault>,
) -> Option<Url> {
    let text = value.text(help, report)?;
    // What stands before an '@' may be a password.
    if text.contains('@') {
        report.hide(value.place());
    }
    let checked = check_url(text, &common.outside.egress).map_err(|fault| told(&fault, help));
    value.take(checked.and_then(check), report)
}

/// Reads `ca`, a file of certificate authorities, for a server that speaks TLS.
pub(super) fn trust(table: &Table<'_>, server: &mut Server, common: &Common<'_>, report: &mut Report) {
    if let Some(authorities) = authorities(table, server.tls.is_some(), common.outside, report) {
        server.tls = Some(Trust::Authority(authorities));
    }
}

/// The same for a server that is named by a URL.
pub(super) fn trust_of(
    table: &Table<'_>,
    url: Option<&Url>,
    common: &Common<'_>,
    report: &mut Report,
) -> Trust {
    // Where the URL can't be read, that is the fault.
    let speaks_tls = url.is_none_or(|url| url.scheme() == "https");
    authorities(table, speaks_tls, common.outside, report).map_or(Trust::System, Trust::Authority)
}

/// Reads `user` and `password`, which come together or not at all. A user's name is no secret and may stand in the
/// configuration.
pub(super) fn login(
    table: &Table<'_>,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<(SecretString, SecretString)> {
    let user = table.get("user").and_then(|value| match value.as_table() {
        Some(_) => secret::secret(&value, common.outside, report),
        None => value.text("write the user's name in quotes", report).map(SecretString::from),
    });
    let password = table.get("password").and_then(|value| secret::secret(&value, common.outside, report));
    match (table.get("user"), table.get("password")) {
        (Some(_), None) => {
            table.need("password", &format!("a user has one: {}", secret::EXAMPLE), report);
        }
        (None, Some(_)) => {
            table.need("user", "a password has one: add `user = \"name\"`", report);
        }
        _ => {}
    }
    user.zip(password)
}

/// Reads an access key, of providers that sign their requests with one. The id of an access key is no secret, and may stand in the configuration.
pub(super) fn access(
    value: &Value<'_>,
    example: &str,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<(String, SecretString)> {
    if value.as_table().is_none() {
        report.hide(value.place());
    }
    let table = value.table(example, report)?;
    table.allow(&["id", "secret"], report);
    let id = table.need("id", example, report).and_then(|value| match value.as_table() {
        Some(_) => secret::secret(&value, common.outside, report),
        None => value.text(example, report).map(SecretString::from),
    });
    let secret = table
        .need("secret", example, report)
        .and_then(|value| secret::secret(&value, common.outside, report));
    let id = id?;
    let id = id.expose_secret();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        let help = "write it as the console shows it";
        value.refuse(Fault::new("the id of the access key is not one", help), report);
        return None;
    }
    Some((id.to_owned(), secret?))
}

/// Reads a text with places, such as "hooks.{tenant}.{type}".
pub(super) fn template(value: &Value<'_>, common: &Common<'_>, report: &mut Report) -> Option<Template> {
    let parse = |text: &str| {
        Template::parse(text, common.tenant, common.endpoint)
            .map_err(|fault| told(&fault, "write a text such as \"hooks.{type}\""))
    };
    value.parsed(parse, "write a text in quotes, such as \"hooks.{type}\"", report)
}
