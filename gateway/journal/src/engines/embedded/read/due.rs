//! What can be tried now, and when next.

use hookweir_model::{Event, Status, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::{self, DeliveryNumbers, head_columns, number_columns, shaped_columns};
use crate::engines::embedded::writer::{DAMAGED_EVENT, LOST_DELIVERY};
use crate::{Amount, Due, DueDelivery, Seq};

/// What a lane has to try.
#[derive(Debug, Default)]
pub(in crate::engines::embedded) struct Found {
    pub(in crate::engines::embedded) due: Due,
    /// Deliveries that can't be made, with what is wrong.
    pub(in crate::engines::embedded) damaged: Vec<(i64, &'static str)>,
    /// Set where an index says other than its table.
    pub(in crate::engines::embedded) index: Option<&'static str>,
}

/// Whose deliveries are asked for.
#[derive(Debug)]
pub(in crate::engines::embedded) struct LaneOf {
    pub(in crate::engines::embedded) tenant: TenantId,
    /// The tenant's number.
    pub(in crate::engines::embedded) owner: i64,
    pub(in crate::engines::embedded) lane: i64,
}

/// What was never tried, with the size of its data, and what is to be sent again, in the order of the events.
pub(in crate::engines::embedded) const AT_ONCE: &str = "SELECT seq, size FROM fresh WHERE lane = ?1 UNION ALL \
    SELECT seq, NULL FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0 AND due = 0 \
    ORDER BY seq";

/// `skip` is sorted.
pub(in crate::engines::embedded) fn due(
    connection: &Connection,
    of: &LaneOf,
    now: Timestamp,
    skip: &[i64],
    most: Amount,
) -> Result<Found, Fault> {
    let mut reading = Reading { connection, of, skip, left: most, found: Found::default() };
    // Both queries read the index alone, in its order; rows are fetched for those that are wanted.
    let mut retries = connection.prepare_cached(
        "SELECT seq FROM delivery INDEXED BY delivery_pending \
         WHERE lane = ?1 AND status = 0 AND due > 0 AND due <= ?2 ORDER BY due, seq",
    )?;
    let mut rows = retries.query((of.lane, now.as_millis()))?;
    while reading.goes_on()
        && let Some(row) = rows.next()?
    {
        reading.add(row.get(0)?, None)?;
    }
    let mut at_once = connection.prepare_cached(AT_ONCE)?;
    let mut rows = at_once.query((of.lane,))?;
    while reading.goes_on()
        && let Some(row) = rows.next()?
    {
        reading.add(row.get(0)?, row.get(1)?)?;
    }
    Ok(reading.found)
}

/// A read under way.
struct Reading<'r> {
    connection: &'r Connection,
    of: &'r LaneOf,
    skip: &'r [i64],
    /// What it may still bring.
    left: Amount,
    found: Found,
}

impl Reading<'_> {
    fn goes_on(&self) -> bool {
        self.left.deliveries > 0 && self.found.due.next_bytes.is_none()
    }

    /// Takes a delivery, if it may be taken. `fresh` is the size of its data where it was never tried.
    fn add(&mut self, seq: i64, fresh: Option<i64>) -> Result<(), Fault> {
        let Self { connection, of, .. } = *self;
        if self.skip.binary_search(&seq).is_ok() {
            return Ok(());
        }
        let tried = match fresh {
            Some(_) => None,
            None => match tried(connection, of.lane, seq)? {
                Tried::Pending(numbers) => Some(numbers),
                Tried::Ended => {
                    self.found.index = Some("an index has a delivery as pending that is not");
                    return Ok(());
                }
                Tried::Damaged => {
                    self.found.damaged.push((seq, LOST_DELIVERY));
                    return Ok(());
                }
            },
        };
        // Sizes are looked at before any data is: what has no room is not read.
        let data = fresh.or(tried.map(|numbers| numbers.size)).unwrap_or_default();
        let body = if tried.is_some() { shaped_size(connection, of.lane, seq)? } else { 0 };
        let bytes = DueDelivery::bytes_of(to_usize(data), to_usize(body));
        let Some(left) = self.left.bytes.checked_sub(bytes) else {
            self.found.due.next_bytes = Some(bytes);
            return Ok(());
        };
        let Some(event) = event_of(connection, of, seq)? else {
            self.found.damaged.push((seq, DAMAGED_EVENT));
            return Ok(());
        };
        let shape = if tried.is_some() { shaped(connection, of.lane, seq)? } else { Shape::None };
        let shaped = match shape {
            Shape::None => None,
            Shape::Whole(shaped) => Some(shaped),
            Shape::Damaged => {
                self.found.damaged.push((seq, "the stored request is damaged"));
                return Ok(());
            }
        };
        self.left = Amount { deliveries: self.left.deliveries - 1, bytes: left };
        let (attempts, earlier_rounds) =
            tried.map(|numbers| (numbers.attempts, numbers.base)).unwrap_or_default();
        let seq = Seq(seq.unsigned_abs());
        self.found.due.deliveries.push(DueDelivery { seq, event, attempts, earlier_rounds, shaped });
        Ok(())
    }
}

fn to_usize(bytes: i64) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}

/// The length of the stored request's body, which is not read for it; 0 where there is none.
fn shaped_size(connection: &Connection, lane: i64, seq: i64) -> Result<i64, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT length(body) FROM shaped WHERE lane = ?1 AND seq = ?2")?;
    Ok(statement.query_row((lane, seq), |row| row.get(0)).optional()?.unwrap_or_default())
}

/// How a delivery stands that an index has as pending.
enum Tried {
    Pending(DeliveryNumbers),
    /// It is not pending, or not there: the index is wrong.
    Ended,
    Damaged,
}

fn tried(connection: &Connection, lane: i64, seq: i64) -> Result<Tried, Fault> {
    let mut row = connection.prepare_cached(concat!(
        "SELECT ",
        number_columns!(),
        " FROM delivery WHERE lane = ?1 AND seq = ?2"
    ))?;
    let numbers = row.query_row((lane, seq), |row| Ok(DeliveryNumbers::read(row))).optional()?;
    Ok(match numbers {
        None => Tried::Ended,
        Some(None) => Tried::Damaged,
        Some(Some(numbers)) if numbers.status == Status::Pending.code() => Tried::Pending(numbers),
        Some(Some(_)) => Tried::Ended,
    })
}

/// The event of a delivery; `None` where it is damaged or gone, or has no delivery to this lane: a number that was
/// damaged must not send a tenant's event to another.
fn event_of(connection: &Connection, of: &LaneOf, seq: i64) -> Result<Option<Event>, Fault> {
    const TENANT: usize = record::AFTER_HEAD + 1;
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", data, tenant, lanes FROM event WHERE seq = ?1"
    ))?;
    let read = |row: &rusqlite::Row<'_>| {
        let lanes = record::optional_text(row, TENANT + 1).flatten();
        let is_its = row.get(TENANT) == Ok(of.owner)
            && record::lanes(lanes).is_ok_and(|lanes| lanes.contains(&of.lane));
        Ok(if is_its { record::event(&of.tenant, row) } else { None })
    };
    Ok(statement.query_row((seq,), read).optional()?.flatten())
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
