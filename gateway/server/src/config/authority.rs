//! Whom a server's certificate must come from.

use std::sync::Arc;

use hookweir_delivery::{Authorities, check_authority};

use super::check::Surroundings;
use super::problem::{Fault, Report};
use super::source::read_at_most;
use super::unreadable;
use super::written::{Table, Value};

/// A file of certificate authorities is small; more is another file.
const MOST_BYTES: u64 = 1 << 20;

/// How `ca` is written.
const HELP: &str = "write the path of a PEM file in quotes, or { file = \"ca.pem\", system = true } to trust the machine's too";

/// Reads `ca`: whom a server's certificate must come from, in place of the machine's authorities or beside them.
pub(super) fn authorities(
    table: &Table<'_>,
    speaks_tls: bool,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Authorities> {
    let value = table.get("ca")?;
    if !speaks_tls {
        without_tls(&value, report);
        return None;
    }
    let Some(named) = value.as_table() else {
        let pem = file(&value, HELP, outside, report)?;
        return Some(Authorities { pem, and_system: false });
    };
    named.allow(&["file", "system"], report);
    let and_system = named.get("system").and_then(|value| value.boolean(report)).unwrap_or(false);
    let pem = named.need("file", HELP, report).and_then(|value| file(&value, HELP, outside, report))?;
    Some(Authorities { pem, and_system })
}

/// Reads `ca`, a file of certificate authorities as PEM, which a server has only where it speaks TLS.
pub(super) fn authority(
    table: &Table<'_>,
    speaks_tls: bool,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Arc<[u8]>> {
    let value = table.get("ca")?;
    let help = "write the path of a PEM file, in quotes";
    value.text(help, report)?;
    if !speaks_tls {
        without_tls(&value, report);
        return None;
    }
    file(&value, help, outside, report)
}

fn without_tls(value: &Value<'_>, report: &mut Report) {
    let help = "use the scheme that says TLS, or remove `ca`";
    value.refuse_key(Fault::new("the address is one without TLS", help), report);
}

fn file(value: &Value<'_>, help: &str, outside: &Surroundings<'_>, report: &mut Report) -> Option<Arc<[u8]>> {
    let text = value.text(help, report)?;
    let path = outside.resolve(value.place().file, text);
    let pem = read_at_most(&path, MOST_BYTES).map(Option::unwrap_or_default);
    let checked = match pem {
        Ok(pem) => match check_authority(&pem) {
            Ok(()) => Ok(Arc::from(pem)),
            Err(fault) => Err(Fault::new(format!("{} can't be used: {fault}", path.display()), help)),
        },
        Err(error) => Err(unreadable::fault(&path, &error, help)),
    };
    value.take(checked, report)
}
