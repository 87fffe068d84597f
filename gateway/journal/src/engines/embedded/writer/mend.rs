//! Ends what damage has made undeliverable, and records it.
//!
//! Those who find damage look at a snapshot; here each finding is looked at again before anything is changed. After it
//! the rows agree with each other once more: an event lists its deliveries, and each of these has one row.

use hookweir_model::{Digest, EndpointKey, Epoch, EventId, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::settle::{self, Stands, stands};
use super::statements::Statements;
use super::tally::Tally;
use crate::engines::embedded::Shared;
use crate::engines::embedded::damage;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::{ALL, block, of_tenant};
use crate::engines::embedded::record::{self, is_in_place, lanes_text, place_crc};
use crate::{Damage, DamageKind, Seq};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engines::embedded) enum Finding {
    /// A pending delivery that can't be made as it is stored, or a row that its event does not have.
    Delivery { lane: i64, seq: i64, what: &'static str },
    /// A delivery that its event lists, without a row that says how it stands.
    Lost { lane: i64, seq: i64 },
    /// An event whose own bytes are damaged.
    Event { seq: i64 },
    /// An event whose tenant or list of lanes is damaged.
    Place { seq: i64 },
    /// By how much the counts of a lane are wrong: pending deliveries and their bytes.
    Counts { lane: i64, pending: i64, bytes: i64 },
    /// An upload whose bytes are not those of its digest.
    Blob { id: i64 },
}

/// Of a delivery without a row.
pub(in crate::engines::embedded) const LOST_DELIVERY: &str = "what was kept of this delivery is damaged";

/// Of an event whose bytes are not what was written.
pub(in crate::engines::embedded) const DAMAGED_EVENT: &str = "the stored event is damaged";

pub(super) struct Mender<'m, 'c> {
    pub(super) statements: &'m mut Statements<'c>,
    pub(super) tally: &'m mut Tally,
    pub(super) connection: &'c Connection,
    pub(super) shared: &'m Shared,
}

/// Where an event belongs, as its row says.
struct Place {
    tenant: i64,
    lanes: Vec<i64>,
    is_whole: bool,
    id: Option<EventId>,
}

impl Mender<'_, '_> {
    /// Says whether anything was changed or recorded.
    pub(super) fn mend(&mut self, finding: &Finding) -> Result<bool, Fault> {
        match finding {
            Finding::Delivery { lane, seq, what } => self.end(*lane, *seq, what),
            Finding::Lost { lane, seq } => match stands(self.statements, *lane, *seq)? {
                // It was settled since.
                Stands::Fresh(_) | Stands::Tried(_) => Ok(false),
                Stands::Damaged | Stands::Nowhere => self.end(*lane, *seq, LOST_DELIVERY),
            },
            Finding::Event { seq } => self.end_event(*seq),
            Finding::Place { seq } => self.place_again(*seq),
            Finding::Counts { lane, pending, bytes } => {
                self.tally.correct(*lane, *pending, *bytes);
                Ok(true)
            }
            Finding::Blob { id } => self.record_blob(*id),
        }
    }

    /// Ends one delivery as failed, unless it has ended meanwhile.
    fn end(&mut self, lane: i64, seq: i64, what: &str) -> Result<bool, Fault> {
        let Some((key, tenant)) = self.owner(lane) else { return self.remove_stray(lane, seq) };
        let place = self.place(seq)?;
        let id = match &place {
            Some(place) if place.tenant == tenant && place.lanes.contains(&lane) => place.id.clone(),
            // Its list of lanes can't be trusted, and this is one of them.
            Some(place) if place.tenant == tenant && !place.is_whole => {
                let mut lanes = place.lanes.clone();
                lanes.push(lane);
                self.set_lanes(seq, tenant, &lanes)?;
                place.id.clone()
            }
            Some(_) => return self.remove_stray(lane, seq),
            // It was removed meanwhile, with all that belonged to it.
            None if matches!(stands(self.statements, lane, seq)?, Stands::Nowhere) => return Ok(false),
            None => self.insert_bare_event(seq, tenant, lane)?,
        };
        match stands(self.statements, lane, seq)? {
            Stands::Tried(numbers) if numbers.status != Status::Pending.code() => return Ok(false),
            Stands::Fresh(_) | Stands::Tried(_) => {
                let failure = settle::failure(self.epoch(), lane, seq, &format!("{what}: it was not sent"));
                settle::settle(self.statements, self.tally, self.epoch(), &failure)?;
            }
            Stands::Damaged | Stands::Nowhere => {
                let what = format!("{what}: whether it was delivered is not known");
                self.statements.delete_delivery.execute((lane, seq))?;
                let failure = settle::failure(self.epoch(), lane, seq, &what);
                settle::put_back(self.statements, self.tally, lane, &failure)?;
                self.tally.ended(seq);
                self.statements.be_present.execute((block(seq), lane, ALL))?;
            }
        }
        self.record(DamageKind::Delivery, seq, Some(&key), id, what)?;
        Ok(true)
    }

    /// Ends the pending deliveries of an event that can't be read.
    fn end_event(&mut self, seq: i64) -> Result<bool, Fault> {
        let Some(place) = self.place(seq)? else { return Ok(false) };
        for lane in &place.lanes {
            if let Stands::Fresh(_) | Stands::Tried(_) = stands(self.statements, *lane, seq)? {
                let failure =
                    settle::failure(self.epoch(), *lane, seq, &format!("{DAMAGED_EVENT}: it was not sent"));
                settle::settle(self.statements, self.tally, self.epoch(), &failure)?;
            }
        }
        self.record_event(seq, &place, DAMAGED_EVENT)
    }

    /// Makes up the tenant and the lanes of an event from the rows of its deliveries.
    fn place_again(&mut self, seq: i64) -> Result<bool, Fault> {
        let Some(place) = self.place(seq)? else { return Ok(false) };
        if place.is_whole {
            return Ok(false);
        }
        let known: Vec<(i64, i64)> = self
            .shared
            .names(|names| names.all().filter_map(|lane| Some((lane, names.tenant_of(lane)?))).collect());
        let mut found = Vec::new();
        for (lane, tenant) in known {
            if !matches!(stands(self.statements, lane, seq)?, Stands::Nowhere) {
                found.push((lane, tenant));
            }
        }
        // Rows of another tenant's lane would be strays, and are removed as such where they are met.
        let tenant = match found.first() {
            Some((_, first)) if found.iter().all(|(_, tenant)| tenant == first) => *first,
            _ => place.tenant,
        };
        let lanes: Vec<i64> =
            found.into_iter().filter(|(_, of)| *of == tenant).map(|(lane, _)| lane).collect();
        self.connection.execute("UPDATE event SET tenant = ?2 WHERE seq = ?1", (seq, tenant))?;
        self.set_lanes(seq, tenant, &lanes)?;
        self.statements.be_present.execute((block(seq), of_tenant(tenant), ALL))?;
        let place = Place { tenant, lanes, is_whole: true, ..place };
        self.record_event(
            seq,
            &place,
            "the list of the event's endpoints was damaged: it was made up from its deliveries",
        )
    }

    /// Removes what stands for a delivery that its event does not have, unless it has it after all.
    fn remove_stray(&mut self, lane: i64, seq: i64) -> Result<bool, Fault> {
        let owner = self.owner(lane);
        let place = self.place(seq)?;
        if let (Some((_, tenant)), Some(place)) = (&owner, &place)
            && place.tenant == *tenant
            && place.lanes.contains(&lane)
        {
            return Ok(false);
        }
        match stands(self.statements, lane, seq)? {
            Stands::Nowhere => return Ok(false),
            Stands::Fresh(_) => {
                self.statements.drop_fresh.execute((lane, seq))?;
            }
            Stands::Tried(_) | Stands::Damaged => {
                self.statements.delete_delivery.execute((lane, seq))?;
            }
        }
        let key = owner.map(|(key, _)| key);
        let what =
            "a row named a delivery that its event does not have: it was removed, and nothing was sent by it";
        self.record(DamageKind::Delivery, seq, key.as_ref(), None, what)?;
        Ok(true)
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    /// Whose lane it is, with the tenant's number.
    fn owner(&self, lane: i64) -> Option<(EndpointKey, i64)> {
        self.shared.names(|names| Some((names.key(lane)?.clone(), names.tenant_of(lane)?)))
    }

    fn place(&mut self, seq: i64) -> Result<Option<Place>, Fault> {
        let read = |row: &rusqlite::Row<'_>| {
            let (tenant, lanes, crc) = (row.get(0)?, row.get::<_, Option<String>>(1), row.get(2));
            let is_whole = match (&lanes, crc) {
                (Ok(lanes), Ok(crc)) => is_in_place(seq, tenant, lanes.as_deref(), crc),
                _ => false,
            };
            let lanes = lanes.ok().and_then(|lanes| record::lanes(lanes.as_deref()).ok());
            let is_whole = is_whole && lanes.is_some();
            let id = row.get_ref(3)?.as_str().ok().and_then(|id| EventId::new(id).ok());
            Ok(Place { tenant, lanes: lanes.unwrap_or_default(), is_whole, id })
        };
        Ok(self.statements.place_of_event.query_row((seq,), read).optional()?)
    }

    fn set_lanes(&mut self, seq: i64, tenant: i64, lanes: &[i64]) -> Result<(), Fault> {
        let text = lanes_text(lanes);
        let place = place_crc(seq, tenant, text.as_deref());
        self.statements.set_lanes.execute((seq, text, place))?;
        Ok(())
    }

    /// Makes a row for an event of which no more is left than its number: its checksum does not fit, as that of any
    /// damaged event.
    fn insert_bare_event(&mut self, seq: i64, tenant: i64, lane: i64) -> Result<Option<EventId>, Fault> {
        let lanes = lanes_text(&[lane]);
        let place = place_crc(seq, tenant, lanes.as_deref());
        let now = Timestamp::now();
        self.statements.insert_bare_event.execute((seq, tenant, now.as_millis(), lanes, place))?;
        self.statements.be_present.execute((block(seq), of_tenant(tenant), ALL))?;
        self.statements.widen_span.execute((super::minute(now), seq))?;
        let id = Some(EventId::of_damaged(seq.unsigned_abs()));
        let place = Place { tenant, lanes: vec![lane], is_whole: true, id };
        self.record_event(seq, &place, "no more than the number of this event is left")?;
        Ok(place.id)
    }

    fn record_blob(&mut self, id: i64) -> Result<bool, Fault> {
        let digest =
            self.connection.query_row("SELECT digest FROM blob WHERE id = ?1", (id,), |row| row.get(0));
        let digest = digest.optional()?.map(Digest::from_bytes);
        let name = digest.map_or_else(|| format!("number {id}"), |digest| digest.to_string());
        let what = format!("the uploaded plugin {name} is damaged: upload it again");
        if self
            .connection
            .prepare_cached("SELECT 1 FROM damage WHERE kind = 'blob' AND what = ?1")?
            .exists((&what,))?
        {
            return Ok(false);
        }
        self.keep(&Damage::new(DamageKind::Blob, what))
    }

    /// Records damage of an event, once: its bytes stay as they are, and the sweep meets them each time.
    fn record_event(&mut self, seq: i64, place: &Place, what: &str) -> Result<bool, Fault> {
        let known = "SELECT 1 FROM damage WHERE kind = 'event' AND first = ?1 AND last = ?1 AND what = ?2";
        if self.connection.prepare_cached(known)?.exists((seq, what))? {
            return Ok(false);
        }
        let tenant = self.shared.names(|names| names.tenant_name(place.tenant).cloned());
        let event = place.id.clone();
        self.keep(&Damage { events: Some(range(seq)), tenant, event, ..Damage::new(DamageKind::Event, what) })
    }

    fn record(
        &mut self,
        kind: DamageKind,
        seq: i64,
        key: Option<&EndpointKey>,
        event: Option<EventId>,
        what: &str,
    ) -> Result<(), Fault> {
        self.keep(&Damage {
            events: Some(range(seq)),
            tenant: key.map(|key| key.tenant.clone()),
            endpoint: key.map(|key| key.endpoint.clone()),
            event,
            ..Damage::new(kind, what)
        })?;
        Ok(())
    }

    /// Says whether it is news.
    fn keep(&self, damage: &Damage) -> Result<bool, Fault> {
        let is_new = damage::record(self.connection, damage)?;
        if is_new {
            self.shared.counters.damaged();
            self.log(damage);
        }
        Ok(is_new)
    }

    fn log(&self, damage: &Damage) {
        let Damage { kind, events, tenant, endpoint, event, what, .. } = damage;
        let number = events.map(|(first, _)| first.0);
        let text = |name: Option<&str>| name.unwrap_or("-").to_owned();
        tracing::error!(
            target: "hookweir::journal",
            kind = kind.as_str(),
            number,
            tenant = text(tenant.as_ref().map(|name| name.as_str())),
            endpoint = text(endpoint.as_ref().map(|name| name.as_str())),
            event = text(event.as_ref().map(|id| id.as_str())),
            "damage in the journal: {what}"
        );
    }
}

fn range(seq: i64) -> (Seq, Seq) {
    (Seq(seq.unsigned_abs()), Seq(seq.unsigned_abs()))
}
