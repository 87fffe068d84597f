//! Whom a server's certificate must come from.

use std::sync::Arc;

use hookweir_delivery::check_authority;

use super::check::Surroundings;
use super::problem::{Fault, Report};
use super::source::plain_reason;
use super::written::Table;

/// A file of certificate authorities is small; more is another file.
const MOST_BYTES: u64 = 1 << 20;

/// Reads `ca`, a file of certificate authorities as PEM, which a server has only where it speaks TLS.
pub(super) fn authority(
    table: &Table<'_>,
    speaks_tls: bool,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Arc<[u8]>> {
    let value = table.get("ca")?;
    let help = "write the path of a PEM file, in quotes";
    let text = value.text(help, report)?;
    if !speaks_tls {
        let help = "use the scheme that says TLS, or remove `ca`";
        value.refuse_key(Fault::new("the address is one without TLS", help), report);
        return None;
    }
    let path = outside.resolve(value.place().file, text);
    let pem = std::fs::metadata(&path)
        .and_then(|found| if found.len() > MOST_BYTES { Ok(Vec::new()) } else { std::fs::read(&path) });
    let checked = match pem {
        Ok(pem) => match check_authority(&pem) {
            Ok(()) => Ok(Arc::from(pem)),
            Err(fault) => Err(Fault::new(format!("{} can't be used: {fault}", path.display()), help)),
        },
        Err(error) => {
            Err(Fault::new(format!("{} can't be read: {}", path.display(), plain_reason(&error)), help))
        }
    };
    value.take(checked, report)
}
