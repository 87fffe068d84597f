//! What can be tried now, and when next.

use hookweir_model::{TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::event::by_seq;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::{self, shaped_columns};
use crate::{DueDelivery, Seq};

/// What a lane has to try.
#[derive(Debug, Default)]
pub(in crate::engines::embedded) struct Due {
    pub(in crate::engines::embedded) deliveries: Vec<DueDelivery>,
    /// Deliveries that can't be made, with what is wrong.
    pub(in crate::engines::embedded) damaged: Vec<(i64, &'static str)>,
}

/// What was never tried, and what is to be sent again, in the order of the events.
pub(in crate::engines::embedded) const AT_ONCE: &str = "SELECT seq FROM fresh WHERE lane = ?1 UNION ALL \
    SELECT seq FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0 AND due = 0 ORDER BY seq";

/// `skip` is sorted.
pub(in crate::engines::embedded) fn due(
    connection: &Connection,
    tenant: &TenantId,
    lane: i64,
    now: Timestamp,
    skip: &[i64],
    limit: usize,
) -> Result<Due, Fault> {
    let mut due = Due::default();
    // Both queries read the index alone, in its order; rows are fetched for those that are wanted.
    let mut retries = connection.prepare_cached(
        "SELECT seq FROM delivery INDEXED BY delivery_pending \
         WHERE lane = ?1 AND status = 0 AND due > 0 AND due <= ?2 ORDER BY due, seq",
    )?;
    let mut rows = retries.query((lane, now.as_millis()))?;
    while due.deliveries.len() < limit
        && let Some(row) = rows.next()?
    {
        due.add(connection, tenant, lane, row.get(0)?, skip)?;
    }
    let mut at_once = connection.prepare_cached(AT_ONCE)?;
    let mut rows = at_once.query((lane,))?;
    while due.deliveries.len() < limit
        && let Some(row) = rows.next()?
    {
        due.add(connection, tenant, lane, row.get(0)?, skip)?;
    }
    Ok(due)
}

impl Due {
    fn add(
        &mut self,
        connection: &Connection,
        tenant: &TenantId,
        lane: i64,
        seq: i64,
        skip: &[i64],
    ) -> Result<(), Fault> {
        if skip.binary_search(&seq).is_ok() {
            return Ok(());
        }
        let Some(event) = by_seq(connection, tenant, seq)? else {
            self.damaged.push((seq, "the stored event is damaged"));
            return Ok(());
        };
        let mut row =
            connection.prepare_cached("SELECT attempts, base FROM delivery WHERE lane = ?1 AND seq = ?2")?;
        let tried: Option<(u32, u32)> =
            row.query_row((lane, seq), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (attempts, earlier_rounds) = tried.unwrap_or_default();
        let shape = if tried.is_some() { shaped(connection, lane, seq)? } else { Shape::None };
        let shaped = match shape {
            Shape::None => None,
            Shape::Whole(shaped) => Some(shaped),
            Shape::Damaged => {
                self.damaged.push((seq, "the stored request is damaged"));
                return Ok(());
            }
        };
        self.deliveries.push(DueDelivery {
            seq: Seq(seq.unsigned_abs()),
            event,
            attempts,
            earlier_rounds,
            shaped,
        });
        Ok(())
    }
}

/// What is stored of the request.
pub(super) enum Shape {
    None,
    Whole(hookweir_model::Shaped),
    Damaged,
}

pub(super) fn shaped(connection: &Connection, lane: i64, seq: i64) -> Result<Shape, Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        shaped_columns!(),
        " FROM shaped WHERE lane = ?1 AND seq = ?2"
    ))?;
    let shape = statement
        .query_row((lane, seq), |row| Ok(record::shaped(row).map_or(Shape::Damaged, Shape::Whole)))
        .optional()?;
    Ok(shape.unwrap_or(Shape::None))
}

/// The least due time of a lane, 0 for "at once"; `None` if nothing is pending. `skip` is sorted.
pub(in crate::engines::embedded) fn head(
    connection: &Connection,
    lane: i64,
    skip: &[i64],
) -> Result<Option<i64>, Fault> {
    let is_other = |seq: i64| skip.binary_search(&seq).is_err();
    let mut fresh = connection.prepare_cached("SELECT seq FROM fresh WHERE lane = ?1 ORDER BY seq")?;
    let mut rows = fresh.query((lane,))?;
    while let Some(row) = rows.next()? {
        if is_other(row.get(0)?) {
            return Ok(Some(0));
        }
    }
    let mut tried = connection.prepare_cached(
        "SELECT due, seq FROM delivery INDEXED BY delivery_pending \
         WHERE lane = ?1 AND status = 0 ORDER BY due, seq",
    )?;
    let mut rows = tried.query((lane,))?;
    while let Some(row) = rows.next()? {
        if is_other(row.get(1)?) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}
