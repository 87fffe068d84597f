//! Opening a journal whose log or main file may not hold what was answered: find it out, refuse or go on, and remember.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use super::damage;
use super::fault::Fault;
use super::lock;
use super::options::OnDamage;
use super::wal::{self, Examined, Loss};
use super::writer::last_given;
use crate::{Damage, DamageKind, Error, Seq};

/// What was found before the journal is opened, and what became of it.
#[derive(Debug)]
pub(super) struct Recovery {
    directory: PathBuf,
    on_damage: OnDamage,
    examined: Examined,
    loss: Option<Loss>,
    /// Where the damaged log is kept.
    aside: Option<PathBuf>,
}

impl Recovery {
    /// Looks at the log before SQLite does. Where something that was answered is missing, it is an error unless the
    /// configuration says to go on; then nothing was changed. What can be restored is.
    pub(super) fn before(directory: &Path, on_damage: OnDamage) -> Result<Self, Fault> {
        let examined = wal::examine(directory)?;
        let loss = examined.loss();
        let directory = directory.to_owned();
        let mut recovery = Self { directory, on_damage, examined, loss, aside: None };
        if let Some(note) = &recovery.examined.note {
            tracing::warn!(target: "hookweir::journal", "{note}");
        }
        if recovery.loss.is_some() {
            recovery.may_go_on()?;
            let repaired = recovery.examined.repair();
            recovery.aside = repaired.map_err(|error| {
                Fault::Other(format!(
                    "the damaged log of the journal can't be kept aside and replaced: {error}"
                ))
            })?;
        }
        Ok(recovery)
    }

    /// Compares what the open journal holds with what was answered. The journal is not changed.
    pub(super) fn after(&mut self, connection: &Connection) -> Result<(), Fault> {
        let has_tables: bool = connection.query_row(
            "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'event'",
            [],
            |row| row.get(0),
        )?;
        let (last, journal) = match has_tables {
            true => (last_given(connection)?.unsigned_abs(), number(connection)?),
            false => (0, None),
        };
        if !self.examined.is_of(journal) {
            return Ok(());
        }
        let events = self.examined.missing(Some(last));
        match (&mut self.loss, events) {
            (Some(loss), _) if loss.is_mixed => {}
            (Some(loss), events) if loss.is_lost || events.is_some() => {
                loss.events = events;
                loss.is_lost = true;
            }
            (None, Some(events)) => {
                let what = "the main file is older than what was answered".to_owned();
                self.loss = Some(Loss { what, events: Some(events), is_lost: true, is_mixed: false });
            }
            _ => {}
        }
        self.may_go_on()
    }

    /// Goes on whatever is missing, and records it.
    pub(super) fn go_on(&mut self) {
        self.on_damage = OnDamage::Continue;
    }

    /// Refuses to go on where something is lost and the configuration does not say so.
    fn may_go_on(&self) -> Result<(), Fault> {
        let Some(loss) = self.loss.as_ref().filter(|loss| loss.is_lost) else { return Ok(()) };
        if self.on_damage == OnDamage::Continue {
            return Ok(());
        }
        let text = format!(
            "{}. The start is refused and nothing was changed: look after the disk, or restore a copy of the journal; \
             on_damage = \"continue\" in [journal] goes on with what is left",
            sentence(loss, &self.examined, None)
        );
        tracing::error!(
            target: "hookweir::journal",
            "the journal in {} is damaged: {text}",
            self.directory.display()
        );
        Err(Fault::Damaged(text))
    }

    /// Within the first transaction: keeps what was found, and sees to it that no number is given again that was answered.
    pub(super) fn keep(&self, connection: &Connection) -> Result<(), Fault> {
        let Some(loss) = &self.loss else { return Ok(()) };
        let found = record(loss, &self.examined, self.aside.as_deref());
        let directory = self.directory.display();
        if loss.is_lost {
            tracing::error!(
                target: "hookweir::journal",
                "the journal in {directory} is damaged: {}",
                found.what
            );
        } else {
            tracing::warn!(
                target: "hookweir::journal",
                "the journal in {directory} was damaged: {}",
                found.what
            );
        }
        damage::record(connection, &found)?;
        if let Some((_, last)) = loss.events {
            let sql = "INSERT INTO meta (name, value) VALUES ('seq', ?1) \
                       ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
            connection.execute(sql, (last.cast_signed(),))?;
        }
        Ok(())
    }
}

/// What a start on the journal in a directory would find damaged in its log. Nothing is changed.
pub(super) fn check(directory: &Path) -> Result<Option<Damage>, Error> {
    let examined = lock::share(directory, "stop it first").and_then(|lock| {
        let examined = wal::examine(directory);
        drop(lock);
        examined
    });
    let examined = examined.map_err(Fault::of_read)?;
    Ok(examined.loss().map(|loss| record(&loss, &examined, None)))
}

/// The number that tells this journal from others, which it is given at its first opening.
pub(super) fn number(connection: &Connection) -> Result<Option<i64>, Fault> {
    let sql = "SELECT value FROM meta WHERE name = 'journal'";
    // One that is no number is damaged, and tells nothing.
    Ok(connection.query_row(sql, [], |row| Ok(row.get(0).ok())).optional()?.flatten())
}

fn record(loss: &Loss, examined: &Examined, aside: Option<&Path>) -> Damage {
    Damage {
        events: loss.events.map(|(first, last)| (Seq(first), Seq(last))),
        ..Damage::new(DamageKind::Log, sentence(loss, examined, aside))
    }
}

fn sentence(loss: &Loss, examined: &Examined, aside: Option<&Path>) -> String {
    let which = if loss.is_mixed { "some of them are" } else { "are" };
    let follows = match (loss.is_lost, loss.events) {
        (false, _) => {
            "all of it is to be had from the rest of the log and from the main file: nothing is lost"
                .to_owned()
        }
        (true, Some((first, last))) if first == last => {
            format!("event number {first} was answered and is missing")
        }
        (true, Some((first, last))) => {
            format!("events number {first} to {last} were answered and {which} missing")
        }
        (true, None) => "no event is missing that is known of".to_owned(),
    };
    let mut text = format!("{}; {follows}", loss.what);
    if loss.is_lost {
        text += "; results of deliveries, changes of queues and uploads of that time may be missing too, and such \
                 deliveries are made again";
        if let Some(at) = examined.answered_at() {
            text += &format!("; the last answer was given at {at}");
        }
    }
    if let Some(name) = aside.and_then(Path::file_name) {
        text += &format!("; the damaged log is kept as {}", name.display());
    }
    text
}
