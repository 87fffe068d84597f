//! The tables, and how an older file becomes a present one.
//!
//! Migrations are numbered and only go forward, each in one transaction with its number. None may rewrite `event`,
//! `delivery` or `attempt`, which can be large: add tables or nullable columns. (The fourth makes an index of events
//! and deliveries anew; no version before it was released.) A file from a newer version is refused, since what it means is not known
//! here.

use std::cmp::Ordering;

use rusqlite::Connection;

use super::fault::Fault;

/// Migration N leads from version N to version N + 1. Never edit one that was released.
const MIGRATIONS: [&str; 10] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
];

/// Refuses a file of another version, for those who may not change it.
pub(super) fn is_present(connection: &Connection) -> Result<(), Fault> {
    let present = MIGRATIONS.len();
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    match found.cmp(&present) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(Fault::Other(format!(
            "the journal's tables have version {found}, and this hookweir reads {present}: start a gateway on it once, \
             which brings them up to date"
        ))),
        Ordering::Greater => Err(newer(found)),
    }
}

fn newer(found: usize) -> Fault {
    Fault::Other(format!(
        "the journal was written by a newer hookweir (its tables have version {found}, this one knows up to {}): run \
         that version, or give this one another journal path",
        MIGRATIONS.len()
    ))
}

/// Brings the file to the present version.
pub(super) fn migrate(connection: &Connection) -> Result<(), Fault> {
    let present = MIGRATIONS.len();
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > present {
        return Err(newer(found));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let version = index + 1;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {version}; COMMIT;"
        ))?;
    }
    Ok(())
}
