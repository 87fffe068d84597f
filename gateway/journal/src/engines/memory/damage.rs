//! Records of damage in a list. Nothing is ever damaged here: the engine keeps what it is told.

use async_trait::async_trait;
use hookweir_model::Timestamp;

use super::Memory;
use crate::{Damage, DamageRecord, DamageSummary, Damages, Error, MAX_DAMAGE_RECORDS};

#[derive(Default)]
pub(super) struct State {
    last: u64,
    /// By number.
    records: Vec<DamageRecord>,
}

impl State {
    fn record(&mut self, damage: Damage) -> bool {
        let is_same = |known: &Damage| {
            known.kind == damage.kind
                && known.events == damage.events
                && known.tenant == damage.tenant
                && known.endpoint == damage.endpoint
                && known.event == damage.event
        };
        if self.open().any(|record| is_same(&record.damage)) {
            return false;
        }
        if self.records.len() as u64 >= MAX_DAMAGE_RECORDS {
            let Some(old) = self.records.iter().position(|record| record.acknowledged.is_some()) else {
                return false;
            };
            self.records.remove(old);
        }
        self.last += 1;
        self.records.push(DamageRecord { number: self.last, damage, acknowledged: None });
        true
    }

    fn open(&self) -> impl Iterator<Item = &DamageRecord> {
        self.records.iter().filter(|record| record.acknowledged.is_none())
    }
}

#[async_trait]
impl Damages for Memory {
    async fn record_damage(&self, found: Vec<Damage>) -> Result<u64, Error> {
        let mut inner = self.open()?;
        Ok(found.into_iter().map(|damage| u64::from(inner.damage.record(damage))).sum())
    }

    async fn damage(&self, before: Option<u64>, limit: usize) -> Result<Vec<DamageRecord>, Error> {
        let inner = self.open()?;
        let is_wanted = |record: &&DamageRecord| before.is_none_or(|before| record.number < before);
        Ok(inner.damage.records.iter().rev().filter(is_wanted).take(limit).cloned().collect())
    }

    async fn acknowledge_damage(&self, number: u64, at: Timestamp) -> Result<u64, Error> {
        let mut inner = self.open()?;
        let mut count = 0;
        for record in &mut inner.damage.records {
            if record.number <= number && record.acknowledged.is_none() {
                record.acknowledged = Some(at);
                count += 1;
            }
        }
        Ok(count)
    }

    fn damage_summary(&self) -> DamageSummary {
        let Ok(inner) = self.open() else { return DamageSummary::default() };
        let ranges = || inner.damage.open().filter_map(|record| record.damage.events);
        let first = ranges().map(|(first, _)| first).min();
        let last = ranges().map(|(_, last)| last).max();
        DamageSummary {
            records: inner.damage.open().count() as u64,
            events: ranges().map(|(first, last)| (last.0 + 1).saturating_sub(first.0)).sum(),
            range: first.zip(last),
            newest: inner.damage.open().last().map(|record| record.damage.clone()),
        }
    }
}
